from pathlib import Path

import pytest

from rl_distill.learning.checkpoint import Checkpoints, read_state


def write(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(bytes(range(50)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_warning(message: str) -> None:
    raise AssertionError(message)


@pytest.mark.parametrize(
    ("last", "best", "kept"), [(1, False, [5]), (2, False, [4, 5]), (2, True, [2, 4, 5]), (9, True, [1, 2, 3, 4, 5])]
)
def test_the_newest_and_the_best_are_kept(last, best, kept, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=last, keep_best=best)
    for step, score in enumerate([0.1, 0.9, None, 0.3, None], start=1):
        checkpoints.save(step, {"taken": step}, write, score=score)
    assert names(tmp_path) == [f"step-{step:08d}" for step in kept]
    assert [checkpoints.has(step) for step in range(7)] == [step in kept for step in range(7)]


def test_the_newest_is_the_one_of_the_latest_step_not_of_the_longest_name(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (9, 10, 100_000_000):
        checkpoints.save(step, {}, write)
    assert read_state(checkpoints.latest(no_warning)) == {"step": 100_000_000, "score": None}


def test_damaged_checkpoints_are_moved_aside_and_reported_until_one_is_intact(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(step, {"taken": step * 10}, write)
    (tmp_path / "step-00000003" / "weights.bin").write_bytes(b"")
    (tmp_path / "step-00000002" / "manifest.json").unlink()
    warnings: list[str] = []
    newest = checkpoints.latest(warnings.append)
    assert read_state(newest) == {"taken": 10, "step": 1, "score": None}
    assert len(warnings) == 2 and "step-00000003 is damaged (weights.bin does not match" in warnings[0]
    assert names(tmp_path) == ["damaged-step-00000002", "damaged-step-00000003", "step-00000001"]
    assert checkpoints.latest(no_warning) == newest
    checkpoints.save(2, {}, write)
    assert checkpoints.latest(no_warning).name == "step-00000002"


def test_without_checkpoints_there_is_no_latest(tmp_path):
    assert Checkpoints(tmp_path / "none").latest(no_warning) is None
    assert read_state(tmp_path / "none") == {}
