"""What the site shows in place of `<!-- build: WHAT ARGUMENTS -->` ... `<!-- end -->`: made from the code and its files."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import yaml
from emitted_metrics import emitted_metrics
from settings_tables import classes_below, part_sections, sections, settings_table

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cli import COMMANDS
from rl_distill.curation.recipe import CurationRecipe
from rl_distill.evaluation.benchmark import Benchmark
from rl_distill.sweeps.settings import Sweep
from rl_distill.tracking.metric_names import METRICS, explain

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
CLAIMS = EXPERIMENTS / "claims"
_BLOCK = re.compile(r"<!-- build: (\S+)([^>\n]*) -->\n.*?<!-- end -->", re.DOTALL)


def filled(markdown: str) -> str:
    """A page with its blocks made."""
    return _BLOCK.sub(lambda found: BLOCKS[found.group(1)](*found.group(2).split()), markdown)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell is no end of it."""
    cells = [list(header), ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def algorithm_keys(name: str) -> str:
    return settings_table(ALGORITHMS[name])


def algorithm_metrics(name: str) -> str:
    rows = []
    for path in emitted_metrics(ALGORITHMS[name]):
        metric = explain(path)
        assert metric is not None
        rows.append((f"`{path}`", metric.unit, metric.about))
    return table(("metric", "unit", "what it says"), rows)


def debug_recipe(name: str) -> str:
    path = EXPERIMENTS / "debug" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8").rstrip()
    shown = "\n".join(f"    {line}" if line else "" for line in f"```yaml\n{text}\n```".split("\n"))
    command = f"```bash\nrl-distill train experiments/debug/{name}.yaml\n```"
    return f'{command}\n\n??? example "experiments/debug/{name}.yaml"\n\n{shown}'


def claims(*names: str) -> str:
    """Verdicts as claims.json has them, with the differences that its numbers give; without names those of all claims."""
    record = {one["claim"]: one for one in json.loads((CLAIMS / "claims.json").read_text(encoding="utf-8"))}
    with patch.object(sys, "path", [str(CLAIMS), *sys.path]):  # its files are scripts, which import each other by name
        found, judged = import_module("claims").CLAIMS, import_module("verdicts").judged
    rows = []
    for claim in found:
        if names and claim.name not in names:
            continue
        recorded = record[claim.name]
        verdict, differences = judged(claim.statements, recorded["arms"])
        if verdict != recorded["verdict"]:
            raise ValueError(f"claims.json says {recorded['verdict']!r} of {claim.name}, and its numbers say {verdict!r}")
        said = "; ".join(f"{one.arm} - {one.than} {value}" for one, value in zip(claim.statements, differences, strict=True))
        rows.append((claim.text, verdict, said))
    return table(("claim", "verdict", "mean difference over seeds, 95 % interval"), rows)


def recipe_part(part: str) -> str:
    return part_sections(part)


def curation_keys() -> str:
    ours = [cls for cls in classes_below(CurationRecipe) if cls.__module__.startswith("rl_distill.curation.")]
    return sections([CurationRecipe, *(cls for cls in ours if cls is not CurationRecipe)])


def sweep_keys() -> str:
    return sections([cls for cls in classes_below(Sweep) if cls.__module__.startswith("rl_distill.sweeps.")])


def benchmark_keys() -> str:
    return settings_table(Benchmark)


def benchmarks() -> str:
    rows = []
    for path in sorted((ROOT / "rl_distill" / "evaluation" / "benchmarks").glob("*.yaml")):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.append((f"`{tree['name']}`", str(tree["version"]), tree["about"], str(tree["num_samples"]), tree["source"]))
    return table(("name", "version", "what it asks", "samples", "source"), rows)


def commands() -> str:
    """Every subcommand's help, at a fixed width."""
    parts = []
    with patch.dict(os.environ, {"COLUMNS": "100"}):
        for name, (about, arguments, _) in sorted(COMMANDS.items()):
            parser = argparse.ArgumentParser(prog=f"rl-distill {name}", description=about)
            arguments(parser)
            parts.append(f"## `{name}`\n\n```text\n{parser.format_help().rstrip()}\n```")
    return "\n\n".join(parts)


def metrics() -> str:
    """Every metric, by the first part of its path."""
    groups: dict[str, list[Sequence[str]]] = {}
    for path, metric in METRICS.items():
        groups.setdefault(path.partition("/")[0], []).append((f"`{path}`", metric.unit, metric.about))
    return "\n\n".join(
        f"## `{name}`\n\n{table(('metric', 'unit', 'what it says'), rows)}" for name, rows in sorted(groups.items())
    )


BLOCKS: dict[str, Callable[..., str]] = {
    "algorithm-keys": algorithm_keys,
    "algorithm-metrics": algorithm_metrics,
    "benchmark-keys": benchmark_keys,
    "benchmarks": benchmarks,
    "claims": claims,
    "commands": commands,
    "curation-keys": curation_keys,
    "debug-recipe": debug_recipe,
    "metrics": metrics,
    "recipe-keys": recipe_part,
    "sweep-keys": sweep_keys,
}
