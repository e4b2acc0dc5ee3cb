"""Generalized knowledge distillation: the student matches a teacher's next-token distributions on what it samples itself."""

from typing import Literal

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.algorithms.reductions import REDUCTIONS
from rl_distill.algorithms.soft_targets import Support, attempts, check_support, divergence, soft_metrics
from rl_distill.batch import Batch, Candidates, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

GKD_PAPER = "arXiv:2306.13649"


@config
class Gkd(Algorithm):
    """GKD (arXiv:2306.13649): loss = mean over sampled tokens of D(teacher, student); no gradient through the sampling.

    D is that of `kd`, without T^2 as in TRL. The paper's share lambda of student data is a mixture of sources: with `kd`
    on a teacher's text in `beside:`, at weight (1 - lambda) / lambda, every step holds both.
    """

    name: Literal["gkd"] = "gkd"
    beta: float = setting(0.5, about="0 is forward KL, 1 reverse KL, between them a mixture's JSD", source="TRL", ge=0, le=1)
    temperature: float = setting(0.9, about="both softmaxes of the divergence are taken at it", source="TRL", gt=0)
    support: Support = setting(
        "top_k",
        about="compared at the teacher's most likely tokens and one bucket for the rest, or at tokens drawn from it (beta 0)",
        source="arXiv:2503.16870 for `drawn`",
    )
    num_candidates: int = setting(64, about="tokens compared at each position", unit="tokens", ge=1)
    aggregation: Literal["token_mean", "sequence_mean", "sequence_sum"] = setting(
        "token_mean", about="how token losses become the step's loss", source="TRL"
    )

    def __post_init__(self) -> None:
        check_support(self.support, self.beta)

    @property
    def avoids_wrong(self) -> bool:
        return False

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.ROLLOUTS, Need.TEACHER_CANDIDATES})

    @property
    def candidates(self) -> Candidates:
        return Candidates(count=self.num_candidates, temperature=self.temperature, drawn=self.support == "drawn")

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=trajectory) for trajectory in attempts(group)]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        values = divergence(policy, batch, beta=self.beta, support=self.support)
        loss = REDUCTIONS[self.aggregation](values, batch.loss_mask, batch, totals)
        return LossOutput(loss, soft_metrics(values, batch, totals, self.support))
