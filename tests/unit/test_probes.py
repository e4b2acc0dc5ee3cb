"""Probes travel with their problem as plain data."""

import json

import pytest

from rl_distill.errors import InputError
from rl_distill.probes import Probe, probes_of, probes_to_plain
from rl_distill.records import group_from_dict, group_to_dict
from rl_distill.trajectory import Group, Problem


def probe(**fields) -> Probe:
    given = {
        "rule": "inverse",
        "text": "undo?",
        "answer_kind": "closed",
        "teacher_reply": "3 + 2 = 5. So 5",
        "teacher_answer": "5",
    }
    return Probe(**(given | fields))


def problem(plain) -> Problem:
    return Problem(id="p", prompt="5 - 2", answer="3", source="test", metadata={"probes": plain})


def test_probes_come_back_from_a_recorded_group_as_they_were():
    probes = (probe(), probe(rule="why", answer_kind="open", consistent=True, student_base_correct=False))
    group = Group(problem=problem(probes_to_plain(probes)))
    assert probes_of(group_from_dict(json.loads(json.dumps(group_to_dict(group)))).problem) == probes


@pytest.mark.parametrize(("fields", "survives"), [({}, True), ({"consistent": False}, False), ({"leaks_gold": True}, False)])
def test_a_probe_that_misleads_the_teacher_or_gives_the_answer_away_is_never_asked(fields, survives):
    assert len(probes_of(problem(probes_to_plain([probe(**fields)])))) == survives


def test_a_problem_without_probes_has_none():
    assert probes_of(Problem(id="p", prompt="", answer=None, source="test")) == ()


def test_what_is_no_probe_is_refused_by_the_problems_name():
    with pytest.raises(InputError, match=r"'p' has probes that are none .*'question'"):
        probes_of(problem([{"question": "why?"}]))
