"""A tiny student and groups in which it and a teacher both attempted each problem, right and wrong."""

from pathlib import Path

import torch

from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Group, Origin, Problem, Score, Trajectory, Verdict

SHAPE = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=48, initializer_range=0.2)


def save_student(folder: Path, seed: int = 0) -> Path:
    tokenizer = arithmetic_tokenizer()
    save_pretrained(Architecture(**{**SHAPE.__dict__, "seed": seed}).build(tokenizer), tokenizer, folder)
    return folder


def attempt(problem: str, seed: int, origin: Origin, reward: float) -> Trajectory:
    """Tokens drawn from a seed; the student's have the log-probs that an engine would have given them."""
    draw = torch.Generator().manual_seed(seed)
    length = 3 + seed % 5
    ids = [3, 4, 5, *torch.randint(3, 45, (length,), generator=draw).tolist()]
    logprobs = (-2 * torch.rand(len(ids), generator=draw)).tolist()
    return Trajectory(
        problem_id=problem,
        messages=(),
        token_ids=tuple(ids),
        sampled=(False,) * 3 + (True,) * length,
        behavior_logprobs=tuple(logprobs) if origin == "policy" else None,
        model="m",
        origin=origin,
        score=Score(value=reward, verdict=Verdict(status="correct" if reward > 0 else "wrong", method="test")),
    )


def mixed_groups(count: int = 3, rewards: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0)) -> list[Group]:
    """The teacher's right and wrong attempt first, then the student's with these rewards."""
    groups = []
    for number in range(count):
        name, seed = f"p{number}", 100 * number
        taught = [attempt(name, seed + 1, "teacher", 1.0), attempt(name, seed + 2, "teacher", 0.0)]
        own = [attempt(name, seed + 10 + place, "policy", reward) for place, reward in enumerate(rewards)]
        problem = Problem(id=name, prompt="1 + 1 = ?", answer="2", source="test")
        groups.append(Group(problem=problem, trajectories=(*taught, *own)))
    return groups
