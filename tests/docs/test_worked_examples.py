"""The worked examples of the guides, done as they say, each in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_snippets import ROOT, snippets
from tiny_runs import rolled_out

from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.trajectory import Message, Problem, Trajectory

GUIDES = ROOT / "docs" / "guides"


def example(guide: str, containing: str) -> str:
    (text,) = [one.text for one in snippets(GUIDES / guide) if one.language == "python" and containing in one.text]
    return text


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, cwd=folder, env=environment)


def test_the_worked_algorithm_is_under_thirty_lines() -> None:
    assert len(example("add_algorithm.md", "class RareSft").splitlines()) < 30


def test_the_worked_algorithm_trains_a_student(tmp_path, tiny_recipe) -> None:
    """A file on PYTHONPATH, and its import path in a recipe."""
    (tmp_path / "rare_sft.py").write_text(example("add_algorithm.md", "class RareSft"))
    recipe = "stages.0.algorithm={name: 'rare_sft:RareSft', strength: 0.2}"
    done = run(tmp_path, "-m", "rl_distill", "train", str(tiny_recipe().path), recipe)
    assert done.returncode == 0, done.stderr
    assert "name: rare_sft:RareSft" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_the_worked_reward_function_is_measured_in_a_run(tmp_path, tiny_recipe) -> None:
    (tmp_path / "short_rewards.py").write_text(example("add_reward.md", "def short_answers"))
    path = tiny_recipe(rolled_out()).path
    rewards = "stages.0.source.rewards=[{name: trl_function, function: 'short_rewards:short_answers'}]"
    done = run(tmp_path, "-m", "rl_distill", "train", str(path), rewards)
    assert done.returncode == 0, done.stderr
    assert "reward/short_answers" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_the_worked_reward_class_measures_what_it_says() -> None:
    space: dict = {"__name__": "brevity"}
    exec(example("add_reward.md", "class Brevity"), space)
    problem = Problem(id="sum", prompt="17 + 25?", answer="42", source="page")
    said = [
        Trajectory(problem_id="sum", messages=(Message("assistant", text),), model="m", origin="policy")
        for text in ("42", "it is 42, of course", "")
    ]
    assert space["Brevity"](max_words=3).measure([(problem, one) for one in said]) == [1.0, 0.0, None]


def test_the_example_in_a_trainer_trains_adapters(tmp_path) -> None:
    """As it stands, beside a small model in a folder of the name that the example has."""
    pytest.importorskip("peft", reason="peft is in the trl extra")
    code = example("trl.md", "AlgorithmTrainer(")
    (name,) = re.findall(r'model="(.+?)"', code)
    tokenizer = byte_bpe_tokenizer([code], 300)
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=128).build(tokenizer)
    save_pretrained(model, tokenizer, tmp_path / name)
    (tmp_path / "script.py").write_text(code)
    done = run(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    assert "logprob/margin" in done.stdout
    assert (tmp_path / "redi-lora" / "adapter_model.safetensors").is_file()
