"""Themes 4, 5, 7, 16, 30, 31: whose weights sample, whose are saved, and what learner and engine say about one text."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mixed_step import CONFIG, ROLLOUTS, SHAPE, TOKENIZER
from tiny_runs import rolled_out, taught

from rl_distill.algorithms.grpo import Grpo
from rl_distill.errors import RunError
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.training_state import read_state
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.rollout.engine import Request, Sampling, load_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.tracking import read_metrics
from rl_distill.trajectory import Trajectory

SAMPLING = Sampling(temperature=0.7, max_tokens=12)
RATE = {"schedule": "constant", "warmup_fraction": 0}


def attempts(engine: HfEngine) -> list[Trajectory]:
    prompts = [(5, 6, 7 + index % 3) for index in range(12)]
    return engine.generate(
        [Request(problem_id="p", messages=(), token_ids=ids, sampling=SAMPLING, seed=seed) for seed, ids in enumerate(prompts)]
    )


def gap(engine_says: list[Trajectory], learner: LocalLearner) -> float:
    """The largest difference in nats between what the engine and the learner say about the engine's texts."""
    columns = learner.logprobs(engine_says, temperature=SAMPLING.temperature)
    pairs = [(one.behavior_logprobs or (), column) for one, column in zip(engine_says, columns, strict=True)]
    return max(abs(ours - theirs) for behavior, column in pairs for ours, theirs in zip(column, behavior, strict=True))


@pytest.fixture
def learner_and_engine() -> tuple[LocalLearner, HfEngine]:
    """A learner one large step ahead of an engine that has the weights it started from."""
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Grpo(kl_coef=0), replace(CONFIG, learning_rate=0.01))
    engine = HfEngine(copy.deepcopy(learner.model), TOKENIZER, HfEngineConfig(device="cpu"), name="policy")
    assert gap(attempts(engine), learner) < 1e-4
    learner.step(ROLLOUTS)
    return learner, engine


def test_theme_04_weights_that_never_reach_the_engine_show_and_published_ones_are_the_learners(learner_and_engine):
    learner, engine = learner_and_engine
    assert gap(attempts(engine), learner) > 0.01  # what an engine that was forgotten looks like
    load_checked(engine, learner.publish(1))
    assert gap(attempts(engine), learner) < 1e-4
    assert {version for one in attempts(engine) for version in one.policy_versions[3:]} == {1}


def test_theme_04_an_update_damaged_in_any_tensor_is_refused(learner_and_engine):
    learner, engine = learner_and_engine
    update = learner.publish(1)
    for name, tensor in update.tensors.items():
        damaged = tensor.clone()
        damaged.view(-1)[damaged.numel() // 2] += 1e-3
        with pytest.raises(RunError, match="the engine holds other weights than the learner published as version 1"):
            load_checked(engine, replace(update, tensors={**update.tensors, name: damaged}))


def test_theme_05_a_folder_that_holds_only_an_adapter_is_refused(tiny_recipe, cli, tmp_path):
    """The run would train and export something else than the folder's name says."""
    peft = pytest.importorskip("peft")
    base, adapter = SHAPE.build(TOKENIZER), tmp_path / "adapter"
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    TOKENIZER.save_pretrained(adapter)
    code, _, err = cli("train", tiny_recipe(rolled_out(), student={"model": str(adapter)}).path)
    assert code == 2 and err.startswith("error: student.model: ") and err.count("\n") == 1


@pytest.mark.parametrize("rate", [1e-30, 0.01])
def test_theme_07_engine_and_learner_agree_on_policy_whether_weights_rest_or_run(rate, tiny_recipe, cli):
    stage = rolled_out(steps=5, learner=RATE | {"learning_rate": rate})
    stage["source"] |= {"sampling": {"temperature": 0.7, "max_tokens": 12}, "group_size": 16}
    recipe = tiny_recipe(stage)
    assert cli("train", recipe.path)[0] == 0
    lines = [line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == "grpo"]
    assert len(lines) == 5 and all(abs(line["policy/mismatch_kl"]) < 1e-6 for line in lines)
    assert all((line["update/relative"] > 1e-3) == (rate > 1e-3) for line in lines)


def rollouts(run_dir: Path) -> list[tuple[int, set[int]]]:
    """The step of each sampled attempt, and the policy versions of its tokens."""
    lines = map(json.loads, (run_dir / "trajectories" / "rollouts.jsonl").read_text().splitlines())
    return [
        (line["step"], {version for version, mine in zip(one["policy_versions"], one["sampled"], strict=True) if mine})
        for line in lines
        for one in line["trajectories"]
    ]


def test_theme_16_every_token_says_which_weights_sampled_it_also_after_a_resume(tiny_recipe, cli):
    recipe = tiny_recipe(taught(), rolled_out(steps=4, mini_batches=2))
    assert cli("train", recipe.path)[0] == 0
    assert {step for step, _ in rollouts(recipe.run_dir)} == {0, 1, 2, 3}
    assert all(versions == {step} for step, versions in rollouts(recipe.run_dir))
    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    shutil.rmtree(recipe.run_dir / "checkpoints" / "grpo" / "step-00000004")
    before = rollouts(recipe.run_dir)
    assert cli("train", recipe.path)[0] == 0
    assert rollouts(recipe.run_dir) == before


def test_theme_30_the_exported_student_is_the_trained_one_for_auto_classes_too(tiny_recipe, cli):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = tiny_recipe(taught(), rolled_out(learner=RATE | {"learning_rate": 0.01}))
    assert cli("train", recipe.path)[0] == 0
    trained = load_model(str(recipe.run_dir / "stages" / "base" / "student"))
    before = {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}
    fields = read_state(recipe.run_dir / "checkpoints" / "grpo" / "step-00000002", before)
    saved = {name: values["weight"] for name, values in fields}
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            parameter.copy_(saved[name])
    assert any(not torch.equal(before[name], saved[name]) for name in before)
    final = str(recipe.run_dir / "final")
    row = torch.arange(40)[None]
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(final).eval()(input_ids=row).logits
        assert torch.equal(theirs, trained(input_ids=row).logits)
    ours = load_tokenizer(str(recipe.run_dir / "stages" / "base" / "student"))
    assert AutoTokenizer.from_pretrained(final).encode("3 + 4 = 7") == ours.encode("3 + 4 = 7")


@pytest.mark.parametrize("micro_batch_tokens", [1, 10_000])
def test_theme_31_the_gradient_norm_is_that_of_any_attention_and_any_micro_batches(micro_batch_tokens):
    norms = []
    for attention in ("eager", "sdpa"):
        model = SHAPE.build(TOKENIZER)
        model.set_attn_implementation(attention)
        config = replace(CONFIG, micro_batch_tokens=micro_batch_tokens)
        metrics = LocalLearner(model, TOKENIZER, Grpo(kl_coef=0), config).step(ROLLOUTS).metrics
        assert metrics["learner/micro_batches"] == (len(ROLLOUTS) if micro_batch_tokens == 1 else 1)
        norms.append(metrics["gradient/norm"])
    whole = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Grpo(kl_coef=0), CONFIG).step(ROLLOUTS).metrics["gradient/norm"]
    assert whole > 0.01 and norms == pytest.approx([whole, whole], rel=1e-5)
