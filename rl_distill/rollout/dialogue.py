"""Dialogues before a problem: which probes are asked, how far replies go, and in which other contexts the problem is put."""

from random import Random

from rl_distill.config import config, setting
from rl_distill.probes import Probe, probes_of
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Context, Problem

PAPER = "arXiv:2603.19266"
NUM_PARTIAL = 2
THINK_LONGER = "Think about this problem, but do not answer it yet: {question}"


@config
class Branches:
    """Further answers to the problem for each dialogue, by what precedes it; all but partial and direct are never trained on."""

    partial: int = setting(0, about="after the dialogue's own first num_partial probes and replies", source=PAPER, ge=0)
    direct: int = setting(0, about="after nothing: the problem alone, as in use", ge=0)
    full: int = setting(0, about="after the whole dialogue, beside the answer that is trained on", ge=0)
    blanked: int = setting(0, about="after the same probes with blank_reply for every reply", ge=0)
    shuffled: int = setting(0, about="after the same probes with the replies from another problem's dialogue", ge=0)
    think_longer: int = setting(
        0, about="after as many turns that ask for thought, with replies at most as long as those to the probes", ge=0
    )

    def items(self) -> list[tuple[Context, int]]:
        """In the order in which they stand in a group."""
        return [
            ("partial", self.partial),
            ("direct", self.direct),
            ("full", self.full),
            ("blanked", self.blanked),
            ("shuffled", self.shuffled),
            ("think_longer", self.think_longer),
        ]

    @property
    def contexts(self) -> frozenset[Context]:
        """Those that there are answers in."""
        return frozenset(context for context, count in self.items() if count)

    @property
    def total(self) -> int:
        """Answers for each dialogue."""
        return sum(count for _, count in self.items())


@config
class DialogueConfig:
    """Probes that the student replies to, one a turn, before the problem is put."""

    num_probes: int = setting(
        5, about="drawn anew at each visit of a problem; problems with fewer are left out", source=PAPER, ge=1
    )
    num_partial: int = setting(NUM_PARTIAL, about="of them, in context partial", ge=1)
    reply_tokens: int = setting(256, about="longest reply to a probe", unit="tokens", ge=1)
    branches: Branches = setting(Branches(), about="further answers to the problem for each dialogue")
    blank_reply: str = setting("", about="stands where a reply is removed (context blanked)")
    think_longer: str = setting(THINK_LONGER, about="asked in every turn of context think_longer; {question} is the problem")
    gold_reply: str | None = setting(
        None, about="how the gold answer is said, {answer} being it, for algorithms that ask how likely a dialogue makes it"
    )

    def __post_init__(self) -> None:
        branches = self.branches
        if branches.partial and self.num_partial >= self.num_probes:
            raise ValueError(
                f"num_partial {self.num_partial} is not below num_probes {self.num_probes}, so context partial would be no part: "
                "lower it, or set branches.partial to 0"
            )
        if self.num_partial != NUM_PARTIAL and not branches.partial:
            raise ValueError("num_partial has no effect while branches.partial is 0: raise that, or drop num_partial")
        if self.blank_reply and not branches.blanked and self.gold_reply is None:
            raise ValueError("blank_reply has no effect while branches.blanked is 0: raise that, or drop blank_reply")
        if self.think_longer != THINK_LONGER and not branches.think_longer:
            raise ValueError("think_longer has no effect while branches.think_longer is 0: raise that, or drop think_longer")
        if self.gold_reply is not None and "{answer}" not in self.gold_reply:
            raise ValueError("gold_reply does not say the answer: write {answer} where it belongs")

    def texts(self) -> list[tuple[str, str]]:
        """The settings that are said to a student or in its name, as far as they are used, without what stands in them."""
        blanks = self.branches.blanked or self.gold_reply is not None
        return [
            *([("blank_reply", self.blank_reply)] if blanks else []),
            *([("think_longer", self.think_longer.replace("{question}", " "))] if self.branches.think_longer else []),
            *([("gold_reply", self.gold_reply.replace("{answer}", " "))] if self.gold_reply is not None else []),
        ]

    @property
    def turns_per_dialogue(self) -> int:
        """Replies and answers that are sampled for each dialogue, its branches included."""
        thoughts = self.num_probes if self.branches.think_longer else 0
        return self.num_probes + 1 + self.branches.total + thoughts


def drawn_probes(problem: Problem, count: int, *address: int | str) -> tuple[Probe, ...]:
    """So many of a problem's probes, each at most once, in random order: a function of the address and the problem."""
    return tuple(Random(addressed_seed(*address, problem.id, "probes")).sample(probes_of(problem), count))
