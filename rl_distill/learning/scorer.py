"""A frozen model that writes its log-probs of given attempts beside them: the reference of DPO and of KL terms."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rl_distill.batch import collate
from rl_distill.learning.micro_steps import split
from rl_distill.learning.precision import Precision, autocast
from rl_distill.models.logprobs import policy_output
from rl_distill.trajectory import Group, Sample, Trajectory


@torch.no_grad()
def sampled_logprobs(
    model: Any,
    trajectories: Sequence[Trajectory],
    *,
    pad_id: int,
    temperature: float,
    max_tokens: int,
    chunk_tokens: int,
    precision: Precision = "float32",
) -> list[tuple[float, ...]]:
    """Log-prob of every sampled token under a model, aligned with `token_ids`; 0 where nothing was sampled.

    Each micro-batch has two rows or more, since a single row takes another kernel and gives other bits.
    """
    samples = [Sample(trajectory=trajectory, unit=str(index)) for index, trajectory in enumerate(trajectories)]
    device = next(model.parameters()).device
    found: dict[str, tuple[float, ...]] = {}
    for part in split(samples, max_tokens):
        rows = part if len(part) > 1 else part * 2
        batch = collate(rows, pad_id=pad_id, sources=("",), columns=()).to(device)
        with autocast(device, precision):
            out = policy_output(
                model, batch.token_ids, batch.attention_mask, batch.loss_mask, temperature=temperature, chunk_tokens=chunk_tokens
            )
        for sample, row in zip(part, out.logprobs.double().tolist(), strict=False):
            found[sample.unit] = tuple(row[: len(sample.trajectory.token_ids)])
    return [found[str(index)] for index in range(len(trajectories))]


class Scorer:
    """Writes `reference_logprobs` into groups, computed in the learner's precision: the same weights give the same log-probs."""

    def __init__(
        self, model: Any, *, pad_id: int, temperature: float, max_tokens: int, chunk_tokens: int, precision: Precision
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.options: dict[str, Any] = {
            "pad_id": pad_id,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "chunk_tokens": chunk_tokens,
            "precision": precision,
        }

    def annotate(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """The same attempts with the reference's log-probs beside their tokens."""
        columns = sampled_logprobs(self.model, trajectories, **self.options)
        return [replace(trajectory, reference_logprobs=column) for trajectory, column in zip(trajectories, columns, strict=True)]

    def annotate_groups(self, groups: Sequence[Group]) -> list[Group]:
        """Every attempt of every group."""
        annotated = iter(self.annotate([trajectory for group in groups for trajectory in group.trajectories]))
        return [replace(group, trajectories=tuple(next(annotated) for _ in group.trajectories)) for group in groups]
