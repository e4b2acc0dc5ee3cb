"""Reports of `rl-distill gradients` that lie in the folders of the runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts

FILE = "gradients.json"


def gradient_data(runs: Sequence[RunFacts]) -> list[dict[str, Any]]:
    """Of each report: norms, parts and cosines of the algorithms, without the credits of single tokens."""
    found = []
    for number, run in enumerate(runs):
        for path in sorted([*run.path.glob(FILE), *run.path.glob(f"*/{FILE}")]):
            one = readable(run.notes, str(path), {}, _summary, path)
            if one:
                found.append({"run": number, "folder": str(path.parent.relative_to(run.path)), **one})
    return found


def _summary(path: Path) -> dict[str, Any]:
    plain = json.loads(path.read_text(encoding="utf-8"))
    return {
        "student": str(plain["student"]),
        "algorithms": [
            {
                "name": name,
                "attempts": one["num_samples"],
                "tokens": one["num_tokens"],
                "norm": rounded(one["norm"]),
                "parts": [
                    {"division": part["division"], "name": part["name"], "norm": rounded(part["norm"]), "share": part["share"]}
                    for part in one["parts"]
                ],
            }
            for name, one in plain["algorithms"].items()
        ],
        "cosines": {row: {name: rounded(value) for name, value in one.items()} for row, one in plain["cosines"].items()},
        "left_out": dict(plain["left_out"]),
    }
