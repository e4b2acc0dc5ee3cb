"""An optimizer step: packed and divided as the learner does it, counted by hand."""

import random
from dataclasses import replace

import pytest

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cluster.memory import ModelSize
from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.step_plan import divide as divide_samples
from rl_distill.learning.step_plan import plan_step, split
from rl_distill.planning.learning_cost import MicroBatch, divide, exchanged_bytes, micro_batch_work, pack, update_bytes
from rl_distill.trajectory import Sample, Trajectory


def sample(tokens: int, wanted: int, unit: str = "") -> Sample:
    trajectory = Trajectory(
        problem_id="p",
        messages=(),
        token_ids=(1,) * tokens,
        sampled=(False,) * (tokens - wanted) + (True,) * wanted,
        model="m",
        origin="policy",
    )
    return Sample(trajectory=trajectory, unit=unit)


def rows(count: int, seed: int) -> list[tuple[int, int]]:
    drawn = random.Random(seed)
    return [(wanted + drawn.randint(1, 9), wanted) for wanted in (drawn.randint(1, 60) for _ in range(count))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "max_tokens"), [(1, 128), (1, 4096), (2, 256), (1, 10)])
def test_micro_batches_are_the_learners(seed, size, max_tokens):
    units = [rows(size, 100 * seed + place) for place in range(17)]
    samples = [sample(*row, unit=f"{place}") for place, unit in enumerate(units) for row in unit]
    theirs = [
        (len(part), max(len(one.trajectory.token_ids) for one in part), sum(one.trajectory.num_sampled for one in part))
        for part in split(samples, max_tokens)
    ]
    ours = [(part.rows, part.width, part.wanted) for part in pack(units, max_tokens)]
    assert ours == theirs


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_get_what_the_learners_get(ranks):
    units = [[row] for row in rows(19, 7)]
    theirs = [
        sorted(len(one.trajectory.token_ids) for one in share)
        for share in divide_samples([sample(*unit[0]) for unit in units], ranks)
    ]
    assert [sorted(tokens for ((tokens, _),) in share) for share in divide(units, ranks)] == theirs
    plan = plan_step(
        [sample(*unit[0]) for unit in units], [LossTerm(algorithm=ALGORITHMS["sft"]())], num_processes=ranks, max_tokens=100
    )
    assert max(len(pack(share, 100)) for share in divide(units, ranks)) == plan[0][0].passes


def test_flops_by_hand(shape):
    """8 rows of 16 tokens, 50 with loss: 6 for each weight and token, 12 for each cached position, 8 for each logit."""
    part = MicroBatch(rows=8, width=16, wanted=50)
    work = micro_batch_work(shape, part, checkpointing=False, weight_bytes=4)
    assert work.flops == 6 * shape.body * 128 + 12 * 2 * 64 * 16 * 128 + 8 * shape.head * 50
    again = micro_batch_work(shape, part, checkpointing=True, weight_bytes=4)
    assert again.flops - work.flops == 2 * shape.body * 128 + 4 * 2 * 64 * 16 * 128
    forward = micro_batch_work(shape, part, checkpointing=False, weight_bytes=4, forward=True)
    assert forward.flops == 2 * shape.body * 128 + 4 * 2 * 64 * 16 * 128 + 2 * shape.head * 50


def test_frozen_weights_have_no_gradient(shape):
    part = MicroBatch(rows=8, width=16, wanted=50)
    adapters = replace(shape, size=ModelSize(trained=1000, frozen=shape.size.trained, weight_bytes=4))
    whole, low_rank = (micro_batch_work(one, part, checkpointing=False, weight_bytes=4).flops for one in (shape, adapters))
    assert whole - low_rank == (2 * shape.body - 6 * 1000) * 128


@pytest.mark.parametrize(
    ("stage", "ranks", "passes", "copies"),
    [(0, 1, 5, 0), (0, 4, 5, 2 * 3 / 4), (1, 4, 5, 2 * 3 / 4), (2, 4, 5, (5 + 1) * 3 / 4), (3, 4, 5, 3 * 5 * 3 / 4)],
)
def test_traffic_by_hand(shape, stage, ranks, passes, copies):
    places = LearnerPlaces(ranks=ranks, zero_stage=stage)
    assert exchanged_bytes(shape, places, passes) == pytest.approx(copies * 4 * shape.size.trained)


def test_from_zero_1_on_a_rank_updates_its_part(shape):
    whole, part = (update_bytes(shape, LearnerPlaces(ranks=4, zero_stage=stage)) for stage in (0, 1))
    assert whole == 4 * part
