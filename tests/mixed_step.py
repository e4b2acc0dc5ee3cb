"""A learner's step on hand-made attempts, of the student and of a teacher: what tests of mixing and credit share."""

from dataclasses import replace

import torch
from graded_groups import teacher_columns

from rl_distill.algorithms import ALGORITHMS
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.learner_process import ProcessReport, step_report
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.step_plan import plan_step
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Sample, Score, Trajectory, Verdict

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=32, initializer_range=0.2)
CONFIG = LearnerConfig(learning_rate=1e-3, schedule="constant", warmup_steps=0, max_grad_norm=None)


def sample(seed: int, source: str = "", **fields) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    length = 3 + seed % 5
    ids = torch.randint(3, 48, (2 + length,), generator=draw).tolist()
    logprobs = (-2 * torch.rand(2 + length, generator=draw)).tolist()
    right = fields.get("advantage", 1) > 0 and fields.get("label", 1) > 0
    trajectory = Trajectory(
        problem_id=str(seed),
        messages=(),
        token_ids=tuple(ids),
        sampled=(False,) * 2 + (True,) * length,
        **teacher_columns((False,) * 2 + (True,) * length, 48),
        behavior_logprobs=tuple(logprobs),
        reference_logprobs=tuple(logprobs[::-1]),
        model="m",
        origin="policy",
        score=Score(value=float(right), verdict=Verdict(status="correct" if right else "wrong", method="test")),
    )
    return Sample(trajectory=trajectory, source=source, **fields)


ROLLOUTS = [sample(seed, advantage=(-1.0) ** seed) for seed in range(6)]
PAIRS = [sample(10 + seed, "teacher", label=(1, -1)[seed % 2], unit=f"teacher/{seed // 2}") for seed in range(4)]


def gradient(samples, algorithm=None, beside=(), **options):
    """What a step puts into the parameters, and its metrics."""
    learner = LocalLearner(
        SHAPE.build(TOKENIZER), TOKENIZER, algorithm or ALGORITHMS["grpo"](), replace(CONFIG, **options), beside=beside
    )
    (shares,) = plan_step(samples, learner.terms, num_processes=1, max_tokens=learner.config.micro_batch_tokens)
    sums, parts = learner.accumulate(shares)
    whole = torch.cat([parameter.grad.flatten() for parameter in learner.trained])
    report = step_report(shares, [ProcessReport(sums=sums, facts=parts.metrics(whole.norm().item()))])
    return whole, dict(report.metrics)
