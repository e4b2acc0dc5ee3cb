"""Probes as they are trained on: what is drawn, in which order, and from which attempt."""

from dataclasses import replace

import pytest

from rl_distill.curation.probe_data import dialogues, plain_rows, single_turns
from rl_distill.curation.probe_pool import with_probes
from rl_distill.probes import Probe


@pytest.fixture
def probed(group, attempt):
    """A problem with a wrong and a right attempt and six probes, of which the first misleads and the last is open."""

    def probe(number):
        kind = "open" if number == 5 else "closed"
        said = {"text": f"probe {number}", "teacher_reply": f"reply {number}", "teacher_answer": f"{number}"}
        return Probe(rule=f"r{number}", answer_kind=kind, consistent=number > 0, **said)

    made = group(attempt("wrong", "wrong"), attempt("correct", "cut", finish="length"), attempt("correct", "right"))
    return replace(made, problem=with_probes(made.problem, [probe(number) for number in range(6)]))


def test_each_surviving_probe_is_a_problem_of_its_own_with_the_teachers_reply(probed):
    made = single_turns([probed], "teacher")
    assert [one.problem.id for one in made] == [f"p#{number}-r{number}" for number in range(1, 6)]
    assert [one.problem.answer for one in made] == ["1", "2", "3", "4", None]
    (first,) = made[0].trajectories
    assert [turn.content for turn in first.messages] == ["probe 1", "reply 1"]
    assert (first.status, first.origin, first.model) == ("correct", "teacher", "teacher")


def test_a_dialogue_draws_its_probes_once_and_ends_with_the_first_right_attempt(probed):
    (made,) = dialogues([probed], 3, seed=0)
    (talk,) = made.trajectories
    assert [turn.role for turn in talk.messages] == ["user", "assistant"] * 4
    asked = [turn.content for turn in talk.messages[:-2:2]]
    assert len(set(asked)) == 3 and "probe 0" not in asked
    assert [turn.content.replace("reply", "probe") for turn in talk.messages[1:-2:2]] == asked
    assert talk.messages[-1].content == "right" and talk.context == "full"
    assert dialogues([probed], 3, seed=0) == [made]
    assert {tuple(one.trajectories[0].messages) for seed in range(9) for one in dialogues([probed], 3, seed)} > {talk.messages}


def test_a_problem_with_fewer_probes_gives_all(probed):
    (made,) = dialogues([probed], 99, seed=0)
    assert len(made.trajectories[0].messages) == 2 * 5 + 2


def test_a_plain_row_shows_probes_that_may_not_be_asked_too(probed):
    (row,) = plain_rows([probed])
    assert (row["qid"], row["teacher_reasoning"]) == ("p", "right")
    assert [probe["consistent"] for probe in row["probes"]] == [False, True, True, True, True, True]
