"""Counts of work add up, and tell prompts that attempts share from the attempts."""

from rl_distill.training.work_counts import added, row_work, sampling_work
from rl_distill.trajectory import Trajectory


def attempt(prompt: int, response: int, first: int = 1) -> Trajectory:
    return Trajectory(
        problem_id="p",
        messages=(),
        token_ids=tuple(range(first, first + prompt + response)),
        sampled=(False,) * prompt + (True,) * response,
        model="m",
        origin="policy",
    )


def test_a_prompt_of_several_attempts_is_read_once() -> None:
    assert sampling_work([attempt(3, 2), attempt(3, 4), attempt(5, 1, first=7)]) == {
        "sampling/prompts": 2,
        "sampling/prompt_tokens": 2 + 4,
        "sampling/prompt_squares": 4 + 16,
        "sampling/attempts": 3,
        "sampling/tokens": 7,
        "sampling/context": (3 + 4) + (3 + 4 + 5 + 6) + 5,
    }


def test_rows_count_whole_and_their_squares_row_by_row() -> None:
    assert row_work("teacher", [attempt(3, 2), attempt(1, 1)]) == {
        "teacher/rows": 2,
        "teacher/tokens": 7,
        "teacher/squares": 25 + 4,
        "teacher/logits": 3,
    }


def test_counts_add_up() -> None:
    assert added([{"steps": 1, "a": 2}, {"steps": 1, "b": 3}]) == {"steps": 2, "a": 2, "b": 3}
