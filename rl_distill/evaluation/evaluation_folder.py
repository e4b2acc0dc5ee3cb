"""The folder of an evaluation: what it asked for, every graded attempt, and the result."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from rl_distill.errors import InputError
from rl_distill.evaluation.stored_result import RESULT, read_object, read_result
from rl_distill.records import group_from_dict, group_to_dict
from rl_distill.tracking.append_log import AppendLog
from rl_distill.trajectory import Group, Status

SETTINGS, SAMPLES, LOCK = "settings.json", "samples", ".lock"
SCHEMA = Path(__file__).parent / "evaluation.schema.json"
_RESTORE = "restore that file, or choose another folder with -o"


class EvaluationFolder:
    """An open folder, held by one process at a time.

    settings.json             whom it evaluates on what: what has been asked is continued only if all of that is the same
    samples/BENCHMARK.jsonl   one graded group a line, with token ids and without log-probs, in the order of the problems
    evaluation.json           results of the benchmarks that are finished; `evaluation.schema.json` describes it

    Raises:
        InputError: the folder cannot be written, is in use, is damaged, is somebody else's, or was made with other settings.
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
        try:
            self._results = read_result(path / RESULT)["benchmarks"] if (path / RESULT).exists() else {}
            self._bind(settings)
        except BaseException:
            self.close()  # whoever looks at the error keeps this object alive
            raise

    def samples(self, benchmark: str) -> "Samples":
        return Samples(self.path / SAMPLES / f"{benchmark}.jsonl")

    def results(self) -> dict[str, Any]:
        """Those of the benchmarks that were finished before, by name."""
        return dict(self._results)

    def write_result(self, result: Mapping[str, Any]) -> None:
        self._write(RESULT, result)

    def close(self) -> None:
        self._lock.close()

    def _bind(self, settings: Mapping[str, Any]) -> None:
        before = self._settings()
        for key, then, now in differences(before, settings):
            raise self._refused(
                f"holds an evaluation with other settings ({key} is {_short(then)} there and {_short(now)} here)",
                "choose another with -o, or remove it",
            )
        known = before.get("benchmarks", {}) | settings["benchmarks"]
        self._write(SETTINGS, {**settings, "benchmarks": known})

    def _settings(self) -> dict[str, Any]:
        """Those that bind: of benchmarks of which something was asked."""
        asked = {path.stem for path in (self.path / SAMPLES).glob("*.jsonl") if path.stat().st_size > 0} | self._results.keys()
        path = self.path / SETTINGS
        if not path.exists():
            if asked:
                raise self._refused(f"is damaged ({SETTINGS} is missing, which says what was asked)", _RESTORE)
            present = sorted(one.name for one in self.path.iterdir() if one.name not in (SAMPLES, LOCK, _working(SETTINGS)))
            if present or any((self.path / SAMPLES).iterdir()):
                problem = f"is not empty and holds no evaluation ({(present or [SAMPLES])[0]!r} is there)"
                raise self._refused(problem, "choose another")
            return {}
        found = read_object(path, _RESTORE)
        known = found["benchmarks"] if isinstance(found.get("benchmarks"), dict) else {}
        lacking = [key for key in ("model", "engine", "benchmarks") if not found.get(key)]
        lacking += [name for name in sorted(asked) if not known.get(name)]
        if lacking:
            raise InputError(str(path), f"is damaged (it says nothing of {lacking[0]!r})", _RESTORE)
        return {**found, "benchmarks": {name: known[name] for name in asked}} if asked else {}

    def _write(self, name: str, plain: Mapping[str, Any]) -> None:
        """Whole or not at all."""
        working = self.path / _working(name)
        with working.open("w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        working.replace(self.path / name)

    def _refused(self, problem: str, remedy: str) -> InputError:
        return InputError("-o", f"{str(self.path)!r} {problem}", remedy)


class Samples:
    """The graded groups of one benchmark so far: a file that grows by whole shards."""

    def __init__(self, path: Path) -> None:
        self.path, self._log = path, AppendLog(path)

    def kept(self, problems: Sequence[str], num_samples: int, shard_size: int) -> list[Group]:
        """Groups of whole shards that are there. A shard that a kill cut short goes, and is asked again as a whole.

        Args:
            problems: ids of all problems, in order.
            num_samples: attempts at each problem.
            shard_size: problems that are asked together.

        Raises:
            InputError: a line is damaged, or not one of the first of these problems with so many graded attempts.
        """
        lines = self.path.read_bytes().split(b"\n")[:-1]
        whole = len(lines) if len(lines) == len(problems) else len(lines) // shard_size * shard_size
        if whole > len(problems):
            raise self._refused(f"line {len(problems) + 1}", f"is one more than the {len(problems)} problems")
        groups = []
        for number, (line, problem) in enumerate(zip(lines[:whole], problems, strict=False), start=1):
            group = _group(line)
            if group is None:
                raise self._refused(f"line {number}", "is damaged")
            graded = [one for one in group.trajectories if one.status in get_args(Status)]
            if group.problem.id != problem or not len(graded) == len(group.trajectories) == num_samples:
                raise self._refused(f"line {number}", f"does not hold {num_samples} graded attempts at {problem!r}")
            groups.append(group)
        self._log.truncate(sum(len(line) + 1 for line in lines[:whole]))
        return groups

    def _refused(self, where: str, problem: str) -> InputError:
        remedy = "restore the file, remove it (then its problems are asked again), or choose another folder with -o"
        return InputError(f"{self.path}, {where}", f"{problem}: this is not the file that the evaluation wrote", remedy)

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


def _group(line: bytes) -> Group | None:
    try:
        return group_from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _working(name: str) -> str:
    """What a file is called while it is written."""
    return f".{name}.tmp"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
