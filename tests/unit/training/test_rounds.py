"""Rounds start when the gate admits them, are taken in order, and are the same problems however far they run ahead."""

import pytest

from rl_distill.rollout.collector import Prompt
from rl_distill.rollout.engine import Sampling, ShardResult
from rl_distill.training.cursor import Cursor
from rl_distill.training.rounds import Rounds
from rl_distill.trajectory import Problem, Trajectory

PROMPTS = [
    Prompt(problem=Problem(id=f"p{index}", prompt="", answer="1", source="test"), messages=(), token_ids=(1, 2))
    for index in range(7)
]


class Recorder:
    """Answers each request with an attempt of no tokens, and remembers what it was given."""

    shard_size, num_workers = 3, 1

    def __init__(self) -> None:
        self.shards: list = []
        self.ahead: list[bool] = []

    def submit(self, shard, *, ahead: bool = False) -> int:
        self.shards.append(shard)
        self.ahead.append(ahead)
        return len(self.shards) - 1

    def collect(self, ticket: int) -> ShardResult:
        made = [
            Trajectory(problem_id=asked.problem_id, seed=asked.seed, messages=(), model="m", origin="policy")
            for asked in self.shards[ticket]
        ]
        return ShardResult(trajectories=made, worker=ticket % 2, swaps=((0, ticket),), seconds=0.5)

    def finished(self, ticket: int) -> bool:
        return ticket < 2

    def abandon(self) -> None: ...


def rounds(max_staleness: int = 0, steps: int | None = None) -> Rounds:
    return Rounds(
        PROMPTS,
        Recorder(),
        Sampling(),
        address=(0, "grpo"),
        cursor=Cursor(len(PROMPTS), 0, shuffle=True),
        size=2,
        group_size=2,
        max_staleness=max_staleness,
        steps=steps,
    )


def asked(made: Rounds) -> list[tuple[str, int]]:
    return [(request.problem_id, request.seed) for shard in made.sampler.shards for request in shard]


def test_without_running_ahead_a_round_starts_when_it_is_taken():
    made = rounds()
    for step in range(3):
        groups = made.take(step)
        assert [len(group.trajectories) for group in groups] == [2, 2]
        assert len(asked(made)) == 4 * (step + 1) and not any(made.sampler.ahead)


@pytest.mark.parametrize("max_staleness", [1, 2, 4])
def test_as_many_rounds_are_under_way_as_the_gate_admits(max_staleness):
    made = rounds(max_staleness, steps=6)
    for version in range(6):
        made.submit_ahead(version)
        assert len(asked(made)) == 4 * min(6, version + max_staleness + 1)
        assert all(made.sampler.ahead)
        made.take(version)
    made.submit_ahead(6)
    assert len(asked(made)) == 4 * 6, "nothing is sampled that no step would take"


@pytest.mark.parametrize("max_staleness", [1, 3])
def test_running_ahead_changes_neither_problems_nor_seeds(max_staleness):
    waiting, ahead = rounds(), rounds(max_staleness)
    for step in range(5):
        waiting.take(step)
        ahead.submit_ahead(step)
        ahead.take(step)
    assert asked(ahead)[: 4 * 5] == asked(waiting)


def test_a_round_that_was_under_way_when_the_run_stopped_is_sampled_again_and_no_problem_is_lost_or_doubled():
    undisturbed = rounds(2, steps=6)
    for step in range(6):
        undisturbed.take(step)
    stopped = rounds(2, steps=6)
    for step in range(3):
        stopped.take(step)
    stopped.submit_ahead(3)
    again = rounds(2, steps=6)
    again.load_state(stopped.state())
    for step in range(3, 6):
        again.submit_ahead(step)
        again.take(step)
    assert asked(again) == asked(undisturbed)[4 * 3 :]


def test_refills_draw_what_comes_after_what_is_under_way_and_the_schedule_tells_them_apart():
    made = rounds(1, steps=4)
    made.take(0)
    made.refill(0, 1, 1)
    drawn = [problem for problem, _ in asked(made)]
    assert drawn[::2] == [PROMPTS[made.cursor.at(place)[1]].problem.id for place in range(5)]
    assert [(line["step"], line["round"], line["shard"]) for line in made.schedule] == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert made.schedule[0]["requests"] == [list(pair) for pair in asked(made)[:3]] and made.schedule[1]["swaps"] == [[0, 1]]
    assert made.busy_seconds == 1.5


def test_a_round_is_ready_when_all_its_shards_are():
    made = rounds(2)
    made.submit_ahead(0)
    assert made.ready() == 2
