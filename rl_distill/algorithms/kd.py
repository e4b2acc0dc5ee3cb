"""Knowledge distillation: the student matches a teacher's next-token distributions on given text."""

from typing import Literal

from rl_distill.algorithms.base import LossOutput, Need
from rl_distill.algorithms.reductions import REDUCTIONS, token_mean
from rl_distill.algorithms.selection import Traces, traces
from rl_distill.algorithms.soft_targets import SoftTargets, divergence, soft_metrics
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

HINTON = "arXiv:1503.02531"


@config
class Kd(SoftTargets):
    """loss = alpha T^2 D(teacher_T, student_T) + (1 - alpha) * -log pi, on the teacher's traces or on any other text.

    T^2 keeps the soft gradient's size whatever the temperature. D is forward KL (beta 0), reverse KL (beta 1), or between them
    beta KL(teacher || M) + (1 - beta) KL(student || M) with M = beta teacher + (1 - beta) student (arXiv:2306.13649), which
    shrinks towards its ends.
    """

    name: Literal["kd"] = "kd"
    traces: Traces = setting("all", about="which attempts are learnt from; `all` means wrong ones too")
    beta: float = setting(0.0, about="0 is forward KL, 1 reverse KL, between them a mixture's JSD", source=HINTON, ge=0, le=1)
    temperature: float = setting(1.0, about="both softmaxes of the divergence are taken at it", source=HINTON, gt=0)
    alpha: float = setting(
        1.0, about="share of the soft targets; the rest is cross-entropy on the text", source=HINTON, gt=0, le=1
    )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.TEACHER_CANDIDATES})

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=trajectory) for trajectory in traces(group, self.traces)]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        reduce, mask = REDUCTIONS[self.aggregation], batch.loss_mask
        values = divergence(policy, batch, beta=self.beta, support=self.support)
        loss = self.alpha * self.temperature**2 * reduce(values, mask, batch, totals)
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * reduce(-policy.logprobs, mask, batch, totals)
        metrics = soft_metrics(values, batch, totals, self.support)
        metrics["logprob/chosen"] = token_mean(policy.logprobs.detach(), mask, batch, totals)
        return LossOutput(loss, metrics)
