"""Explanatory GRPO: the student explains itself in a dialogue, and is paid more where its explanations helped its answer.

    loss = mean_i -min( r_i A_i, clip(r_i) A_i ) + kl_coef * KL + lesson_coef * NLL(the teacher's replies to the same probes)

r_i is the probability ratio of a whole dialogue. Not to be confused with the replay method of the same name (arXiv:2510.02245).
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from rl_distill.algorithms.advantages import StdKind, group_center
from rl_distill.algorithms.base import LossOutput, Need
from rl_distill.algorithms.grpo import Grpo, RatioName
from rl_distill.algorithms.reductions import row_sum
from rl_distill.algorithms.selection import rewarded
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.coherence import COMPARED, Account, Measure, accounts
from rl_distill.config import config, setting
from rl_distill.trajectory import Context, Group, Sample, Trajectory

PAPER = "arXiv:2603.19266"
PROPOSED = "the paper is silent"


@config
class Exgrpo(Grpo):
    """Explanatory GRPO (arXiv:2603.19266), as far as the paper is known, with the bonus measured in one of four ways.

    The published bonus has no effect at all on a group of full dialogues alone: all correct ones get the same, and the standard
    deviation divides it away. So `paper_gate` pools full and partial dialogues, `gain` adds it after the division, `paired` and
    `logp` pay each dialogue for what it said itself.
    """

    name: Literal["exgrpo"] = "exgrpo"  # type: ignore[assignment]
    coherence: Literal["none", "paper_gate", "gain", "paired", "logp"] = setting(
        "paired", about="how a dialogue's help to its answer is measured (see rl_distill.coherence)", source=PROPOSED
    )
    delta: float = setting(0.2, about="the largest bonus of a correct answer", source=PROPOSED, gt=0)
    nu: float = setting(
        1.25, about="paper_gate: full dialogues must be right so many times as often as partial ones", source=PROPOSED, ge=1
    )
    margin: float = setting(
        0.0, about="gain: how much better than the problem alone counts for nothing", source=PROPOSED, ge=0, lt=1
    )
    lesson_coef: float = setting(0.1, about="weight of imitating the teacher's replies to the probes", source=PROPOSED, ge=0)
    allow_cold_start: bool = setting(
        False, about="start from a student that was taught nothing from data; the paper's collapses to 16 %", source=PAPER
    )
    std: StdKind = setting("population", about="divisor n-1 or n inside group_std", source=PROPOSED)
    ratio: RatioName = setting("sequence_sum", about="what is compared between new and old policy", source=PAPER)

    def __post_init__(self) -> None:
        Grpo.__post_init__(self)
        for key, measures in (("nu", ("paper_gate",)), ("margin", ("gain",)), ("delta", tuple(COMPARED))):
            default = type(self).__pydantic_fields__[key].default  # type: ignore[attr-defined]
            if self.coherence not in measures and getattr(self, key) != default:
                raise ValueError(f"{key} has no effect unless coherence is {' or '.join(measures)}: set that, or drop {key}")

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | ({Need.REFERENCE_CREDIT} if self.coherence == "logp" else set())

    @property
    def contexts(self) -> frozenset[Context]:
        return frozenset() if self._measure is None else COMPARED[self._measure]

    @property
    def needs_dialogues(self) -> bool:
        return True

    @property
    def needs_gold_replies(self) -> bool:
        return self.coherence == "logp"

    @property
    def imitates_lessons(self) -> bool:
        return self.lesson_coef > 0

    @property
    def needs_warm_start(self) -> bool:
        return not self.allow_cold_start

    def samples(self, group: Group) -> list[Sample]:
        lessons = [one for one in group.trajectories if one.origin == "teacher" and not one.control]
        imitated = [Sample(trajectory=one, lesson=True) for one in lessons if self.imitates_lessons]
        return [*self._explained(group), *imitated]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        out = super().loss(policy, batch, totals)
        if not self.imitates_lessons:
            return out
        nll = (row_sum(-policy.logprobs, batch.lesson_mask) / totals.lesson_tokens[batch.sources]).sum()
        loss = out.loss + self.lesson_coef * nll
        metrics = out.metrics | {"loss/lesson": self.lesson_coef * nll.detach(), "logprob/lesson": -nll.detach()}
        return LossOutput(loss, metrics, credited=out.credited)

    def group_metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        measure = self._measure
        found = [] if measure is None else [one for group in groups for one in self._accounts(group, measure)]
        measured = [one.own - one.control for one in found if one.own is not None and one.control is not None]
        correct = [one for one in found if one.correct]
        return {
            **({"coherence/gain": fmean(measured)} if measured else {}),
            **({"coherence/paid_fraction": fmean(one.paid > 0 for one in correct)} if correct else {}),
            **({"coherence/bonus": self.delta * fmean(one.paid for one in correct)} if correct else {}),
        }

    @property
    def _measure(self) -> Measure | None:
        return None if self.coherence == "none" else self.coherence

    def _accounts(self, group: Group, measure: Measure) -> list[Account]:
        return accounts(group, measure, nu=self.nu, margin=self.margin)

    def _explained(self, group: Group) -> list[Sample]:
        """What the student did, each attempt against those that it is compared with."""
        full, others = (self._rewarded(group, context) for context in ("full", _BASELINE.get(self.coherence, "")))
        found = [] if self._measure is None else self._accounts(group, self._measure)
        paid: dict[int | None, float] = {one.dialogue: one.paid for one in found}
        bonuses = [self.delta * paid.get(one.dialogue, 0.0) for one, _ in full]
        if self.coherence == "gain":
            centred = group_center(bonuses) if bonuses else []
            return self._credited(*_columns(full), added=centred) + self._credited(*_columns(others))
        raised = [(one, reward + bonus) for (one, reward), bonus in zip(full, bonuses, strict=True)]
        return self._credited(*_columns([*raised, *others]))

    def _rewarded(self, group: Group, context: str) -> list[tuple[Trajectory, float]]:
        return [(one, self._reward(one)) for one in rewarded(group) if one.context == context]


# Contexts that are trained on beside full dialogues: `paper_gate` pools them, `gain` makes each its own baseline.
_BASELINE = {"paper_gate": "partial", "gain": "direct"}


def _columns(pairs: Sequence[tuple[Trajectory, float]]) -> tuple[list[Trajectory], list[float]]:
    return [one for one, _ in pairs], [reward for _, reward in pairs]
