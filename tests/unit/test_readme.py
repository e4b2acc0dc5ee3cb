"""The README keeps its word: what it names exists, every algorithm among it, and it stays short enough to be read."""

import re
from pathlib import Path

import pytest

from rl_distill.algorithms import ALGORITHMS
from rl_distill.curation.recipe import load_curation
from rl_distill.recipe import load_recipe
from rl_distill.sweeps.settings import read_sweep_file

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_no_longer_than_a_newcomer_reads() -> None:
    assert README.count("\n") <= 250


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)[^)]*\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"experiments/[\w/]+\.yaml", README))))
def test_every_recipe_it_names_loads(path):
    text = (ROOT / path).read_text()
    loaders = {"train": load_recipe, "curate": load_curation, "sweep": read_sweep_file}
    (load,) = [loader for command, loader in loaders.items() if f"# run: rl-distill {command} " in text]
    load(ROOT / path)


def test_the_table_names_every_algorithm():
    assert set(re.findall(r"^\| \[`(\w+)`\]", README, re.MULTILINE)) == set(ALGORITHMS)
