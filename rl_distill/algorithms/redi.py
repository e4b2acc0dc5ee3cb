"""REDI: learning from the teacher's wrong traces too."""

from typing import Literal

from rl_distill.algorithms.base import Algorithm, LossOutput
from rl_distill.algorithms.pairs import by_pair, contrast_samples, pair_metrics
from rl_distill.algorithms.reductions import row_mean
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample

PAPER = "arXiv:2505.24850"


@config
class Redi(Algorithm):
    """Reinforcement distillation (arXiv:2505.24850, Eq. 5), the second stage after SFT:

    loss = mean over pairs of [ -positive_coef * m(chosen) + negative_coef * m(rejected) ],  m = mean log-prob per own token

    Reference-free, and unbounded below for negative_coef > 0: watch `logprob/chosen`, not the loss.
    """

    name: Literal["redi"] = "redi"
    positive_coef: float = setting(1.0, about="weight of the chosen trace", source=PAPER, ge=0)
    negative_coef: float = setting(
        0.8, about="weight of the rejected trace, the paper's alpha; 0 is the control", source=PAPER, ge=0
    )
    negative_decay: float = setting(
        0.0,
        about="gamma: multiply the negative term by exp(gamma * m), which bounds it; 0 is the paper",
        source=f"{PAPER}, code only",
        ge=0,
    )

    def __post_init__(self) -> None:
        if not self.positive_coef and not self.negative_coef:
            raise ValueError("negative_coef and positive_coef are both 0, which teaches nothing: raise one of them")
        if self.negative_decay and not self.negative_coef:
            raise ValueError("negative_decay has no effect while negative_coef is 0: raise negative_coef, or drop negative_decay")

    @property
    def avoids_wrong(self) -> bool:
        return self.negative_coef > 0

    def samples(self, group: Group) -> list[Sample]:
        return contrast_samples(group)

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        means = by_pair(row_mean(policy.logprobs, batch.loss_mask), batch, totals)
        positive = -self.positive_coef * (means.chosen * means.share).sum()
        negative = self.negative_coef * (means.rejected * (self.negative_decay * means.rejected).exp() * means.share).sum()
        metrics = {"loss/positive": positive.detach(), "loss/negative": negative.detach()}
        return LossOutput(positive + negative, metrics | pair_metrics(policy.logprobs, batch, totals))
