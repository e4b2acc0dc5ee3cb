"""The embedded micro-world: chain arithmetic on 0..19 with a procedural teacher, small enough to pretrain a student on a CPU."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Literal, overload

from pydantic import field_validator, model_validator

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.arithmetic_chain import Chain, drawn_chain
from rl_distill.problems.arithmetic_probes import PROBES, Probe, drawn_probe
from rl_distill.problems.arithmetic_teacher import CORPUS_HABITS, TEACHER_HABITS, Attempt, attempt
from rl_distill.problems.base import dialogue, status_of, teacher_trajectory
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Message, Problem, Trajectory, Verdict

Level = Literal[1, 2, 3]

MAX_TEACHER_ATTEMPTS = 64
PROBLEM_SHARE, PROBE_SHARE = 0.65, 0.20  # of the corpus; the rest are dialogues
_PATIENCE = 2000  # draws in a row without a new expression before a level counts as used up


@config
class Arithmetic:
    """Chains of 3, 4 or 5 terms (levels 1, 2, 3). About one expression in five is held out, whatever the seed.

    Item i is a function of (seed, split, i) alone, so a set may be as long as one likes and is read at random. A held-out
    expression is never a problem or a changed problem of the train split; its pieces may appear inside longer traces.
    """

    name: Literal["arithmetic"] = "arithmetic"
    split: Literal["train", "heldout"] = setting(
        "train", about="which side of the train/held-out line; held-out problems are distinct"
    )
    seed: int = setting(0, about="which problems of the split")
    num_problems: int = setting(512, about="length of the set; a longer one begins with the same problems", ge=1)
    levels: tuple[Level, ...] = setting((1, 2, 3), about="problems have 2 + level terms; levels take turns")
    attempts: Literal["none", "teacher", "corpus"] = setting(
        "none",
        about="none: prompts only; teacher: attempts until one is right and one is wrong; corpus: a pretraining row for each "
        "problem (a trace, a probe or a probe dialogue)",
    )

    @field_validator("levels")
    @classmethod
    def _levels_differ(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if not levels or len(set(levels)) < len(levels):
            raise ValueError("name each of the levels 1, 2 and 3 at most once, and at least one of them")
        return levels

    @model_validator(mode="after")
    def _corpus_is_for_training(self) -> "Arithmetic":
        if self.attempts == "corpus" and self.split == "heldout":
            raise ValueError("attempts 'corpus' is pretraining data and needs split 'train'")
        return self

    def groups(self) -> Sequence[Group]:
        return ArithmeticGroups(self)


class ArithmeticGroups(Sequence[Group]):
    """The groups of an `Arithmetic`, made when they are read."""

    def __init__(self, settings: Arithmetic) -> None:
        """
        Raises:
            InputError: there are not so many distinct held-out problems.
        """
        self._settings = settings
        self._held_out = _held_out_chains(settings) if settings.split == "heldout" else ()

    def __len__(self) -> int:
        return self._settings.num_problems

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | list[Group]:
        if isinstance(index, slice):
            return [self._group(position) for position in range(len(self))[index]]
        return self._group(range(len(self))[index])

    def _group(self, index: int) -> Group:
        chain = self._held_out[index] if self._held_out else _train_chain(self._settings, index)
        problem = Problem(
            id=f"arithmetic-{self._settings.split}-{self._settings.seed}-{index}",
            prompt=f"{chain.text} = ?",
            answer=str(chain.result),
            source="arithmetic",
            metadata={"level": len(chain.operands) - 1},
        )
        if self._settings.attempts == "none":
            return Group(problem=problem)
        rng = Random(addressed_seed(self._settings.seed, self._settings.split, index, self._settings.attempts))
        return _teacher_group(problem, chain, rng) if self._settings.attempts == "teacher" else _corpus_group(problem, chain, rng)


def _train_chain(settings: Arithmetic, index: int) -> Chain:
    rng = Random(addressed_seed(settings.seed, "train", index))
    num_operations = 1 + settings.levels[index % len(settings.levels)]
    while (chain := drawn_chain(rng, num_operations)).is_held_out:
        pass
    return chain


def _held_out_chains(settings: Arithmetic) -> tuple[Chain, ...]:
    """Distinct held-out chains, the levels taking turns."""
    per_level = -(-settings.num_problems // len(settings.levels))
    columns = [_distinct_chains(settings.seed, level, per_level) for level in settings.levels]
    return tuple(chain for row in zip(*columns, strict=True) for chain in row)[: settings.num_problems]


def _distinct_chains(seed: int, level: int, count: int) -> list[Chain]:
    rng = Random(addressed_seed(seed, "heldout", level))
    found: dict[Chain, None] = {}  # a set that keeps its order
    misses = 0
    while len(found) < count:
        chain = drawn_chain(rng, 1 + level)
        misses += 1
        if chain.is_held_out and chain not in found:
            found[chain] = None
            misses = 0
        if misses > _PATIENCE:
            problem = f"{count} distinct held-out problems of level {level} are needed, there are about {len(found)}"
            raise InputError("num_problems", problem, "lower it, or add a higher level to `levels`")
    return list(found)


def _teacher_group(problem: Problem, chain: Chain, rng: Random) -> Group:
    """Rejection sampling: attempts in the order drawn, until one is right and one is wrong."""
    trajectories: list[Trajectory] = []
    while len({found.status for found in trajectories}) < 2 and len(trajectories) < MAX_TEACHER_ATTEMPTS:
        reply = attempt(chain, TEACHER_HABITS, rng)
        trajectories.append(_trajectory(problem, (), reply, model="arithmetic-teacher"))
    return Group(problem=problem, trajectories=tuple(trajectories))


def _corpus_group(problem: Problem, chain: Chain, rng: Random) -> Group:
    """A pretraining row: a trace, or one probe, or one or two probes of different kinds and then the problem."""
    form = rng.random()
    if PROBLEM_SHARE <= form < PROBLEM_SHARE + PROBE_SHARE:
        probe = drawn_probe(chain, CORPUS_HABITS, rng)
        metadata = {**problem.metadata, "probe": probe.kind}
        problem = replace(problem, prompt=probe.question, answer=probe.answer, metadata=metadata)
        return Group(problem=problem, trajectories=(_trajectory(problem, (), probe.reply, model="arithmetic-corpus"),))
    probes: list[Probe] = []
    if form >= PROBLEM_SHARE + PROBE_SHARE:
        for _ in range(rng.randint(1, 2)):
            unused = [kind for kind in PROBES if kind not in {probe.kind for probe in probes}]
            probes.append(drawn_probe(chain, CORPUS_HABITS, rng, unused))
    reply = attempt(chain, CORPUS_HABITS, rng)
    return Group(problem=problem, trajectories=(_trajectory(problem, probes, reply, model="arithmetic-corpus"),))


def _trajectory(problem: Problem, probes: Sequence[Probe], reply: Attempt, *, model: str) -> Trajectory:
    """The conversation with the kind of the last reply in the verdict's detail; a reply that breaks off ends for its length."""
    before: list[Message] = [turn for probe in probes for turn in dialogue(probe.question, probe.reply.text)]
    return teacher_trajectory(
        problem,
        (*before, *dialogue(problem.prompt, reply.text)),
        model=model,
        verdict=Verdict(status=status_of(reply.answer == problem.answer), method="procedural", detail=reply.kind),
        finish_reason="stop" if reply.answer is not None else "length",
        context="full" if probes else "direct",
    )
