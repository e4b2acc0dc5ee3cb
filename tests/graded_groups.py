"""Graded attempts at a few problems, ragged and with every column, from which each algorithm of the table learns."""

from dataclasses import replace

import torch

from rl_distill.trajectory import Group, Problem, Score, Trajectory, Verdict

VOCABULARY = 23
SEEDS = torch.Generator().manual_seed(0)


TEACHER_SEEDS = torch.Generator().manual_seed(1)
NUM_CANDIDATES = 5
TEACHER_COLUMNS = ("teacher_logprobs", "candidate_ids", "teacher_candidate_logprobs")


def teacher_columns(sampled: tuple[bool, ...], vocabulary: int) -> dict[str, tuple]:
    """What a teacher would have written beside an attempt: a few distinct tokens for each sampled one, and the rest."""

    def wide(rows: torch.Tensor) -> tuple:
        return tuple(tuple(row) if mine else () for row, mine in zip(rows.tolist(), sampled, strict=True))

    ids = torch.rand(len(sampled), vocabulary, generator=TEACHER_SEEDS).argsort(dim=-1)[:, :NUM_CANDIDATES]
    logits = 2 * torch.randn(len(sampled), NUM_CANDIDATES + 1, generator=TEACHER_SEEDS, dtype=torch.float64)
    own = -2 * torch.rand(len(sampled), generator=TEACHER_SEEDS, dtype=torch.float64)
    columns = (tuple(own.tolist()), wide(ids), wide(logits.log_softmax(dim=-1)))
    return dict(zip(TEACHER_COLUMNS, columns, strict=True))


def draw(low: int, high: int, count: int) -> tuple[int, ...]:
    return tuple(torch.randint(low, high, (count,), generator=SEEDS).tolist())


def attempt(problem: str, prompt: tuple[int, ...], length: int, correct: bool | None, reward: float | None) -> Trajectory:
    """One response of `length` tokens, with columns of a sampler, a reference, an earlier self and a teacher."""
    count = len(prompt) + length
    columns = {
        name: tuple((-2 * torch.rand(count, generator=SEEDS, dtype=torch.float64)).tolist())
        for name in ("behavior_logprobs", "reference_logprobs", "proximal_logprobs")
    }
    sampled = (False,) * len(prompt) + (True,) * length
    status = "unverifiable" if correct is None else "correct" if correct else "wrong"
    return Trajectory(
        problem_id=problem,
        messages=(),
        token_ids=prompt + draw(1, VOCABULARY, length),
        sampled=sampled,
        model="m",
        origin="policy",
        finish_reason="length" if length == 8 else "stop",
        score=Score(value=reward, verdict=Verdict(status=status, method="test")),
        **columns,
        **teacher_columns(sampled, VOCABULARY),
    )


def make_groups() -> list[Group]:
    groups = []
    for index, lengths in enumerate([(3, 5, 2, 4), (1, 7, 3, 2), (8, 2, 6, 5), (4, 4, 1, 3)]):
        name = f"p{index}"
        prompt = draw(1, VOCABULARY, 2 + index)
        rewards = [(True, 1.0), (False, 0.1), (None, None), (False, -0.3 - index)]
        groups.append(
            Group(
                problem=Problem(id=name, prompt="", answer="1", source="test"),
                trajectories=tuple(
                    attempt(name, prompt, length, *reward) for length, reward in zip(lengths, rewards, strict=True)
                ),
            )
        )
    return groups


GROUPS = make_groups()


def as_dialogues(group: Group) -> Group:
    """The same attempts as ends of dialogues, with further answers to compare with, and a lesson."""

    def beside(context: str, outcomes: list[bool], control: bool) -> list[Trajectory]:
        given = [attempt(group.problem.id, (3, 4), 2 + place, right, float(right)) for place, right in enumerate(outcomes)]
        return [replace(one, context=context, dialogue=place, control=control) for place, one in enumerate(given)]

    ends = [replace(one, context="full", dialogue=place) for place, one in enumerate(group.trajectories)]
    taught = replace(attempt(group.problem.id, (5,), 4, None, None), origin="teacher", context="full", score=None)
    return replace(
        group,
        trajectories=(
            *ends,
            *beside("partial", [True, False, False, False, False], False),
            *beside("direct", [False, False, True, False, False, False], False),
            *beside("full", [True, True, True, False], True),
            *beside("blanked", [True, False, False, False], True),
            replace(taught, behavior_logprobs=None, proximal_logprobs=None, **dict.fromkeys(TEACHER_COLUMNS)),
        ),
    )


DIALOGUES = [as_dialogues(group) for group in GROUPS]


def groups_of(algorithm) -> list[Group]:
    """Of the kind that the algorithm learns from."""
    return DIALOGUES if algorithm.needs_dialogues else GROUPS


def samples_of(algorithm, source: str = ""):
    samples = [replace(sample, source=source) for group in groups_of(algorithm) for sample in algorithm.samples(group)]
    assert samples
    return algorithm.finish(samples)
