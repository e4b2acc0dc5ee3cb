"""What dialogues cost: G (k + 1) turns for a problem, and its branches, which share what was said before them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.algorithms.base import Algorithm
from rl_distill.planning.lengths import Lengths
from rl_distill.rollout.dialogue import DialogueConfig
from rl_distill.training.rollout_source import RolloutSourceConfig
from rl_distill.trajectory import Context, Group, Problem, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Responses that are sampled together: tokens of each, tokens before them, and how many in a row share those."""

    responses: tuple[int, ...]
    prompt: int
    group_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueWork:
    """
    waves    the turns in order, then the answers
    rows     what is trained on: (tokens, tokens with loss) of each
    longest  tokens of a whole dialogue
    """

    waves: tuple[Wave, ...]
    rows: tuple[tuple[int, int], ...]
    longest: int


def dialogue_room(source: RolloutSourceConfig, dialogue: DialogueConfig, context: int) -> int:
    """Tokens of the context that are left for each thing that is asked."""
    said = dialogue.num_probes * dialogue.reply_tokens + source.sampling.max_tokens
    return (context - said) // (dialogue.num_probes + 1)


def dialogue_work(
    source: RolloutSourceConfig,
    dialogue: DialogueConfig,
    algorithm: Algorithm,
    attempt: Callable[..., Trajectory],
    *,
    asked: int,
    replies: Lengths,
    answers: Lengths,
) -> DialogueWork:
    """
    Args:
        attempt: makes an attempt that is right or not, with all columns, for `Algorithm.samples` to choose from.
        asked: tokens of a probe, and of a problem.
    """
    number, probes = source.prompts_per_step * source.group_size, dialogue.num_probes
    reply = replies.mean
    drawn = replies.drawn(number * probes)
    turns = [
        Wave(
            responses=tuple(drawn[place * number : (place + 1) * number]),
            prompt=round((place + 1) * asked + place * reply),
            group_size=source.group_size if place == 0 else 1,
        )
        for place in range(probes)
    ]
    thoughts = turns if dialogue.branches.think_longer else []
    before = _before_answer(dialogue, asked, reply)
    ends: list[tuple[Context, int]] = [("full", 1), *dialogue.branches.items()]
    count = sum(times for _, times in ends)
    last = Wave(
        responses=tuple(answers.drawn(number * count)),
        prompt=round(sum(before[context] * times for context, times in ends) / count),
        group_size=1,
    )
    rows = [
        (round(before[context] + answers.mean), round(_own(dialogue, context) * reply + answers.mean))
        if not lesson
        else (round(probes * (asked + reply)), round(probes * reply))
        for context, lesson in _trained(algorithm, source, dialogue, attempt)
    ]
    return DialogueWork(
        waves=(*turns, *thoughts, last),
        rows=tuple(rows * source.prompts_per_step),
        longest=(probes + 1) * asked + probes * dialogue.reply_tokens + source.sampling.max_tokens,
    )


def _before_answer(dialogue: DialogueConfig, asked: int, reply: float) -> dict[str, float]:
    """Tokens before an answer in each context; blanks count as nothing."""
    probes, partial = dialogue.num_probes, dialogue.num_partial
    full = (probes + 1) * asked + probes * reply
    return {
        **{"full": full, "shuffled": full, "think_longer": full},
        "blanked": (probes + 1) * asked,
        "partial": (partial + 1) * asked + partial * reply,
        "direct": asked,
    }


def _own(dialogue: DialogueConfig, context: Context) -> int:
    """Replies of the student that are trained on before an answer."""
    return {"full": dialogue.num_probes, "partial": dialogue.num_partial}.get(context, 0)


def _trained(
    algorithm: Algorithm, source: RolloutSourceConfig, dialogue: DialogueConfig, attempt: Callable[..., Trajectory]
) -> list[tuple[Context, bool]]:
    """(context, whether it is a lesson) of each row that an algorithm takes from a group, half of which is right."""
    made = [_placed(attempt, number, "full", False) for number in range(source.group_size)]
    for number in range(source.group_size):
        for context, times in dialogue.branches.items():
            control = context not in ("partial", "direct")
            made += [_placed(attempt, number, context, control) for _ in range(times)]
    told: dict[str, Any] = {"origin": "teacher", "score": None, "behavior_logprobs": None, "policy_versions": None}
    if algorithm.imitates_lessons:
        made.append(replace(attempt(right=True), context="full", **told))
    if dialogue.gold_reply is not None:
        contexts: tuple[Context, ...] = ("full", "blanked")
        made += [
            replace(_placed(attempt, number, context, True), **told)
            for number in range(source.group_size)
            for context in contexts
        ]
    problem = Problem(id="p", prompt="", answer="1", source="plan")
    samples = algorithm.samples(Group(problem=problem, trajectories=tuple(made)))
    return [(sample.trajectory.context, sample.lesson) for sample in samples]


def _placed(attempt: Callable[..., Trajectory], number: int, context: Context, control: bool) -> Trajectory:
    return replace(attempt(right=number % 2 == 0), context=context, dialogue=number, control=control)
