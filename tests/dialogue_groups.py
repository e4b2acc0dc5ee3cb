"""Groups of dialogues with given outcomes, as a source of dialogues gives them."""

from collections.abc import Sequence

from rl_distill.trajectory import Context, Group, Message, Problem, Score, Trajectory, Verdict

PROBLEM = Problem(id="p", prompt="5 - 2 = ?", answer="3", source="test")


def answer(
    context: Context, dialogue: int, right: float | bool | None, *, control: bool = False, said: str = "", reply_tokens: int = 2
) -> Trajectory:
    """One answer of the student after `said`; None is an answer that nobody can judge."""
    status = "unverifiable" if right is None else "correct" if right else "wrong"
    asked = 3
    sampled = (False,) * asked + (True,) * reply_tokens
    return Trajectory(
        problem_id=PROBLEM.id,
        messages=(
            Message("user", "why?"),
            Message("assistant", said),
            Message("user", PROBLEM.prompt),
            Message("assistant", "3"),
        ),
        token_ids=tuple(range(1, 1 + len(sampled))),
        sampled=sampled,
        behavior_logprobs=tuple(-0.5 if own else 0.0 for own in sampled),
        model="m",
        origin="policy",
        context=context,
        dialogue=dialogue,
        control=control,
        score=Score(value=None if right is None else float(right), verdict=Verdict(status=status, method="test")),
    )


def gold(context: Context, dialogue: int, logprob: float) -> Trajectory:
    """The gold answer's tokens with what a frozen model gives each of them."""
    return Trajectory(
        problem_id=PROBLEM.id,
        messages=(Message("user", PROBLEM.prompt), Message("assistant", "3")),
        token_ids=(1, 2, 3),
        sampled=(False, True, True),
        reference_logprobs=(0.0, logprob, logprob),
        model="gold",
        origin="teacher",
        context=context,
        dialogue=dialogue,
        control=True,
    )


def lesson() -> Trajectory:
    """What a teacher replies to the probes."""
    return Trajectory(
        problem_id=PROBLEM.id,
        messages=(Message("user", "why?"), Message("assistant", "because")),
        token_ids=(4, 5, 6, 7),
        sampled=(False, True, True, True),
        model="teacher",
        origin="teacher",
        context="full",
    )


def dialogue_group(full: Sequence[float | bool | None], *others: Trajectory) -> Group:
    """Dialogues with these outcomes, and what stands beside them."""
    ends = [answer("full", place, right, said=f"reply {place}") for place, right in enumerate(full)]
    return Group(problem=PROBLEM, trajectories=(*ends, *others))
