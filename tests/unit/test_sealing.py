import json
import os
import signal
from pathlib import Path

import pytest

from rl_distill.sealing import clear_leftovers, damage, sealed


class Broken(Exception):
    pass


def write(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(bytes(range(50)))
    (folder / "inner").mkdir()
    (folder / "inner" / "more.bin").write_bytes(b"more")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_sealed_folder_is_whole_and_intact(tmp_path):
    with sealed(tmp_path / "deep" / "target") as working:
        write(working)
        assert not (tmp_path / "deep" / "target").exists()
    assert names(tmp_path / "deep") == ["target"] and damage(tmp_path / "deep" / "target") is None
    assert json.loads((tmp_path / "deep" / "target" / "manifest.json").read_text()).keys() == {"weights.bin", "inner/more.bin"}


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_block_that_fails_leaves_no_trace(error, tmp_path):
    with pytest.raises(error), sealed(tmp_path / "target") as working:
        write(working)
        raise error
    assert names(tmp_path) == []


def test_a_block_that_fails_leaves_the_folder_that_was_there(tmp_path):
    with sealed(tmp_path / "target") as working:
        (working / "old").write_text("old")
    with pytest.raises(Broken), sealed(tmp_path / "target") as working:
        raise Broken
    assert names(tmp_path) == ["target"] and (tmp_path / "target" / "old").exists()
    with sealed(tmp_path / "target") as working:
        (working / "new").write_text("new")
    assert names(tmp_path) == ["target"] and names(tmp_path / "target") == ["manifest.json", "new"]


def test_any_flipped_byte_any_missing_file_and_any_cut_is_damage(tmp_path):
    with sealed(tmp_path / "target") as working:
        write(working)
    for path in [path for path in (tmp_path / "target").rglob("*") if path.is_file()]:
        intact = path.read_bytes()
        for place in range(len(intact)):
            path.write_bytes(intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :])
            assert damage(tmp_path / "target"), (path, place)
        path.write_bytes(intact[:-1])
        assert damage(tmp_path / "target")
        path.unlink()
        assert damage(tmp_path / "target")
        path.write_bytes(intact)
        assert damage(tmp_path / "target") is None


def test_damage_says_what_is_wrong_in_one_line(tmp_path):
    with sealed(tmp_path / "target") as working:
        write(working)
    (tmp_path / "target" / "weights.bin").write_bytes(b"x")
    assert damage(tmp_path / "target") == "weights.bin does not match its checksum"
    for manifest in ("", "[]", "3", "null", "{"):
        (tmp_path / "target" / "manifest.json").write_text(manifest)
        assert damage(tmp_path / "target") and "\n" not in str(damage(tmp_path / "target"))


@pytest.mark.parametrize("existing", [False, True])
def test_a_process_killed_at_any_change_to_the_disk_leaves_the_old_folder_or_the_new_one(existing, tmp_path):
    seen = set()
    for moment in range(1, 60):
        folder = tmp_path / str(moment)
        if existing:
            with sealed(folder / "target") as working:
                (working / "content").write_text("old")
        finished = _sealed_by_a_child_that_dies(folder / "target", moment)
        if folder.exists():
            clear_leftovers(folder)
        found = (folder / "target" / "content").read_text() if (folder / "target").exists() else None
        assert found in ("new", "old" if existing else None) and (found is None or damage(folder / "target") is None)
        assert not folder.exists() or names(folder) == (["target"] if found else [])
        seen.add(found)
        if finished:
            break
    assert finished and seen == {"new", "old" if existing else None}


def _sealed_by_a_child_that_dies(target: Path, moment: int) -> bool:
    """True if the child reached its end before it was to die."""
    child = os.fork()
    if child == 0:
        left = [moment]

        def deadly(change):
            def changed(*arguments, **options):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return changed

        for name in ("fsync", "rename", "mkdir", "rmdir", "unlink"):
            setattr(os, name, deadly(getattr(os, name)))
        with sealed(target) as working:
            (working / "content").write_text("new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_leftovers_are_cleared(tmp_path):
    kept = [".lock", ".run_id", ".sft.start.json", "step-00000001", ".hidden.tmp"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".x.12.tmp").mkdir()
    (tmp_path / ".final.12.old").mkdir()
    (tmp_path / "final").mkdir()
    clear_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*kept, "final"])
    clear_leftovers(tmp_path / "none")
