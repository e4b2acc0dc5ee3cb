"""Reads back what wandb has written offline: protobuf records in a LevelDB log, for which wandb itself has no reader."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 32768
FULL, LAST = 1, 4


class WandbFile:
    """The records of one process of a run.

    Args:
        folder: `wandb/offline-run-DATE_TIME-ID` of a run folder.
    """

    def __init__(self, folder: Path) -> None:
        from wandb.proto.wandb_internal_pb2 import Record

        self.folder = folder
        (file,) = folder.glob("run-*.wandb")
        self.records: list[Any] = [Record.FromString(payload) for payload in _payloads(file.read_bytes())]

    def of(self, kind: str) -> list[Any]:
        """The records of one kind, such as "history" or "alert"."""
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        (run,) = self.of("run")
        return run

    @property
    def config(self) -> dict[str, Any]:
        return {item.key: json.loads(item.value_json) for item in self.run.config.update if item.key != "_wandb"}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of the history; a value with a path of keys, such as a table's file, stands under the joined path."""
        return [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
            for row in self.of("history")
        ]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows that were logged as metrics, without wandb's own columns."""
        return [{name: value for name, value in row.items() if not name.startswith("_")} for row in self.rows if "stage" in row]

    def tables(self, name: str) -> list[tuple[int, list[str], list[list[Any]]]]:
        """Every logged table of that name: its `run/step`, columns and rows."""
        found = []
        for row in self.rows:
            if path := row.get(f"{name}/path"):
                table = json.loads((self.folder / "files" / path).read_text())
                found.append((int(row["run/step"]), table["columns"], table["data"]))
        return found


def written(run_dir: Path) -> list[WandbFile]:
    """What each process of a run has written, in the order of their start."""
    files = [WandbFile(folder) for folder in (run_dir / "wandb").glob("offline-run-*")]
    return sorted(files, key=lambda file: (file.run.start_time.seconds, file.run.start_time.nanos))


def service_of(pid: int) -> int | None:
    """The process id of the service that wandb has started for a process, which is not told by wandb itself."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue  # it has just ended
        if fields.get("PPid") == str(pid) and fields["Name"].startswith("wandb-core") and fields["State"][0] != "Z":
            return int(fields["Pid"])
    return None


def _payloads(content: bytes) -> Iterator[bytes]:
    """A header, then blocks of [crc 4][length 2][type 1][payload]; a record may span blocks, a cut last one is left out."""
    position, parts = HEADER, []
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        if position + HEADER + length > len(content):
            return
        parts.append(content[position + HEADER : position + HEADER + length])
        position += HEADER + length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
