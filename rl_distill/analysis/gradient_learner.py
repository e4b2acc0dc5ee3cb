"""A learner that takes a step's gradient apart by what each token's credit is, and changes no weight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rl_distill.batch import Batch, Candidates, PolicyOutput
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.step_plan import parted, plan_step, split
from rl_distill.trajectory import Sample

Slopes = tuple[
    Tensor, ...
]  # d loss / d log-prob: [B, T] of the tokens, and where a teacher is compared [B, T, K] of its candidates
Selection = Callable[[Slopes, Sequence[Sample]], Slopes]  # which part of the slopes, as a mask for each, counts


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenApart:
    """
    loss     of the step
    whole    [P] its gradient: what the optimizer would get, before clipping
    parts    [P] each, by name: what the part of the slopes alone leads to
    credits  of each sample: -d loss / d log-prob of each of its tokens, 0 where the loss does not look
    """

    loss: float
    whole: Tensor
    parts: Mapping[str, Tensor]
    credits: Sequence[tuple[float, ...]]


class GradientLearner(LocalLearner):
    """Passes forward and backward as its base does; beside the gradient it keeps those of parts of it.

    The loss sees the model through log-probs alone, so a part of their slopes, pulled back through the model, is the part of the
    gradient that comes from there, whatever the algorithm: parts that divide the slopes between them add up to the gradient.
    """

    def take_apart(self, samples: Sequence[Sample], selections: Mapping[str, Selection]) -> TakenApart:
        """The gradient of one step on these samples."""
        (shares,) = plan_step(samples, self.terms, num_processes=1, max_tokens=self.config.micro_batch_tokens)
        self._selections = selections
        self._parts = {name: [torch.zeros_like(one) for one in self.trained] for name in selections}
        self._credits = {id(sample): (0.0,) * len(sample.trajectory.token_ids) for sample in samples}  # of those that stay still
        moving = (parted(share.term.algorithm, share.samples)[0] for share in shares)
        self._waiting = (part for of_term in moving for part in [*split(of_term, self.config.micro_batch_tokens)] or [[]])
        self.optimizer.zero_grad(set_to_none=True)
        sums, _ = self.accumulate(shares)
        whole = _flat([torch.zeros_like(one) if one.grad is None else one.grad for one in self.trained])
        self.optimizer.zero_grad(set_to_none=True)
        return TakenApart(
            loss=sum(one["loss"] for one in sums.values()),
            whole=whole,
            parts={name: _flat(tensors) for name, tensors in self._parts.items()},
            credits=[self._credits[id(sample)] for sample in samples],
        )

    def _forward(self, batch: Batch, temperature: float, candidates: Candidates | None = None) -> PolicyOutput:
        self._seen = (batch, super()._forward(batch, temperature, candidates))
        return self._seen[1]

    def _backward(self, loss: Tensor) -> None:
        batch, policy = self._seen
        part = next(self._waiting)
        if not part:  # nothing of the term moves: the one pass of it has no weight
            return super()._backward(loss)
        read = (policy.logprobs,) if policy.candidate_logprobs is None else (policy.logprobs, policy.candidate_logprobs)
        slopes = torch.autograd.grad(loss, read, retain_graph=True, materialize_grads=True)
        wanted = batch.loss_mask | batch.lesson_mask
        slopes = (slopes[0].masked_fill(~wanted, 0.0), *(one.masked_fill(~wanted[..., None], 0.0) for one in slopes[1:]))
        for name, select in self._selections.items():
            chosen = select(slopes, part)
            if any(bool(one.any()) for one in chosen):
                pulled = torch.autograd.grad(read, self.trained, chosen, retain_graph=True, allow_unused=True)
                for kept, one in zip(self._parts[name], pulled, strict=True):
                    if one is not None:
                        kept.add_(one)
        for sample, row in zip(part, (-_by_token(slopes, batch)).tolist(), strict=True):
            self._credits[id(sample)] = tuple(row[: len(sample.trajectory.token_ids)])
        super()._backward(loss)


def _by_token(slopes: Slopes, batch: Batch) -> Tensor:
    """[B, T] of the tokens themselves: their own slope, and the one that they have as a candidate."""
    own = slopes[0]
    if len(slopes) == 1 or batch.candidate_ids is None:
        return own
    count = batch.candidate_ids.shape[-1]
    return own + (slopes[1][..., :count] * (batch.candidate_ids == batch.token_ids[..., None])).sum(dim=-1)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([one.detach().flatten().cpu().double() for one in tensors])
