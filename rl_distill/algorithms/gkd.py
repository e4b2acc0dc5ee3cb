"""Generalized knowledge distillation: the student matches a teacher's next-token distributions on what it samples itself."""

from typing import Literal

from rl_distill.algorithms.base import LossOutput, Need
from rl_distill.algorithms.reductions import REDUCTIONS
from rl_distill.algorithms.soft_targets import SoftTargets, attempts, divergence, soft_metrics
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

GKD_PAPER = "arXiv:2306.13649"


@config
class Gkd(SoftTargets):
    """GKD (arXiv:2306.13649): loss = mean over sampled tokens of D(teacher, student); no gradient through the sampling.

    D is that of `kd`, without T^2 as in TRL. The paper's share lambda of student data is a mixture of sources: with `kd`
    on a teacher's text in `beside:`, at weight (1 - lambda) / lambda, every step holds both.
    """

    name: Literal["gkd"] = "gkd"
    beta: float = setting(0.5, about="0 is forward KL, 1 reverse KL, between them a mixture's JSD", source="TRL", ge=0, le=1)
    temperature: float = setting(0.9, about="both softmaxes of the divergence are taken at it", source="TRL", gt=0)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.ROLLOUTS, Need.TEACHER_CANDIDATES})

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=trajectory) for trajectory in attempts(group)]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        values = divergence(policy, batch, beta=self.beta, support=self.support)
        loss = REDUCTIONS[self.aggregation](values, batch.loss_mask, batch, totals)
        return LossOutput(loss, soft_metrics(values, batch, totals, self.support))
