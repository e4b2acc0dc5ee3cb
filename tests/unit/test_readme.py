"""The README keeps its word: its worked algorithm runs in the real loop, and what it names exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rl_distill.algorithms import ALGORITHMS
from rl_distill.curation.recipe import load_curation
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.sweeps.settings import load_sweep

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(containing: str = "class RareSft") -> str:
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if containing in code]
    return block


def test_the_worked_algorithm_is_under_thirty_lines():
    assert len(example().splitlines()) < 30


def test_the_worked_algorithm_trains_a_student(tmp_path, tiny_recipe):
    """Done as the README says: a file on PYTHONPATH, and its import path in a recipe."""
    (tmp_path / "rare_sft.py").write_text(example())
    recipe = "stages.0.algorithm={name: 'rare_sft:RareSft', strength: 0.2}"
    command = [sys.executable, "-m", "rl_distill", "train", tiny_recipe().path, recipe]
    places = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=os.environ | places)
    assert done.returncode == 0, done.stderr
    assert "name: rare_sft:RareSft" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_the_example_in_a_trainer_trains_adapters(tmp_path):
    """As it stands, beside a small model in a folder of the name that the example has."""
    pytest.importorskip("peft", reason="peft is in the trl extra")
    code = example("AlgorithmTrainer(")
    (name,) = re.findall(r'model="(.+?)"', code)
    tokenizer = byte_bpe_tokenizer([code], 300)
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=128).build(tokenizer)
    save_pretrained(model, tokenizer, tmp_path / name)
    (tmp_path / "script.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "logprob/margin" in done.stdout
    assert (tmp_path / "redi-lora" / "adapter_model.safetensors").is_file()


def test_the_commands_that_evaluate_and_compare_work_one_after_the_other(tmp_path, cli, monkeypatch):
    """As they stand, of a base student that is made in two steps, at a few problems."""
    commands = [shlex.split(line) for line in re.findall(r"^\$ (rl-distill .+)$", README, re.MULTILINE)]
    training = ["student.model.pretraining.steps=2", "evaluation.problems.num_problems=4", "evaluation.num_samples=1"]
    smaller = {"train": training, "evaluate": ["--problems", "6", "--samples", "2"], "compare": []}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    outcomes = [cli(*words[1:], *smaller[words[1]]) for words in commands]
    assert [words[1] for words in commands] == ["train", "evaluate", "evaluate", "compare"]
    assert [code for code, _, _ in outcomes] == [0] * 4, outcomes
    assert "arithmetic cannot separate them (p = " in outcomes[-1][1]


def test_the_benchmark_of_ones_own_is_evaluated_and_compared_as_written(tmp_path, cli, monkeypatch):
    """Its three blocks as they stand, beside small models in folders of the names that the commands have."""
    blocks = dict(re.findall(r"```(json|yaml|bash)\n(.*?)```", README[README.index("A benchmark of one's own") :], re.DOTALL)[:3])
    monkeypatch.chdir(tmp_path)
    Path("sums.jsonl").write_text(blocks["json"])
    Path("sums.yaml").write_text(blocks["yaml"])
    tokenizer = byte_bpe_tokenizer([blocks["json"]], 300)
    commands = [line.split() for line in blocks["bash"].splitlines()]
    models = [words[2] for words in commands if words[1] == "evaluate"]
    for seed, name in enumerate(models):
        model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=512, seed=seed).build(tokenizer)
        save_pretrained(model, tokenizer, tmp_path / name)
    outcomes = [cli(*words[1:]) for words in commands]
    assert [words[0] for words in commands] == ["rl-distill"] * 3 and [code for code, _, _ in outcomes] == [0, 0, 0], outcomes
    assert len(models) == 2 and "sums cannot separate them (p = " in outcomes[2][1]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"experiments/[\w/]+\.yaml", README))))
def test_every_recipe_it_names_loads(path):
    text = (ROOT / path).read_text()
    loaders = {"train": load_recipe, "curate": load_curation, "sweep": load_sweep}
    (load,) = [loader for command, loader in loaders.items() if f"# run: rl-distill {command} " in text]
    load(ROOT / path)


def test_the_table_names_every_algorithm():
    assert set(re.findall(r"^\| \[`(\w+)`\]", README, re.MULTILINE)) == set(ALGORITHMS)
