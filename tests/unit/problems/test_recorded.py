"""Groups that were written come back to be trained on, as they were sampled."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rl_distill.errors import InputError
from rl_distill.problems.recorded import Records
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict

PROBLEM = Problem(id="p", prompt="1 + 1 = ?", answer="2", source="test", metadata={"level": 1})
ATTEMPT = Trajectory(
    problem_id="p",
    messages=(Message("user", "1 + 1 = ?"), Message("assistant", "2")),
    token_ids=(5, 6, 7),
    sampled=(False, True, True),
    behavior_logprobs=(0.0, -0.5, -0.25),
    policy_versions=(0, 3, 3),
    model="student",
    origin="policy",
    score=Score(value=1.0, verdict=Verdict(status="correct", method="exact"), parts={"accuracy": 1.0}),
    seed=7,
)


def written(path: Path, *groups: Group) -> Records:
    path.write_text("".join(json.dumps({"stage": "grpo", "step": 0, **group_to_dict(group)}) + "\n" for group in groups))
    return Records(path=str(path))


def test_a_rollout_comes_back_equal(tmp_path: Path) -> None:
    group = Group(problem=PROBLEM, trajectories=(ATTEMPT, replace(ATTEMPT, seed=8)))
    assert list(written(tmp_path / "g.jsonl", group).groups()) == [group]


def test_rollouts_of_one_problem_at_several_steps_become_one_group(tmp_path: Path) -> None:
    later = replace(ATTEMPT, seed=8)
    one, other = Group(problem=PROBLEM, trajectories=(ATTEMPT,)), Group(problem=PROBLEM, trajectories=(later,))
    assert list(written(tmp_path / "g.jsonl", one, other).groups()) == [Group(problem=PROBLEM, trajectories=(ATTEMPT, later))]


def test_two_problems_with_one_id_are_refused(tmp_path: Path) -> None:
    other = Group(problem=replace(PROBLEM, prompt="2 + 2 = ?"))
    with pytest.raises(InputError, match="two problems have the id 'p'"):
        written(tmp_path / "g.jsonl", Group(problem=PROBLEM), other).groups()


def test_a_line_that_is_no_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "g.jsonl").write_text('{"problem": 3}\n')
    with pytest.raises(InputError, match=r"g.jsonl:1: is no group"):
        Records(path=str(tmp_path / "g.jsonl")).groups()


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    before = written(path, Group(problem=PROBLEM)).data_digest()
    assert written(path, Group(problem=PROBLEM, trajectories=(ATTEMPT,))).data_digest() != before


def test_a_smaller_draw_is_a_part_of_a_larger_one_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    groups = [Group(problem=replace(PROBLEM, id=str(number)), trajectories=()) for number in range(50)]
    path = tmp_path / "g.jsonl"

    def drawn(count: int, seed: int = 0) -> list[str]:
        return [group.problem.id for group in Records(path=str(path), num_problems=count, seed=seed).groups()]

    written(path, *groups)
    small, large = drawn(10), drawn(20)
    assert len(small) == 10 and set(small) < set(large) and large == sorted(large, key=int)
    assert set(drawn(10, seed=1)) != set(small)
    written(path, *groups[::-1])
    assert set(drawn(10)) == set(small)
    with pytest.raises(InputError, match="num_problems: is 51, and .* has 50"):
        drawn(51)
