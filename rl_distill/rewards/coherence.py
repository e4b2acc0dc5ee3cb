"""Pays a correct answer for a dialogue whose explanations helped to find it."""

from typing import Literal

from rl_distill.coherence import COMPARED, accounts
from rl_distill.config import config, setting
from rl_distill.rewards.base import GroupReward
from rl_distill.trajectory import Context, Group

PROPOSED = "arXiv:2603.19266 is silent"


@config
class Coherence(GroupReward):
    """Share of its bonus that a dialogue is paid, in [0, 1]: see `rl_distill.coherence`. None for what ends no dialogue.

    For any algorithm. One that divides by the group's standard deviation takes `paper_gate` and `gain` away again unless other
    contexts are in the group; `exgrpo` knows that, and has `logp` too.
    """

    name: Literal["coherence"] = "coherence"
    weight: float = setting(0.2, about="the largest bonus; 0 only records the share", source=PROPOSED, allow_inf_nan=False)
    measure_by: Literal["paper_gate", "gain", "paired"] = setting(
        "paired", about="how a dialogue's help to its answer is measured", source=PROPOSED
    )
    nu: float = setting(
        1.25, about="paper_gate: full dialogues must be right so many times as often as partial ones", source=PROPOSED, ge=1
    )
    margin: float = setting(
        0.0, about="gain: how much better than the problem alone counts for nothing", source=PROPOSED, ge=0, lt=1
    )

    def __post_init__(self) -> None:
        for key, reader, default in (("nu", "paper_gate", 1.25), ("margin", "gain", 0.0)):
            if self.measure_by != reader and getattr(self, key) != default:
                raise ValueError(f"{key} has no effect unless measure_by is {reader}: set that, or drop {key}")

    @property
    def lowest(self) -> float:
        return 0.0

    @property
    def contexts(self) -> frozenset[Context]:
        return COMPARED[self.measure_by]

    def compare(self, group: Group) -> list[float | None]:
        found = accounts(group, self.measure_by, nu=self.nu, margin=self.margin)
        paid: dict[int | None, float] = {one.dialogue: one.paid for one in found}
        return [paid.get(one.dialogue) if one.context == "full" and not one.control else None for one in group.trajectories]
