"""APPS and TACO: programming problems whose tests are pairs of input and output, or arguments and value of a function."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked
from rl_distill.problems.rows import HubDataset, Row, read_rows, rows_digest
from rl_distill.trajectory import Group, Problem

HUB = {"apps": "codeparrot/apps", "taco": "BAAI/TACO"}
STDIN = "Read from standard input and print to standard output."
CALL = "Write the function `{name}` and return the value."


@config
class CodeContests:
    """Problems with tests that `unit_tests` runs. A row without tests is left out; the prompt says how the program is called."""

    name: Literal["code_contests"] = "code_contests"
    collection: Literal["apps", "taco"] = setting(about="which of the two, where `path` does not say it")
    split: Literal["train", "test"] = setting("train", about="of the collection")
    difficulties: tuple[str, ...] = setting((), about="such as MEDIUM (taco) or interview (apps); none takes all")
    max_tests: int = setting(20, about="tests kept of each problem, the first ones", ge=1)
    path: str | None = setting(None, about="local .parquet, .jsonl or .json file; none loads it from the hub")
    revision: str | None = setting(None, about="hub commit or tag to load; none takes the newest")

    def groups(self) -> Sequence[Group]:
        found = [self._problem(row, number) for number, row in enumerate(self._rows(), start=1) if self._is_wanted(row)]
        return checked([Group(problem=problem) for problem in found if problem is not None], self.name)

    def data_digest(self) -> str:
        return rows_digest(self._rows())

    def _rows(self) -> list[Row]:
        hub = HubDataset(HUB[self.collection], self.split, revision=self.revision)
        return read_rows(path=self.path, file=f"{self.collection}_{self.split}.jsonl", hub=hub)

    def _is_wanted(self, row: Row) -> bool:
        return not self.difficulties or row.value("difficulty") in self.difficulties

    def _problem(self, row: Row, number: int) -> Problem | None:
        held = _parsed(row)
        tests = list(_tests(row, held))[: self.max_tests]
        if not tests:
            return None
        name = held.get("fn_name")
        starter = str(row.values.get("starter_code") or "").strip()
        asked = [row.text("question"), CALL.format(name=name) if name else STDIN, f"```python\n{starter}\n```" if starter else ""]
        return Problem(
            id=f"{self.collection}-{self.split}-{number}",
            prompt="\n\n".join(part for part in asked if part),
            answer=None,
            source=self.collection,
            metadata={"tests": tests, "difficulty": row.values.get("difficulty")},
        )


def _parsed(row: Row) -> Mapping[str, Any]:
    text = row.value("input_output")
    try:
        held = json.loads(text) if isinstance(text, str) and text.strip() else text or {}
    except ValueError as error:
        raise InputError(f"{row.where}, column 'input_output'", f"is no JSON ({error})", "mend or drop the row") from None
    if not isinstance(held, Mapping):
        raise InputError(f"{row.where}, column 'input_output'", "is no object", "give inputs and outputs")
    return held


def _tests(row: Row, held: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A function's output stands in a list of its own in both collections; its arguments are a list."""
    inputs, outputs = held.get("inputs") or [], held.get("outputs") or []
    if len(inputs) != len(outputs):
        raise InputError(
            f"{row.where}, column 'input_output'", f"has {len(inputs)} inputs and {len(outputs)} outputs", "drop the row"
        )
    name = held.get("fn_name")
    for given, wanted in zip(inputs, outputs, strict=True):
        if name:
            unwrapped = wanted[0] if isinstance(wanted, list) and len(wanted) == 1 else wanted
            yield {"call": name, "arguments": given, "expected": unwrapped}
        else:
            yield {"stdin": _joined(given), "stdout": _joined(wanted)}


def _joined(value: Any) -> str:
    """Some rows hold lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
