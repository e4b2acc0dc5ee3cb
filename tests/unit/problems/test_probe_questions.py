"""Probes as problems of their own."""

import json

import pytest

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.probes import Probe, probes_of, probes_to_plain
from rl_distill.problems import PROBLEM_SETS
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Problem


def questions(of: dict, **fields) -> list[Group]:
    return list(parse(PROBLEM_SETS["probe_questions"], {"name": "probe_questions", "of": of} | fields).groups())


ARITHMETIC = {"name": "arithmetic", "probes": "inversion", "num_problems": 4}


def test_each_probe_stands_by_itself_after_its_problem_with_its_own_answer():
    found = questions(ARITHMETIC)
    problems = [group.problem for group in parse(PROBLEM_SETS["arithmetic"], ARITHMETIC).groups()]
    expected = []
    for problem in problems:
        expected.append((problem.prompt, problem.answer))
        expected += [(probe.text, probe.teacher_answer) for probe in probes_of(problem)]
    assert [(group.problem.prompt, group.problem.answer) for group in found] == expected


def test_the_teachers_reply_is_a_right_attempt_at_it():
    for group in questions(ARITHMETIC, with_problems=False):
        [reply] = group.trajectories
        assert reply.status == "correct" and reply.messages[0].content == group.problem.prompt
        assert group.problem.answer in reply.response


def written(tmp_path, *probes: Probe) -> dict:
    problem = Problem(id="p", prompt="5 - 2", answer="3", source="test", metadata={"probes": probes_to_plain(probes)})
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(group_to_dict(Group(problem=problem))) + "\n")
    return {"name": "records", "path": str(path)}


def probe(**fields) -> Probe:
    given = {"rule": "cf", "text": "what if?", "answer_kind": "closed", "teacher_reply": "so 7", "teacher_answer": "7"}
    return Probe(**(given | fields))


def test_open_probes_and_those_that_may_not_be_asked_stay_out(tmp_path):
    of = written(tmp_path, probe(), probe(answer_kind="open"), probe(consistent=False))
    assert [group.problem.id for group in questions(of)] == ["p", "p#0-cf"]


def test_a_set_without_any_is_refused(tmp_path):
    with pytest.raises(InputError, match="no problem has a closed probe"):
        questions(written(tmp_path, probe(answer_kind="open")))
