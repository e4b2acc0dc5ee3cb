"""The embedded micro-world: chain arithmetic on 0..19 with a procedural teacher, small enough to pretrain a student on a CPU."""

from collections.abc import Sequence
from random import Random
from typing import Any, Literal, overload

from pydantic import field_validator, model_validator

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.probes import probes_to_plain
from rl_distill.problems.arithmetic_chain import LARGEST, SIZES, Chain, drawn_chain
from rl_distill.problems.arithmetic_probes import undo_question
from rl_distill.problems.arithmetic_rows import (
    MAX_PROBES,
    ProbeFamily,
    corpus_group,
    lesson_group,
    recorded_probes,
    teacher_group,
)
from rl_distill.problems.arithmetic_teacher import REFLECTION
from rl_distill.problems.arithmetic_worlds import WORLDS, WorldName
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group, Problem, Status

Level = Literal[1, 2, 3, 4, 5]

_PATIENCE = 2000  # draws in a row without a new expression before a level counts as used up


@config
class Arithmetic:
    """Chains of 3, 4 or 5 terms (levels 1, 2, 3), or longer ones. About one expression in five is held out, whatever the seed.

    Item i is a function of (seed, split, i) alone, so a set may be as long as one likes and is read at random. A held-out
    expression is never a problem or a changed problem of the train split; its pieces may appear inside longer traces.

    What no pretrained student of these worlds has met: `levels` above 3, `operands` outside 2..9, and for one that was trained on
    results only, the reversed question.
    """

    name: Literal["arithmetic"] = "arithmetic"
    world: WorldName = setting(
        "habits",
        about="what a pretrained student has wrong; habits: it merges steps; rules: it never carries or borrows. Decides the "
        "texts of corpus and teacher, not the problems",
    )
    split: Literal["train", "heldout"] = setting(
        "train", about="which side of the train/held-out line; held-out problems are distinct"
    )
    seed: int = setting(0, about="which problems of the split")
    num_problems: int = setting(512, about="length of the set; a longer one begins with the same problems", ge=1)
    levels: tuple[Level, ...] = setting((1, 2, 3), about="problems have 2 + level terms; levels take turns")
    operands: tuple[int, ...] = setting(SIZES, about="sizes of what is added and subtracted, from 1 to 18")
    needs_carrying: bool = setting(False, about="only problems that go wrong without carrying and borrowing; false takes any")
    question: Literal["result", "undo"] = setting(
        "result", about="result: what the chain gives; undo: reversed, from chain and result to the value before the last step"
    )
    attempts: Literal["none", "teacher", "first_right", "reflective", "corpus", "singles", "dialogues"] = setting(
        "none",
        about="none: prompts only; teacher: attempts until one is right and one is wrong; first_right: the same until one is "
        "right, all that imitation has to pay for; reflective: of a teacher with the same habits who mostly looks again at a "
        "merged step (`is 6 ? no`) and redoes a wrong one; corpus: a pretraining row for each problem (a trace, a probe or a "
        "probe dialogue); singles: the teacher's first right attempt, and each probe with its reply; dialogues: that attempt, "
        "and conversations of probes that end in the problem",
    )
    probes: Literal["none", ProbeFamily] = setting(
        "none",
        about="questions that travel with each problem, with the teacher's replies; inversion: by ten rules of explanation; "
        "rephrasing: the problem in ten other wordings, the control",
        source="arXiv:2603.19266",
    )
    dialogue_probes: int | None = setting(
        None, about="attempts dialogues: probes before the problem in one conversation; none is all of them", ge=1
    )

    @field_validator("levels", "operands")
    @classmethod
    def _differ(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("name each value at most once, and at least one of them")
        return values

    @field_validator("operands")
    @classmethod
    def _operands_fit(cls, operands: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= size < LARGEST for size in operands):
            raise ValueError(f"each is a size from 1 to {LARGEST - 1}: more would leave 0..{LARGEST} from every start")
        return operands

    @model_validator(mode="after")
    def _keys_fit(self) -> "Arithmetic":
        if self.attempts == "corpus" and self.split == "heldout":
            raise ValueError("attempts 'corpus' is pretraining data and needs split 'train'")
        if self.attempts == "corpus" and self.probes != "none":
            raise ValueError("attempts 'corpus' has questions of its own: drop probes")
        if self.attempts in ("singles", "dialogues") and self.probes == "none":
            raise ValueError(f"attempts {self.attempts!r} needs probes: inversion or rephrasing")
        if self.attempts != "dialogues" and self.dialogue_probes is not None:
            raise ValueError("dialogue_probes has an effect with attempts 'dialogues' only: drop it")
        if self.question == "undo" and (self.attempts, self.probes) != ("none", "none"):
            raise ValueError("question 'undo' comes without attempts and probes: it is there to be evaluated on")
        if self.world == "rules" and self.attempts == "reflective":
            raise ValueError(
                "attempts 'reflective' looks again at merged steps, of which the rules world has none: use 'teacher'"
            )
        if self.world != "habits" and self.attempts == "none" and self.probes == "none":
            raise ValueError("world has no effect on problems alone: drop it")
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
        settings = self._settings
        chain = self._held_out[index] if self._held_out else _train_chain(settings, index)
        problem, address = self._problem(chain, index), (settings.seed, settings.split, index)
        world = WORLDS[settings.world]
        if settings.attempts == "none":
            return Group(problem=problem)
        if settings.attempts == "corpus":
            return corpus_group(problem, chain, world, Random(addressed_seed(*address, "corpus")))
        habits = world.teacher._replace(check=REFLECTION) if settings.attempts == "reflective" else world.teacher
        wanted: set[Status] = {"correct"} if settings.attempts == "first_right" else {"correct", "wrong"}
        teacher = teacher_group(problem, chain, habits, Random(addressed_seed(*address, "teacher")), wanted)
        if settings.attempts in ("teacher", "first_right", "reflective"):
            return teacher
        each = None if settings.attempts == "singles" else settings.dialogue_probes or MAX_PROBES
        return lesson_group(teacher, Random(addressed_seed(*address, "dialogues")), each)

    def _problem(self, chain: Chain, index: int) -> Problem:
        settings = self._settings
        metadata: dict[str, Any] = {"level": len(chain.operands) - 1}
        if settings.probes != "none":
            habits = WORLDS[settings.world].teacher
            found = recorded_probes(chain, settings.probes, habits, settings.seed, settings.split, index)
            metadata["probes"] = probes_to_plain(found)
        reversed_ = settings.question == "undo"
        name = "arithmetic-undo" if reversed_ else "arithmetic"
        return Problem(
            id=f"{name}-{settings.split}-{settings.seed}-{index}",
            prompt=undo_question(chain) if reversed_ else f"{chain.text} = ?",
            answer=str(chain.values[-2] if reversed_ else chain.result),
            source="arithmetic",
            metadata=metadata,
        )


def _train_chain(settings: Arithmetic, index: int) -> Chain:
    rng = Random(addressed_seed(settings.seed, "train", index))
    level = settings.levels[index % len(settings.levels)]
    for _ in range(_PATIENCE):
        chain = drawn_chain(rng, 1 + level, settings.operands)
        if not chain.is_held_out and (chain.needs_carrying or not settings.needs_carrying):
            return chain
    raise InputError("operands", f"no problem of level {level} has what the other keys ask for", "allow more sizes or levels")


def _held_out_chains(settings: Arithmetic) -> tuple[Chain, ...]:
    """Distinct held-out chains, the levels taking turns."""
    per_level = -(-settings.num_problems // len(settings.levels))
    columns = [_distinct_chains(settings, level, per_level) for level in settings.levels]
    return tuple(chain for row in zip(*columns, strict=True) for chain in row)[: settings.num_problems]


def _distinct_chains(settings: Arithmetic, level: int, count: int) -> list[Chain]:
    rng = Random(addressed_seed(settings.seed, "heldout", level))
    found: dict[Chain, None] = {}  # a set that keeps its order
    misses = 0
    while len(found) < count:
        chain = drawn_chain(rng, 1 + level, settings.operands)
        misses += 1
        if chain.is_held_out and chain not in found and (chain.needs_carrying or not settings.needs_carrying):
            found[chain] = None
            misses = 0
        if misses > _PATIENCE:
            problem = f"{count} distinct held-out problems of level {level} are needed, there are about {len(found)}"
            raise InputError("num_problems", problem, "lower it, or add a higher level to `levels`")
    return list(found)
