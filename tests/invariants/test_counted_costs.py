"""What a step costs, in counts that no machine changes: passes, rows, tokens, bytes. Seconds are for scripts/bench.

Arrays as wide as the vocabulary are counted in unit/models/test_logprobs.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import learner_step
import pytest
import torch

from rl_distill.algorithms import ALGORITHMS, Grpo
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import Request, Sampling, torch_dtype
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.training.loop import credited
from rl_distill.training.weight_sync import SyncChecks, WeightSync, tolerance_of
from rl_distill.trajectory import Group, Problem, Sample, Score, Trajectory

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_key_value_heads=1, max_context=1024)
CONFIG = LearnerConfig(schedule="constant", warmup_steps=0, device="cpu", micro_batch_tokens=4096)
GROUPS, GROUP_SIZE, PROMPT = 6, 8, 12
IDLE_ROWS = 1 / 8  # of a pass, before finished rows leave it
FEWEST_ROWS = 2


@contextmanager
def passes(model: Any) -> Iterator[list[torch.Size]]:
    """[rows, columns] of all that goes through a model's layers meanwhile."""
    seen: list[torch.Size] = []

    def look(module: Any, given: Any, named: Any) -> None:
        seen.append(named["input_ids"].shape)

    hook = model.base_model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def learner_of(algorithm: Any, **settings: Any) -> LocalLearner:
    return LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, algorithm, CONFIG, **settings)


def engine_of(**settings: Any) -> HfEngine:
    return HfEngine(SHAPE.build(TOKENIZER), TOKENIZER, HfEngineConfig(device="cpu", **settings), name="student")


def requests() -> list[Request]:
    """Groups at prompts of their own; most attempts are short, some are long."""
    return [
        Request(
            problem_id=str(number // GROUP_SIZE),
            messages=(),
            token_ids=tuple(3 + (number // GROUP_SIZE + 5 * place) % 40 for place in range(PROMPT)),
            sampling=Sampling(max_tokens=max(2, 60 // (1 + number % 13))),
            seed=number,
        )
        for number in range(GROUPS * GROUP_SIZE)
    ]


def test_little_of_an_optimizer_step_on_gsm8ks_lengths_is_padding() -> None:
    def sample(prompt: list[int], answer: list[int]) -> Sample:
        ids = tuple(token % len(TOKENIZER) for token in (*prompt, *answer))
        sampled = (False,) * len(prompt) + (True,) * len(answer)
        return Sample(
            trajectory=Trajectory(problem_id="p", messages=(), token_ids=ids, sampled=sampled, model="t", origin="teacher")
        )

    learner = learner_of(ALGORITHMS["sft"]())
    samples = [sample(pair.prompt, pair.right) for pair in learner_step.pairs(64)]
    with passes(learner.model) as seen:
        found = learner.step(samples).metrics["learner/padding_fraction"]
    tokens = sum(len(one.trajectory.token_ids) for one in samples)
    padding = 1 - tokens / sum(shape.numel() for shape in seen)
    assert found == pytest.approx(padding)
    assert padding <= 0.05
    assert max(shape.numel() for shape in seen) <= CONFIG.micro_batch_tokens


@pytest.mark.parametrize(("mini_batches", "forwards"), [(1, 1), (2, 2)], ids=["on-policy", "two mini-batches"])
def test_a_grpo_step_reads_each_attempt_once_and_once_more_only_where_its_weights_move_on_the_way(mini_batches, forwards):
    """Log-probs of the policy that sampled come with the attempts, and a group without variance goes through no model."""
    algorithm = Grpo(kl_coef=0.0, drop_flat_groups=True)
    learner, term = learner_of(algorithm), LossTerm(algorithm=algorithm)
    attempts = engine_of().generate(requests())
    groups = [
        Group(
            problem=Problem(id=str(place), prompt="", answer="", source="test"),
            trajectories=tuple(
                replace(attempt, score=Score(value=float(number * place % 2), verdict=None))  # every other group is flat
                for number, attempt in enumerate(attempts[place * GROUP_SIZE : (place + 1) * GROUP_SIZE])
            ),
        )
        for place in range(GROUPS)
    ]
    with passes(learner.model) as seen:
        credit = credited(term, groups, reference=None, teacher=None, learner=learner, mini_batches=mini_batches)
        learner.step(credit.samples)
    assert len(credit.samples) == GROUPS // 2 * GROUP_SIZE
    assert sum(rows for rows, _ in seen) == forwards * len(credit.samples)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_weight_sync_carries_each_weight_once_in_the_engines_dtype(dtype, monkeypatch):
    learner, engine = learner_of(ALGORITHMS["sft"](), publish_dtype=torch_dtype(dtype)), engine_of(dtype=dtype)
    loaded: list[int] = []
    load = engine.load_weights
    monkeypatch.setattr(
        engine,
        "load_weights",
        lambda update: (loaded.append(sum(one.nbytes for one in update.tensors.values())), load(update))[1],
    )
    checks = SyncChecks()
    sync = WeightSync(learner, engine, requests()[0], checks, tolerance_of(checks, dtype, "float32"))
    weights = sum(weight.numel() for weight in learner.model.parameters()) * torch_dtype(dtype).itemsize
    for version in range(3):
        assert sync.bring(version)["sync/bytes"] == weights
    assert loaded == [weights] * 3


def test_the_engine_reads_the_prompt_of_a_group_once() -> None:
    engine = engine_of()
    with passes(engine._model) as seen:
        engine.generate(requests())
    prompts = [shape for shape in seen if shape[1] > 1]
    assert prompts == [(GROUPS, PROMPT - 1)], "the last token is read with the first draw"


@pytest.mark.parametrize("max_concurrent", [128, 16], ids=["all at once", "some wait"])
def test_the_engine_decodes_a_token_for_each_that_it_returns_and_finished_rows_leave(max_concurrent) -> None:
    engine = engine_of(max_concurrent=max_concurrent)
    with passes(engine._model) as seen:
        sampled = [attempt.num_sampled for attempt in engine.generate(requests())]
    rows = [shape[0] for shape in seen if shape[1] == 1]
    assert sum(sampled) <= sum(rows) <= sum(sampled) / (1 - IDLE_ROWS) + rows.count(FEWEST_ROWS)
    if max_concurrent >= len(sampled):
        assert len(rows) == max(sampled)
        live = [sum(length > step for length in sampled) for step in range(len(rows))]
        assert all(row - busy < IDLE_ROWS * row or row == FEWEST_ROWS for row, busy in zip(rows, live, strict=True))
