"""Which attempts a report shows: never more than asked, the same problems for every student, and said where some are missing."""

from pathlib import Path
from typing import Any

from rl_distill.reporting.attempt_index import MAX_TOKENS, Line, select


def line(kind: Any = "held-out", run: int = 0, problem: str = "p", *, attempts: int = 1, tokens: int = 10, turn: int = 0) -> Line:
    place = {"stage": "sft", "path": Path("x"), "offset": 0}
    return Line(kind=kind, run=run, problem=problem, attempts=attempts, tokens=tokens, round=turn, **place)


def test_all_are_shown_where_there_is_room() -> None:
    found = select([line(problem=f"p{one}") for one in range(5)], 5)
    assert len(found.lines) == 5 and found.rule == "All 5 recorded attempts are here."


def test_a_smaller_number_keeps_the_same_problems_of_every_student() -> None:
    found = select([line(run=run, problem=f"p{one}") for run in range(3) for one in range(20)], 12)
    kept = [{one.problem for one in found.lines if one.run == run} for run in range(3)]
    assert len(found.lines) == 12 and kept[0] == kept[1] == kept[2] and len(kept[0]) == 4
    assert found.rule.startswith("12 of 60 recorded attempts are here (12 of 60 held-out)")


def test_first_answers_come_before_second_ones() -> None:
    found = select([line(problem=f"p{one}", turn=turn) for one in range(6) for turn in range(4)], 6)
    assert {one.round for one in found.lines} == {0}


def test_kinds_share_the_room_and_what_one_leaves_is_for_the_others() -> None:
    held_out = [line(problem=f"p{one}") for one in range(50)]
    rollouts = [line("rollout", problem=f"t{one}", attempts=2) for one in range(3)]
    assert select(held_out + rollouts, 20).counts == {"held-out": (14, 50), "benchmark": (0, 0), "rollout": (6, 6)}
    many = rollouts + [line("rollout", problem=f"u{one}", attempts=2) for one in range(30)]
    assert select(held_out + many, 20).counts["held-out"] == (10, 50)


def test_groups_stay_whole_and_long_answers_do_not_fill_a_browser() -> None:
    assert select([line("rollout", problem=f"t{one}", attempts=8) for one in range(3)], 15).counts["rollout"] == (8, 24)
    assert len(select([line(problem=f"p{one}", tokens=MAX_TOKENS // 2) for one in range(5)], 5).lines) == 2
