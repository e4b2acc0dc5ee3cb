"""What must hold on a GPU: the same mathematics as on the CPU, and a recipe that trains there unchanged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rl_distill.algorithms.sft import Sft
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.recipe import load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.text import PromptFormat
from rl_distill.tracking import read_metrics
from rl_distill.training.run import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=64, intermediate_size=128, num_layers=2, max_context=96, initializer_range=0.2)
CONFIG = LearnerConfig(learning_rate=1e-3, schedule="constant", warmup_steps=0, device="cuda")


def rollouts(device: str):
    prompter = Prompter(tokenizer=TOKENIZER, format=PromptFormat(), max_context=96)
    sampling = Sampling(max_tokens=32)
    prompts = prompter.prompts(Arithmetic(num_problems=16).groups(), sampling, field="test")
    engine = HfEngine(SHAPE.build(TOKENIZER), TOKENIZER, HfEngineConfig(device=device), name="gpu")
    return engine, engine.generate([prompt.request(sampling, 0, sample) for prompt in prompts for sample in range(4)])


def test_the_engine_and_the_learner_agree_on_log_probs():
    _, sampled = rollouts("cuda")
    learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Sft(), CONFIG)
    for trajectory, row in zip(sampled, learner.logprobs(sampled), strict=True):
        ours = [value for value, mine in zip(row, trajectory.sampled, strict=True) if mine]
        theirs = [value for value, mine in zip(trajectory.behavior_logprobs, trajectory.sampled, strict=True) if mine]
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_is_the_cpus_step_up_to_rounding(precision):
    from rl_distill.trajectory import Sample

    _, sampled = rollouts("cpu")
    samples = [Sample(trajectory=trajectory) for trajectory in sampled]
    losses = {}
    for device in ("cpu", "cuda"):
        config = replace(CONFIG, device=device, precision=precision if device == "cuda" else "float32")
        learner = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Sft(), config)
        losses[device] = [learner.step(samples).metrics["loss"] for _ in range(5)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3 if precision == "float32" else 3e-2)


def test_published_weights_arrive_in_the_engine():
    engine, _ = rollouts("cuda")
    update = LocalLearner(replace(SHAPE, seed=3).build(TOKENIZER), TOKENIZER, Sft(), CONFIG).publish(7)
    assert engine.load_weights(update) == update.digests
    assert engine.version == 7


def test_a_debug_recipe_trains_there_unchanged(tmp_path):
    path = Path(__file__).parents[2] / "experiments" / "debug" / "grpo.yaml"
    train(load_recipe(path, [f"run_dir={tmp_path / 'run'}", "tracking.console=quiet"]), say=lambda line: None)
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["stage"] == "grpo"]
    assert len(lines) == 10 and all(abs(line["policy/mismatch_kl"]) < 1e-4 for line in lines)
