"""The site builds strictly and without network, and what it shows is what the code has."""

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import yaml
from emitted_metrics import emitted_metrics
from graded_groups import groups_of, samples_of
from settings_tables import RECIPE_PARTS, documented, part_of

from rl_distill.algorithms import ALGORITHMS
from rl_distill.batch import PolicyOutput, collate, source_names, totals
from rl_distill.cli import COMMANDS
from rl_distill.curation.recipe import CurationRecipe
from rl_distill.recipe import Recipe
from rl_distill.sweeps.settings import Sweep
from rl_distill.tracking.metric_names import METRICS

pytest.importorskip("material", reason="mkdocs-material is in the docs extra")

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
PAGE_OF_PART = dict.fromkeys(RECIPE_PARTS, "recipe") | {"problems": "problems", "rewards": "problems"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def text_of(path: Path) -> str:
    """What a reader sees of a page."""
    return unescape(re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8")))


def test_no_page_loads_anything_from_another_host(site) -> None:
    for page in site.rglob("*.html"):
        assert LOADED.findall(page.read_text(encoding="utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_no_block_is_left_unmade(site) -> None:
    assert [page for page in site.rglob("*.html") if "<!-- build:" in page.read_text(encoding="utf-8")] == []


def test_every_algorithm_has_a_page_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"algorithms/(\w+)\.md", nav)) - {"index"} == set(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithms_page_has_its_keys_metrics_recipe_and_formula(site, name) -> None:
    html = (site / "algorithms" / f"{name}.html").read_text(encoding="utf-8")
    shown = set(re.findall(r"<code>([^<]+)</code>", html))
    assert {key for cls, key in documented(ALGORITHMS[name]) if cls is ALGORITHMS[name]} <= shown
    assert set(emitted_metrics(ALGORITHMS[name])) <= shown
    assert f"rl-distill train experiments/debug/{name}.yaml" in text_of(site / "algorithms" / f"{name}.html")
    assert 'display="block"' in html and "\\frac" not in html
    assert "$" not in re.sub(r"<(pre|script).*?</\1>", "", html, flags=re.DOTALL), "a formula was not found"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_algorithm_emits_a_metric_that_its_page_does_not_have(name) -> None:
    """What its code can emit is read from the code; here it is run."""
    algorithm = ALGORITHMS[name]()
    samples = samples_of(algorithm)
    sources = source_names(samples)
    batch = collate(samples, pad_id=0, sources=sources)
    logprobs = -batch.token_ids.float() / 10
    compared = None if batch.teacher_candidate_logprobs is None else batch.teacher_candidate_logprobs.float() - 0.1
    out = algorithm.loss(PolicyOutput(logprobs, None, compared), batch, totals(samples, sources))
    found = algorithm.summarize({path: float(value) for path, value in out.metrics.items()})
    assert {*found, *algorithm.group_metrics(groups_of(algorithm))} <= set(emitted_metrics(type(algorithm)))


@pytest.mark.parametrize("part", RECIPE_PARTS)
def test_every_key_of_a_recipe_stands_in_the_reference(site, part) -> None:
    html = (site / "reference" / f"{PAGE_OF_PART[part]}.html").read_text(encoding="utf-8")
    shown = set(re.findall(r"<td><code>([^<]+)</code></td>", html))
    keys = [(cls, key) for cls, key in documented(Recipe) if cls not in ALGORITHMS.values() and part_of(cls) == part]
    assert keys and [(cls, key) for cls, key in keys if key not in shown] == []


@pytest.mark.parametrize("root", [CurationRecipe, Sweep])
def test_every_key_of_curations_and_sweeps_stands_in_the_reference(site, root) -> None:
    html = (site / "reference" / "other_recipes.html").read_text(encoding="utf-8")
    shown = set(re.findall(r"<td><code>([^<]+)</code></td>", html))
    home = root.__module__.split(".")[1]
    assert {key for cls, key in documented(root) if cls.__module__.split(".")[1] == home} <= shown


def test_every_command_and_every_metric_is_listed(site) -> None:
    commands = text_of(site / "reference" / "cli.html")
    assert [name for name in COMMANDS if f"usage: rl-distill {name}" not in commands] == []
    metrics = text_of(site / "reference" / "metrics.html")
    assert [path for path in METRICS if path not in metrics] == []


def test_verdicts_on_the_pages_are_those_of_the_record(site) -> None:
    for entry in json.loads((ROOT / "experiments" / "claims" / "claims.json").read_text(encoding="utf-8")):
        for page in (ROOT / "docs" / "algorithms").glob("*.md"):
            if re.search(rf"build: claims .*\b{entry['claim']}\b", page.read_text(encoding="utf-8")):
                break
        else:
            assert entry["claim"] in ("banning",), "a claim stands on no page of an algorithm"
            continue
        assert entry["verdict"] in text_of(site / "algorithms" / f"{page.stem}.html")


def test_the_navigation_names_every_experiment_with_a_readme() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for readme in (ROOT / "experiments").glob("*/README.md"):
        assert f"experiments/{readme.parent.name}.md" in nav


def test_every_benchmark_is_listed(site) -> None:
    shown = text_of(site / "guides" / "evaluate.html")
    for path in (ROOT / "rl_distill" / "evaluation" / "benchmarks").glob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["about"] in shown
