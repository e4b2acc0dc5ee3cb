"""The folder of an evaluation: what it asked for, every graded attempt, and the result."""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_distill.errors import InputError
from rl_distill.records import group_from_dict, group_to_dict
from rl_distill.tracking.append_log import AppendLog
from rl_distill.trajectory import Group

RESULT, SETTINGS, SAMPLES, LOCK = "evaluation.json", "settings.json", "samples", ".lock"
SCHEMA = Path(__file__).parent / "evaluation.schema.json"


class EvaluationFolder:
    """An open folder, held by one process at a time.

    settings.json             whom it evaluates on what: what has been asked is continued only if all of that is the same
    samples/BENCHMARK.jsonl   one graded group a line, with token ids and without log-probs, in the order of the problems
    evaluation.json           results of the benchmarks that are finished; `evaluation.schema.json` describes it

    Raises:
        InputError: the folder cannot be written, is in use, is somebody else's, or was made with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """
        Args:
            settings: plain data; under `benchmarks` those of each by its name, and only those that both have are compared.
        """
        self.path = path
        try:
            (path / SAMPLES).mkdir(parents=True, exist_ok=True)
            self._lock = (path / LOCK).open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refused("is in use by another process", "wait for it, or choose another with -o") from None
        except OSError as error:
            raise self._refused(f"cannot be written ({error.strerror})", "choose another with -o") from None
        before = self._settings()
        for key, then, now in differences(before, settings):
            raise self._refused(
                f"holds an evaluation with other settings ({key} is {_short(then)} there and {_short(now)} here)",
                "choose another with -o, or remove it",
            )
        known = before.get("benchmarks", {}) | settings["benchmarks"]
        self._write(SETTINGS, {**settings, "benchmarks": known})

    def samples(self, benchmark: str) -> "Samples":
        return Samples(self.path / SAMPLES / f"{benchmark}.jsonl")

    def results(self) -> dict[str, Any]:
        """Those of the benchmarks that were finished before, by name."""
        path = self.path / RESULT
        return dict(json.loads(path.read_text())["benchmarks"]) if path.exists() else {}

    def write_result(self, result: Mapping[str, Any]) -> None:
        self._write(RESULT, result)

    def close(self) -> None:
        self._lock.close()

    def _settings(self) -> dict[str, Any]:
        path = self.path / SETTINGS
        if path.exists():
            found = dict(json.loads(path.read_text()))
            asked = {name: one for name, one in found["benchmarks"].items() if self._has_samples(name)}
            return {**found, "benchmarks": asked} if asked else {}
        foreign = sorted(one.name for one in self.path.iterdir() if one.name not in (SAMPLES, LOCK))
        if foreign or any((self.path / SAMPLES).iterdir()):
            raise self._refused(
                f"is not empty and holds no evaluation ({(foreign or [SAMPLES])[0]!r} is there)", "choose another"
            )
        return {}

    def _has_samples(self, benchmark: str) -> bool:
        path = self.path / SAMPLES / f"{benchmark}.jsonl"
        return path.exists() and path.stat().st_size > 0

    def _write(self, name: str, plain: Mapping[str, Any]) -> None:
        """Whole or not at all."""
        working = self.path / f".{name}.tmp"
        working.write_text(json.dumps(plain, indent=1))
        working.replace(self.path / name)

    def _refused(self, problem: str, remedy: str) -> InputError:
        return InputError("-o", f"{str(self.path)!r} {problem}", remedy)


class Samples:
    """The graded groups of one benchmark so far: a file that grows by whole shards."""

    def __init__(self, path: Path) -> None:
        self.path, self._log = path, AppendLog(path)

    def kept(self, problems: Sequence[str], shard_size: int) -> list[Group]:
        """Groups of whole shards that are there. A shard that a kill cut short goes, and is asked again as a whole.

        Args:
            problems: ids of all problems, in order.
            shard_size: problems that are asked together.

        Raises:
            InputError: the file holds something else than the first of these problems.
        """
        lines = self.path.read_bytes().split(b"\n")[:-1]
        whole = len(lines) if len(lines) == len(problems) else len(lines) // shard_size * shard_size
        try:
            groups = [group_from_dict(json.loads(line)) for line in lines[:whole]]
        except (ValueError, KeyError, TypeError):
            groups = []
        if len(groups) < whole or [group.problem.id for group in groups] != list(problems[:whole]):
            raise InputError(str(self.path), "is not the file of this evaluation", "remove it, or choose another folder with -o")
        self._log.truncate(sum(len(line) + 1 for line in lines[:whole]))
        return groups

    def add(self, groups: Sequence[Group]) -> None:
        for group in groups:
            self._log.write(group_to_dict(group))
        self._log.sync()

    def close(self) -> None:
        self._log.close()


def differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys in which two plain trees differ, and both values; a benchmark that only one of them has is no difference."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        if before != now:
            yield path, before, now
        return
    for key in [*before, *(key for key in now if key not in before)]:
        inner = f"{path}.{key}" if path else str(key)
        if key in before and key in now:
            yield from differences(before[key], now[key], inner)
        elif before and path != "benchmarks":
            yield inner, before.get(key), now.get(key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
