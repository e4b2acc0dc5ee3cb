"""Direct preference optimization."""

from typing import Literal

import torch.nn.functional as F

from rl_distill.algorithms.base import Algorithm, LossOutput, Need
from rl_distill.algorithms.pairs import by_pair, contrast_samples, pair_metrics
from rl_distill.algorithms.reductions import row_sum
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample


@config
class Dpo(Algorithm):
    """DPO (arXiv:2305.18290): loss = mean over pairs of -log sigmoid( beta * [ gain(chosen) - gain(rejected) ] ),

    gain = sum over tokens of log pi - log reference. The reference is the student as the stage finds it, or `reference:`.
    """

    name: Literal["dpo"] = "dpo"
    beta: float = setting(0.1, about="strength of the KL constraint", source="arXiv:2305.18290", gt=0)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REFERENCE_LOGPROBS})

    def samples(self, group: Group) -> list[Sample]:
        return contrast_samples(group)

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        if batch.reference_logprobs is None:
            raise ValueError("reference_logprobs: the batch has none; score the samples with the reference first")
        gains = by_pair(row_sum(policy.logprobs - batch.reference_logprobs, batch.loss_mask), batch, totals)
        loss = -(F.logsigmoid(self.beta * gains.margin) * gains.share).sum()
        return LossOutput(loss, pair_metrics(policy.logprobs, batch, totals))
