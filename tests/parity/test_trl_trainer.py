"""Our algorithms inside the Trainer against our own learner: the same loss, gradient, metrics and weights, however it is cut."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate", reason="accelerate is in the trl extra")

from trl_door import (
    LEARNER,
    OFFLINE,
    TOKENIZER,
    Gradients,
    Whitened,
    pair_rows,
    small_model,
    table,
    trainer,
    training_log,
    weights,
)

from rl_distill.algorithms import ALGORITHMS, Sft
from rl_distill.algorithms.base import Algorithm, Need
from rl_distill.integrations.learnable_groups import groups_of
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Group, Message, Problem, Sample, Score, Trajectory, Verdict

TESTS = Path(__file__).parents[1]
CUTS = [(12, 1), (3, 4), (1, 12), (5, 3)]  # groups of a micro-batch, micro-batches of a step: 12 groups, the last cut unevenly
PROMPTER = Prompter(tokenizer=TOKENIZER, format=PromptFormat(), max_context=96)


def samples_of(algorithm: Algorithm, data: Any, reference: Any = None) -> list[Sample]:
    """What our own loop hands to the learner for all groups at once."""
    groups = Tokenized(groups_of(data, "data"), PROMPTER, field="data")
    samples = [sample for index in range(len(groups)) for sample in algorithm.samples(groups[index])]
    if Need.REFERENCE_LOGPROBS in algorithm.needs:
        pad_id = TOKENIZER.pad_token_id
        model = small_model() if reference is None else reference
        scorer = ModelScorer(
            model, ScorerConfig(pad_id=pad_id, temperature=1.0, max_tokens=10**6, chunk_tokens=4096, precision="float32")
        )
        annotated = scorer.annotate([sample.trajectory for sample in samples])
        samples = [replace(sample, trajectory=attempt) for sample, attempt in zip(samples, annotated, strict=True)]
    return algorithm.finish(samples)


def learner_step(algorithm: Algorithm, samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """The metrics of one step of our learner, and the gradient that its optimizer was given."""
    learner = LocalLearner(small_model(), TOKENIZER, algorithm, replace(LEARNER, max_grad_norm=None))
    seen: dict[str, torch.Tensor] = {}
    learner.optimizer.register_step_pre_hook(
        lambda *_: seen.update({name: p.grad.clone() for name, p in learner.model.named_parameters()})
    )
    return dict(learner.step(samples).metrics), seen


def check_same_step(tmp_path: Path, algorithm: Algorithm, data: Any, size: int, parts: int, reference: int | None = None) -> None:
    other = None if reference is None else small_model(reference)
    metrics, gradient = learner_step(algorithm, samples_of(algorithm, data, other))
    seen = Gradients()
    cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": parts, "max_grad_norm": 0.0}
    options = {} if reference is None else {"reference": small_model(reference)}
    door = trainer(tmp_path, algorithm, data, args=cut, callbacks=[seen], **options)
    door.train()
    (given,), (line,) = seen.steps, training_log(door)
    assert given.keys() == gradient.keys()
    for name in gradient:
        torch.testing.assert_close(given[name], gradient[name], atol=1e-6, rtol=1e-5)
    shared = metrics.keys() & line.keys()
    assert {"loss", "logprob/chosen", "batch/tokens", "batch/units", "credit/positive", "policy/entropy"} <= shared
    assert {path: line[path] for path in shared} == pytest.approx({path: metrics[path] for path in shared}, abs=2e-6, rel=1e-5)
    assert line["grad_norm"] == pytest.approx(metrics["gradient/norm"], rel=1e-5)


@pytest.mark.parametrize(("size", "parts"), CUTS)
@pytest.mark.parametrize("name", OFFLINE)
def test_a_step_is_the_learners_however_it_is_cut(tmp_path, name, size, parts):
    check_same_step(tmp_path, ALGORITHMS[name](), table(pair_rows()), size, parts, reference=1 if name == "dpo" else None)


def attempt(problem: str, text: str, *, is_correct: bool) -> Trajectory:
    return Trajectory(
        problem_id=problem,
        messages=(Message("user", problem), Message("assistant", text)),
        model="teacher",
        origin="teacher",
        score=Score(value=float(is_correct), verdict=Verdict(status="correct" if is_correct else "wrong", method="test")),
    )


def groups() -> list[Group]:
    """Groups of one to three correct attempts of different length, and a wrong one."""
    found = []
    for index in range(12):
        prompt = f"{index} + 1 = ?"
        right = [attempt(prompt, f"\\boxed{{{index + 1}}}" + " yes" * extra, is_correct=True) for extra in range(1 + index % 3)]
        problem = Problem(id=prompt, prompt=prompt, answer=str(index + 1), source="test")
        found.append(Group(problem=problem, trajectories=(*right, attempt(prompt, "no", is_correct=False))))
    return found


@pytest.mark.parametrize(("size", "parts"), CUTS)
@pytest.mark.parametrize("algorithm", [Sft(traces="correct"), Sft(traces="all", aggregation="sequence_mean"), Whitened()])
def test_groups_of_several_attempts_and_credit_over_the_whole_step_are_the_learners(tmp_path, algorithm, size, parts):
    check_same_step(tmp_path, algorithm, groups(), size, parts)


@pytest.mark.parametrize("name", OFFLINE)
def test_steps_lead_to_the_learners_weights(tmp_path, name):
    """AdamW with the same settings and the same limit on the gradient, three steps of two micro-batches."""
    algorithm, rows = ALGORITHMS[name](), pair_rows()
    door = trainer(tmp_path, algorithm, table(rows), args={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2})
    door.train()
    learner = LocalLearner(small_model(), TOKENIZER, algorithm, LEARNER)
    norms = [
        learner.step(samples_of(algorithm, rows[start : start + 4])).metrics["gradient/norm"] for start in range(0, len(rows), 4)
    ]
    assert max(norms) > LEARNER.max_grad_norm
    start, taught = weights(small_model()), weights(learner.model)
    for name, tensor in weights(door.model).items():
        torch.testing.assert_close(tensor, taught[name], atol=1e-6, rtol=0)
    assert any((start[name] - taught[name]).abs().max() > 1e-3 for name in taught)


def test_the_reference_is_the_model_as_it_was(tmp_path):
    """In the last of three steps of DPO the model has moved, and what it is compared with has not."""
    algorithm, rows = ALGORITHMS["dpo"](beta=1.0), pair_rows()
    lines = []
    for reference in (None, small_model()):
        door = trainer(tmp_path, algorithm, rows, reference=reference)
        door.train()
        lines.append([line["loss"] for line in training_log(door)])
    assert lines[0] == lines[1]
    assert lines[0][0] == pytest.approx(0.693147, abs=1e-5)
    assert lines[0][-1] < 0.1


def test_reference_log_probs_that_the_groups_bring_along_are_taken(tmp_path):
    algorithm, rows = ALGORITHMS["dpo"](), pair_rows()
    recorded = []
    tokenized = Tokenized(groups_of(rows, "data"), PROMPTER, field="data")
    for index in range(len(tokenized)):
        attempts = [
            replace(one, reference_logprobs=(-0.5 - index,) * len(one.token_ids)) for one in tokenized[index].trajectories
        ]
        recorded.append(replace(tokenized[index], trajectories=tuple(attempts)))
    door = trainer(tmp_path, algorithm, recorded, args={"per_device_train_batch_size": 12})
    assert door.reference is None
    door.train()
    samples = [sample for group in recorded for sample in algorithm.samples(group)]
    metrics, _ = learner_step(algorithm, samples)
    assert training_log(door)[0]["loss"] == pytest.approx(metrics["loss"], abs=1e-6)
    assert abs(metrics["loss"] - 0.6931) > 0.1


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """DDP on the CPU: the same weights, log and evaluation of a set that two processes cannot share evenly."""
    script = TESTS / "trl_two_processes.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    one = subprocess.Popen([sys.executable, str(script), str(tmp_path / "one")], env=environment)
    done = subprocess.run([*launch, str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert one.wait(timeout=180) == 0
    for name in ("redi", "dpo", "whitened"):
        alone, together = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two"))
        for tensor in alone:
            torch.testing.assert_close(together[tensor], alone[tensor], atol=1e-6, rtol=0)
        logs = [json.loads((tmp_path / folder / f"{name}.json").read_text()) for folder in ("one", "two")]
        assert len(logs[0]) == len(logs[1]) == 4
        for line, other in zip(*logs, strict=True):
            assert line.keys() == other.keys()
            assert other == pytest.approx(line, abs=2e-5)
