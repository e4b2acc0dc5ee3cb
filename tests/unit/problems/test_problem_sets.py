"""The table of problem sets."""

from typing import Any

import pytest

from rl_distill.config import keys, parse
from rl_distill.problems import PROBLEM_SETS

REQUIRED: dict[str, dict[str, Any]] = {
    **{name: {"path": "a.jsonl"} for name in ("jsonl", "trl", "records", "graded_samples")},
    "code_contests": {"collection": "taco"},
    "table": {"data_file": "a.jsonl"},
    "probe_questions": {"of": {"name": "arithmetic", "probes": "inversion"}},
}


@pytest.mark.parametrize("name", PROBLEM_SETS)
def test_a_set_is_picked_by_its_name_and_every_key_is_explained(name: str) -> None:
    chosen = parse(PROBLEM_SETS[name], {"name": name, **REQUIRED.get(name, {})})
    assert chosen.name == name
    assert all(key["about"] for key in keys(PROBLEM_SETS[name]) if key["key"] != "name")
