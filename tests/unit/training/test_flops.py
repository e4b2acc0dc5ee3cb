"""FLOPs by formula are those that torch counts while the real learner, scorer and engine work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rl_distill.algorithms.grpo import Grpo
from rl_distill.algorithms.sft import Sft
from rl_distill.cluster.memory import ModelSize
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.training.flops import decoding_flops, forward_flops, trained_flops, training_flops
from rl_distill.training.model_shape import ModelShape, shape_of
from rl_distill.training.work_counts import added, row_work, sampling_work
from rl_distill.trajectory import Sample, Trajectory

TOKENIZER = arithmetic_tokenizer()
SIZES = Architecture(hidden_size=32, intermediate_size=96, num_layers=2, num_heads=4, num_key_value_heads=2, max_context=64)


def shape(model) -> ModelShape:
    size = ModelSize(trained=sum(parameter.numel() for parameter in model.parameters()), frozen=0, weight_bytes=4)
    return shape_of(model, size, tensors=0, outgoing_bytes=0)


def rows(count: int = 4, prompt: int = 9, response: int = 15) -> list[Trajectory]:
    """Of one length, so that nothing is padded."""
    ids = torch.randint(3, 40, (count, prompt + response), generator=torch.Generator().manual_seed(0)).tolist()
    sampled = (False,) * prompt + (True,) * response
    return [
        Trajectory(problem_id=str(place), messages=(), token_ids=tuple(one), sampled=sampled, model="m", origin="teacher")
        for place, one in enumerate(ids)
    ]


def counts(model: str, of: list[Trajectory]) -> dict[str, int]:
    found = {name.partition("/")[2]: value for name, value in row_work(model, of).items()}
    return {name: found[name] for name in ("tokens", "squares", "logits")}


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """Attention by plain matrix products: torch does not count its fused kernel on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


@pytest.mark.parametrize(("checkpointing", "tolerance"), [(False, 0.001), (True, 0.06)])
def test_a_training_step_takes_the_flops_of_the_formula(checkpointing: bool, tolerance: float) -> None:
    """Torch does not compute the last matrix of a layer again, which the formula leaves in."""
    config = LearnerConfig(schedule="constant", gradient_checkpointing=checkpointing, logprob_chunk_tokens=16)
    learner = LocalLearner(SIZES.build(TOKENIZER), TOKENIZER, Sft(), config)
    with counted() as counter:
        learner.step([Sample(trajectory=row) for row in rows()])
    expected = training_flops(shape(learner.model), **counts("training", rows()), checkpointing=checkpointing)
    assert counter.get_total_flops() == pytest.approx(expected, rel=tolerance)


def test_a_step_with_flat_groups_takes_the_flops_of_the_formula() -> None:
    """Half of the attempts have no credit, and cost a forward pass each."""
    config = LearnerConfig(schedule="constant", warmup_steps=0, logprob_chunk_tokens=16)
    learner = LocalLearner(SIZES.build(TOKENIZER), TOKENIZER, Grpo(kl_coef=0.0), config)
    attempts = [replace(row, behavior_logprobs=(-3.0,) * len(row.token_ids)) for row in rows(8)]
    samples = [Sample(trajectory=one, advantage=credit) for one, credit in zip(attempts, (1, -1, 0, 0) * 2, strict=True)]
    work = added([row_work("training", attempts[:4]), row_work("still", attempts[4:])])  # all of one length
    with counted() as counter:
        learner.step(samples)
    assert counter.get_total_flops() == pytest.approx(trained_flops(shape(learner.model), work, checkpointing=False), rel=0.001)


def test_scoring_takes_the_flops_of_the_formula() -> None:
    config = ScorerConfig(pad_id=TOKENIZER.pad_token_id, temperature=1.0, max_tokens=4096, chunk_tokens=64, precision="float32")
    scorer = ModelScorer(SIZES.build(TOKENIZER), config)
    with counted() as counter:
        scorer.annotate(rows())
    assert counter.get_total_flops() == pytest.approx(forward_flops(shape(scorer.model), **counts("teacher", rows())), rel=0.001)


def test_sampling_takes_the_flops_of_the_formula() -> None:
    model = SIZES.build(TOKENIZER)
    engine = HfEngine(model, TOKENIZER, HfEngineConfig(), name="m")
    ask = partial(Request, problem_id="p", messages=(), token_ids=(5, 6, 7, 8, 9, 10, 11), sampling=Sampling(max_tokens=20))
    with counted() as counter:
        attempts = engine.generate([ask(seed=seed) for seed in range(8)])
    work = {name.partition("/")[2]: value for name, value in sampling_work(attempts).items()}
    assert work["prompts"] == 1 and work["attempts"] == 8
    of_prompts = forward_flops(shape(model), tokens=work["prompt_tokens"], squares=work["prompt_squares"])
    useful = of_prompts + decoding_flops(shape(model), tokens=work["tokens"], context=work["context"])
    assert counter.get_total_flops() == pytest.approx(useful, rel=0.1), "rows that ended, and such as wait, are computed too"
