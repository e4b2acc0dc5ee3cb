"""Simple preference optimization."""

from typing import Literal

import torch.nn.functional as F

from rl_distill.algorithms.base import Algorithm, LossOutput
from rl_distill.algorithms.pairs import by_pair, contrast_samples, pair_metrics
from rl_distill.algorithms.reductions import row_mean
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

REDI_BASELINE = "arXiv:2505.24850, Table 2"


@config
class Simpo(Algorithm):
    """SimPO (arXiv:2405.14734): loss = mean over pairs of -log sigmoid( beta * [ m(chosen) - m(rejected) ] - gamma ),

    m = mean log-prob per own token. No reference.
    """

    name: Literal["simpo"] = "simpo"
    beta: float = setting(2.0, about="scale of the mean log-prob gap", source=REDI_BASELINE, gt=0)
    gamma: float = setting(1.0, about="margin the scaled gap must exceed", source=REDI_BASELINE, ge=0)

    def samples(self, group: Group) -> list[Sample]:
        return contrast_samples(group)

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        means = by_pair(row_mean(policy.logprobs, batch.loss_mask), batch, totals)
        loss = -(F.logsigmoid(self.beta * means.margin - self.gamma) * means.share).sum()
        return LossOutput(loss, pair_metrics(policy.logprobs, batch, totals))
