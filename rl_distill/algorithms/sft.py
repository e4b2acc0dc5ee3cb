"""Supervised fine-tuning on a teacher's correct traces."""

from typing import Literal

from rl_distill.algorithms.base import Algorithm, LossOutput
from rl_distill.algorithms.reductions import REDUCTIONS, token_mean
from rl_distill.algorithms.selection import Traces, traces
from rl_distill.batch import Batch, PolicyOutput, Totals
from rl_distill.config import config, setting
from rl_distill.trajectory import Group, Sample


@config
class Sft(Algorithm):
    """Cross-entropy on what the teacher wrote: loss = -mean over all tokens of the step of log pi.

    REDI's first stage (arXiv:2505.24850, by its code; its Eq. 1 is `aggregation: sequence_sum`).
    """

    name: Literal["sft"] = "sft"
    traces: Traces = setting(
        "first_correct", about="which attempts are imitated; `all` means wrong ones too", source="arXiv:2505.24850, code"
    )
    aggregation: Literal["token_mean", "sequence_mean", "sequence_sum"] = setting(
        "token_mean", about="how token losses become the step's loss", source="arXiv:2505.24850, code"
    )

    @property
    def avoids_wrong(self) -> bool:
        return False

    def samples(self, group: Group) -> list[Sample]:
        return [Sample(trajectory=trajectory) for trajectory in traces(group, self.traces)]

    def loss(self, policy: PolicyOutput, batch: Batch, totals: Totals) -> LossOutput:
        loss = REDUCTIONS[self.aggregation](-policy.logprobs, batch.loss_mask, batch, totals)
        metrics = {"logprob/chosen": token_mean(policy.logprobs.detach(), batch.loss_mask, batch, totals)}
        return LossOutput(loss, metrics)
