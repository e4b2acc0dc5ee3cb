"""Every answer of every run, on disk as soon as it is there: append-only JSON lines under the fingerprint of their settings."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from rl_distill.curation.budget import Spending
from rl_distill.curation.failures import ANSWERED, FailureKind
from rl_distill.curation.fingerprint import differences, fingerprint
from rl_distill.curation.folder_lock import locked
from rl_distill.curation.teacher import Response, response_from_dict, response_to_dict
from rl_distill.errors import InputError, RunError
from rl_distill.tracking.append_log import AppendLog

SETTINGS = "settings.json"
SHARD_BYTES = 256 * 2**20  # a shard that has grown to this is followed by the next


def has_answer(response: Response) -> bool:
    """Whether there is something to keep: a good answer, or one that is only labelled."""
    return response.failure is None or response.failure in ANSWERED


class ResponseHead(NamedTuple):
    """What is remembered of a row's line.

    digest  of reasoning and text
    """

    path: Path
    offset: int
    failure: FailureKind | None
    max_tokens: int
    has_answer: bool
    endpoint: str
    digest: bytes


class ResponseStore:
    """The answers of one run of settings; open it with `with`.

    root/<fingerprint>/
        settings.json         what the fingerprint is of
        responses-00000.jsonl one line a call that was worked for, or that was a row's last: {"row": fingerprint, "response": ...}
        .lock                 held by the one process that writes

    Of several lines for a row the last one counts, but a failure does not count after an answer; all are kept. A last line that a
    kill cut off is dropped, and one that only lacks its end is completed. Answers stay on disk: where a line begins and its label
    are all that is remembered.

    spent  on all lines

    Raises:
        InputError: another process writes there, a line inside is damaged, or the folder cannot be written.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES) -> None:
        self.path = root / fingerprint(settings)[:32]
        self._shard_bytes = shard_bytes
        self._heads: dict[str, ResponseHead] = {}
        self.spent = Spending()
        self._lock = locked(self.path, "store")
        try:
            _write_whole(self.path / SETTINGS, json.dumps(settings, indent=1, sort_keys=True))
            shards = sorted(self.path.glob("responses-*.jsonl"))
            for shard in shards:
                self._read(shard)
            self._log = AppendLog(shards[-1] if shards else self._shard(0))
        except OSError as error:
            self._lock.close()
            raise InputError(
                "store", f"{str(self.path)!r} cannot be written ({error.strerror})", "choose another folder"
            ) from None
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "ResponseStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Rows with a line."""
        return len(self._heads)

    def get(self, row: str) -> Response | None:
        """The line of a row that counts."""
        head = self._heads.get(row)
        if head is None:
            return None
        with head.path.open("rb") as file:
            file.seek(head.offset)
            return response_from_dict(json.loads(file.readline())["response"])

    def head(self, row: str) -> ResponseHead | None:
        """What is known of a row without reading its line."""
        return self._heads.get(row)

    def add(self, row: str, response: Response) -> None:
        """Append a line; it is with the operating system when this returns, so that killing the process loses nothing.

        Raises:
            RunError: there is no room; nothing of the line is left.
        """
        if self._log.position() >= self._shard_bytes:
            self._log.close()
            self._log = AppendLog(self._shard(int(self._log.path.stem.rpartition("-")[2]) + 1))
        offset = self._log.position()
        try:
            self._log.write({"row": row, "response": response_to_dict(response)})
        except OSError as error:
            self._log.truncate(offset)  # half a line would spoil the next one
            raise RunError(
                f"an answer could not be stored in {self._log.path} ({error.strerror}); those before it are"
            ) from error
        self._remember(row, response, self._log.path, offset)

    def close(self) -> None:
        self._log.sync()
        self._log.close()
        self._lock.close()

    def _shard(self, number: int) -> Path:
        return self.path / f"responses-{number:05d}.jsonl"

    def _read(self, shard: Path) -> None:
        mend_last_line(shard)
        offset = 0
        with shard.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    plain = json.loads(line)
                    self._remember(plain["row"], response_from_dict(plain["response"]), shard, offset)
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{shard}:{number}", f"is damaged ({error})", "delete that line; its row will be asked for again"
                    ) from None
                offset += len(line)

    def _remember(self, row: str, response: Response, path: Path, offset: int) -> None:
        self.spent = self.spent.plus(Spending(response.prompt_tokens, response.completion_tokens, response.price))
        before = self._heads.get(row)
        if before is None or has_answer(response) or not before.has_answer:
            self._heads[row] = ResponseHead(
                path=path,
                offset=offset,
                failure=response.failure,
                max_tokens=response.max_tokens,
                has_answer=has_answer(response),
                endpoint=response.attempts[-1].endpoint if response.attempts else "",
                digest=blake2b(f"{response.reasoning}\x1f{response.text}".encode(), digest_size=8).digest(),
            )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why settings were or were not found in a store.

    path         of the stored run that is nearest; None if nothing is stored
    differences  (field, stored value, present value); empty: it is the same run
    """

    path: Path | None
    differences: tuple[tuple[str, Any, Any], ...]

    @property
    def is_same(self) -> bool:
        return self.path is not None and not self.differences

    def __str__(self) -> str:
        if self.path is None:
            return "nothing is stored yet"
        if not self.differences:
            return f"stored as {self.path.name}"
        changes = "; ".join(f"{field} was {_short(before)} and is {_short(now)}" for field, before, now in self.differences)
        return f"not stored; nearest is {self.path.name}: {changes}"


def explain(root: Path, settings: Mapping[str, Any]) -> Explanation:
    """The stored run that differs from these settings in the fewest fields; of several, the first by name."""
    now = json.loads(json.dumps(settings))
    found = [
        Explanation(path.parent, tuple(differences(json.loads(path.read_text()), now)))
        for path in sorted(root.glob(f"*/{SETTINGS}"))
    ]
    return min(found, key=lambda one: len(one.differences), default=Explanation(None, ()))


def mend_last_line(path: Path) -> None:
    """Complete a last line that lacks only its end, and drop one that is cut off."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        start = _start_of_last_line(file, end)
        file.seek(start)
        rest = file.read()
        if not rest:
            return
        try:
            json.loads(rest)
        except ValueError:
            file.truncate(start)
        else:
            file.write(b"\n")
        os.fsync(file.fileno())


def _start_of_last_line(file: Any, end: int) -> int:
    """Where what follows the last newline begins; read from the end, since shards are large."""
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return int(begin + newline + 1)
        end = begin
    return 0


def _write_whole(path: Path, text: str) -> None:
    working = path.with_name(f".{path.name}.tmp")
    working.write_text(text)
    working.replace(path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
