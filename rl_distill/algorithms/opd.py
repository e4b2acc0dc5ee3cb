"""On-policy distillation: a policy gradient whose reward at every sampled token is what a teacher thinks of it."""

from typing import Literal

import torch

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.algorithms.divergences import teacher_credit
from rl_distill.algorithms.reductions import REDUCTIONS, token_mean
from rl_distill.algorithms.soft_targets import attempts
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

THINKING_MACHINES = "K. Lu, On-Policy Distillation (Thinking Machines Lab, 2025)"


@config
class Opd(Algorithm):
    """loss = -mean over tokens of r A;  A = log teacher - log sampler at the sampled token,  r = student / sampler.

    So its gradient on the first pass is that of KL(student || teacher), estimated from one sample at each position. Log-probs are
    the sampler's, the teacher's and the student's at the sampling temperature. Neither rewards nor verdicts enter.
    """

    name: Literal["opd"] = "opd"
    discount: float = setting(
        0.0, about="how much a token is credited with what follows it", source=THINKING_MACHINES, ge=0, le=1
    )
    aggregation: Literal["token_mean", "sequence_mean", "sequence_sum"] = setting(
        "token_mean", about="how token losses become the step's loss", source="the tinker cookbook adds tokens up"
    )

    @property
    def avoids_wrong(self) -> bool:
        return False

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.BEHAVIOR_LOGPROBS, Need.TEACHER_LOGPROBS})

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=trajectory) for trajectory in attempts(group)]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        if batch.behavior_logprobs is None or batch.teacher_logprobs is None:
            raise ValueError("behavior_logprobs, teacher_logprobs: the batch lacks one; an engine samples them, a teacher scores")
        mask = batch.loss_mask
        new = policy.logprobs.masked_fill(~mask, 0.0)
        behavior = batch.behavior_logprobs.masked_fill(~mask, 0.0)
        credit = teacher_credit(batch.teacher_logprobs, behavior, mask, discount=self.discount)
        log_ratio = new - behavior
        loss = REDUCTIONS[self.aggregation](-log_ratio.exp() * credit, mask, batch, totals)
        with torch.no_grad():
            ratio = log_ratio.exp()
            values = {
                "distillation/reverse_kl": behavior - batch.teacher_logprobs,
                "policy/ratio": ratio,
                "policy/mismatch_kl": ratio - log_ratio - 1,
            }
            metrics = {path: token_mean(value, mask, batch, totals) for path, value in values.items()}
        return LossOutput(loss, metrics)
