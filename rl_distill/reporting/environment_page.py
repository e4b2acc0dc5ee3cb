"""What runs ran on, and the keys in which their recipes differ."""

from collections.abc import Sequence
from typing import Any

from rl_distill.reporting.run_facts import RunFacts, flat

NOT_SHOWN = {"run_dir"}


def environment_data(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """Tables with a column a run: `environment`, and of the `recipe` the keys that differ; `recipes` are whole."""
    environments = [{key: _shown(value) for key, value in run.environment.items()} for run in runs]
    recipes = [{key: _shown(value) for key, value in flat(run.recipe) if key not in NOT_SHOWN} for run in runs]
    keys = list(dict.fromkeys(key for one in recipes for key in one))
    known = [one for one in recipes if one]  # of a run without a recipe nothing is known to differ
    differing = [key for key in keys if len({one.get(key) for one in known}) > 1]
    return {
        "environment": [[key, *(one.get(key) for one in environments)] for key in _keys(environments)],
        "differing": [[key, *(one.get(key) for one in recipes)] for key in differing],
        "recipes": [list(map(list, one.items())) for one in recipes],
    }


def _keys(tables: Sequence[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for one in tables for key in one))


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return "none" if value is None else str(value)
