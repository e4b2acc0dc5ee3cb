"""Runs whose stages train adapters: what is saved, what travels, where the next stage begins, and what is handed out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lora_ranks
import pytest
import torch
from mixed_step import CONFIG, ROLLOUTS, TOKENIZER
from refusals import refused
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_runs import RecipeFile, rolled_out, taught, tiny_student
from transformers import AutoModelForCausalLM

from rl_distill.algorithms.sft import Sft
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.recipe import load_recipe
from rl_distill.tracking import read_metrics
from rl_distill.training.build import Workshop
from rl_distill.training.student import cache_folder

LORA = {"rank": 2, "alpha": 16}
HELD_OUT = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 6, "levels": [1]},
    "num_samples": 2,
    "sampling": {"max_tokens": 12},
}
IDS = torch.arange(3, 19)[None]


def lora_student(**changes: Any) -> dict[str, Any]:
    return tiny_student() | {"lora": LORA | changes}


@pytest.fixture
def two_stages(tiny_recipe) -> RecipeFile:
    """SFT, then GRPO with the KL to its own start, both on adapters."""
    fast = {"learning_rate": 3e-2, "schedule": "constant"}
    stages = taught(learner=fast), rolled_out(learner=fast, steps=6, algorithm={"name": "grpo", "kl_coef": 0.04})
    return tiny_recipe(*stages, student=lora_student(), evaluation=HELD_OUT)


def tensor_names(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            names |= set(opened.keys())
    return names


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(IDS).logits


def student(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def test_adapters_are_all_that_is_saved_and_sent_and_a_plain_model_is_what_comes_out(two_stages, cli):
    code, _, err = cli("train", two_stages.path)
    assert (code, err) == (0, "")
    run = two_stages.run_dir
    saved = tensor_names(run / "checkpoints" / "grpo" / "step-00000006")
    assert saved and all(".lora_" in name for name in saved)
    adapter = sum(path.stat().st_size for path in (run / "final" / "adapter").glob("*.safetensors"))
    whole = (run / "final" / "model.safetensors").stat().st_size
    steps = [line for line in read_metrics(run / "metrics.jsonl") if line["stage"] == "grpo"]
    assert all(0 < line["sync/bytes"] < adapter < whole for line in steps)
    assert not any("lora" in name or "base_layer" in name for name in tensor_names(run / "final"))
    assert tensor_names(run / "final") == tensor_names(run / "stages" / "base" / "student")


def test_each_stage_goes_on_from_the_merged_student_with_new_adapters(two_stages, cli):
    from peft import PeftModel

    assert cli("train", two_stages.path)[0] == 0
    stages = two_stages.run_dir / "stages"
    for before, after in (("base", "sft"), ("sft", "grpo")):
        merged, start = student(stages / after / "student"), student(stages / before / "student")
        assert (logits(merged) - logits(start)).abs().max() > 1e-3
        beside = PeftModel.from_pretrained(start, stages / after / "student" / "adapter")
        assert torch.allclose(logits(merged), logits(beside), atol=1e-4)


def test_the_reference_is_the_start_without_adapters(two_stages, cli):
    assert cli("train", two_stages.path)[0] == 0
    distances = [
        line["policy/kl_reference"] for line in read_metrics(two_stages.run_dir / "metrics.jsonl") if line["stage"] == "grpo"
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)  # new adapters change nothing
    assert distances[-1] > 1e-4


def test_what_is_handed_out_answers_as_the_evaluated_student_did(two_stages, cli, tmp_path):
    assert cli("train", two_stages.path)[0] == 0
    rows = [json.loads(line) for line in (two_stages.run_dir / "stages" / "grpo" / "evaluation.jsonl").read_text().splitlines()]
    workshop = Workshop(load_recipe(two_stages.path), tmp_path)
    _, groups = workshop.evaluate_model(str(two_stages.run_dir / "final"))
    workshop.close()
    assert [attempt.response for group in groups for attempt in group.trajectories] == [row["response"] for row in rows]


def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bytes(two_stages, cli):
    assert cli("train", two_stages.path)[0] == 0
    run = two_stages.run_dir
    files = ("final/model.safetensors", "final/adapter/adapter_model.safetensors", "ledger.jsonl", "stages/grpo/evaluation.jsonl")
    before = [(run / name).read_bytes() for name in files]
    shutil.rmtree(run / "stages" / "grpo")
    shutil.rmtree(run / "checkpoints" / "grpo" / "step-00000006")
    shutil.rmtree(run / "final")
    assert cli("train", two_stages.path)[0] == 0
    assert [(run / name).read_bytes() for name in files] == before


def test_the_base_student_is_the_one_of_runs_without_adapters(tiny_recipe):
    """All of its weights are pretrained, whatever trains later."""
    folders = [
        cache_folder(load_recipe(tiny_recipe(taught(), student=made).path).student) for made in (tiny_student(), lora_student())
    ]
    assert folders[0] == folders[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rank": 0}, "student.lora.rank: is 0; give a number not below 1"),
        ({"target_modules": ["q_projection"]}, "'q_projection' is no linear layer of LlamaForCausalLM"),
        ({"target_modules": "q_proj"}, "student.lora.target_modules: is 'q_proj'; give a list"),
        ({"layers": 2}, "student.lora.layers: is not a known key"),
    ],
)
def test_bad_adapters_are_refused_before_the_run(keys, message, tiny_recipe, cli):
    recipe = tiny_recipe(taught(), student=lora_student(**keys))
    assert message in refused(cli("train", recipe.path))
    assert not (recipe.run_dir / "stages").exists()


def test_a_folder_student_without_the_named_layer_is_refused_before_the_run(tiny_recipe, cli, tmp_path):
    from tiny_qwen import qwen_folder

    made = {"model": str(qwen_folder(tmp_path / "qwen")), "lora": {"target_modules": ["c_attn"]}}
    said = refused(cli("train", tiny_recipe(taught(), student=made).path))
    assert "'c_attn' is no linear layer of Qwen2ForCausalLM" in said and "choose among q_proj" in said


def test_ranks_that_cut_a_student_up_publish_and_export_what_one_process_does(tmp_path):
    """ZeRO-3 cuts up the frozen weights too."""
    pytest.importorskip("deepspeed")
    command = [sys.executable, str(Path(lora_ranks.__file__)), str(tmp_path), "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    whole = LocalLearner(lora_ranks.model(), TOKENIZER, Sft(), CONFIG)
    for _ in range(lora_ranks.STEPS):
        whole.step(ROLLOUTS)
    whole.export(tmp_path / "local")
    student = load_file(tmp_path / "local" / "model.safetensors")
    expected = {
        "adapters.safetensors": whole.publish(1).tensors,
        "merged.safetensors": student,
        "student/model.safetensors": student,
        "student/adapter/adapter_model.safetensors": load_file(tmp_path / "local" / "adapter" / "adapter_model.safetensors"),
    }
    for name, tensors in expected.items():
        found = load_file(tmp_path / name)
        assert found.keys() == tensors.keys()
        assert all(torch.allclose(found[key], tensors[key], atol=1e-6) for key in tensors), name
