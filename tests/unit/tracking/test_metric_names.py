"""Every metric is explained, once."""

import ast
import re
from pathlib import Path

import pytest

from rl_distill.tracking.metric_names import METRICS, explain

PACKAGE = Path(__file__).parents[3] / "rl_distill"
FAMILIES = sorted({path.split("/")[0] for path in METRICS})


def metrics_in(path: Path) -> set[str]:
    """String constants that look like a metric path, such as "loss/policy"."""
    pattern = re.compile(rf"({'|'.join(FAMILIES)})/[a-z_]+")
    constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {text for text in constants if isinstance(text, str) and pattern.fullmatch(text)}


def test_every_metric_that_the_package_writes_is_explained() -> None:
    written = {name: path.name for path in PACKAGE.rglob("*.py") for name in metrics_in(path)}
    assert "loss/policy" in written
    assert {name: where for name, where in written.items() if explain(name) is None} == {}


def test_an_exact_path_goes_before_a_pattern() -> None:
    assert explain("reward/mean") == METRICS["reward/mean"] != METRICS["reward/<part>"]


def test_a_pattern_explains_any_name_of_its_part() -> None:
    assert explain("reward/length_penalty") == METRICS["reward/<part>"]


@pytest.mark.parametrize("path", ["", "reward", "reward/", "reward/a/b", "loss/", "gradient.norm", "gradientXnorm"])
def test_an_unexplained_path_has_no_explanation(path: str) -> None:
    assert explain(path) is None


@pytest.mark.parametrize("path", METRICS)
def test_paths_are_lower_snake_case_and_fractions_say_so(path: str) -> None:
    assert re.fullmatch(r"[a-z_]+(/([a-z_]+|<[a-z]+>))*", path)
    assert METRICS[path].about and not METRICS[path].about.endswith(".")
    if path.endswith("_fraction"):
        assert METRICS[path].unit == "fraction"
    if path.startswith("time/"):
        assert METRICS[path].unit == "seconds"
