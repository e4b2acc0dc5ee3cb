"""How large an optimizer step really was: of each source's gradient, and of the change of the weights."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor


class GradientShares:
    """The norm of what each source adds to a gradient that accumulates in the parameters. Holds one copy of the gradient.

    Args:
        parameters: those that are trained.
        sources: all that a step may have; of a single one nothing is measured and nothing copied.
    """

    def __init__(self, parameters: Sequence[Tensor], sources: Sequence[str]) -> None:
        self.parameters, self.active = parameters, len(sources) > 1
        self.norms = dict.fromkeys(sources, 0.0)
        self._before: list[Tensor] = []

    def mark(self, source: str) -> None:
        """Everything since the mark before came from this source."""
        if not self.active:
            return
        if not self._before:
            self._before = [torch.zeros_like(parameter) for parameter in self.parameters]
        pairs = [(p.grad, old) for p, old in zip(self.parameters, self._before, strict=True) if p.grad is not None]
        self.norms[source] = _norm((new - old).norm() for new, old in pairs)
        for new, old in pairs:
            old.copy_(new)

    def metrics(self, whole: float) -> dict[str, float]:
        """Each source's share of the sum of norms, 0 for one that has no part in this step, and how far the sources agree.

        Args:
            whole: norm of the whole gradient. Agreement is the cosine between two sources' gradients (of more, its mean over
                pairs, weighted by the norms): 1 the same direction, below 0 they work against each other.
        """
        total = sum(self.norms.values())
        if not self.active or total == 0:
            return {}
        squares = sum(norm**2 for norm in self.norms.values())
        found = {f"gradient/share/{source}": norm / total for source, norm in self.norms.items()}
        if total**2 > squares:
            found["gradient/agreement"] = (whole**2 - squares) / (total**2 - squares)
        return found


class UpdateNorm:
    """How far the weights move between making this and asking. Holds a copy of them meanwhile.

    Args:
        tensors: the weights, or this process's shard of them.
        over_ranks: adds up a tensor of squares over the processes that hold the other shards.
    """

    def __init__(self, tensors: Sequence[Tensor], over_ranks: Callable[[Tensor], Tensor] | None = None) -> None:
        self.over_ranks = over_ranks
        self._before = [tensor.detach().clone() for tensor in tensors]

    def metrics(self, tensors: Sequence[Tensor]) -> dict[str, float]:
        """From the weights as they are now, in the same order."""
        pairs = list(zip(tensors, self._before, strict=True))
        norm = self._norm((now.detach() - before).norm() for now, before in pairs)
        size = self._norm(before.norm() for _, before in pairs)
        return {"update/norm": norm, "update/relative": norm / size if size else 0.0}

    def _norm(self, norms: Iterable[Tensor]) -> float:
        if self.over_ranks is None:
            return _norm(norms)
        return self.over_ranks(torch.stack(list(norms)).square().sum()).sqrt().item()


def _norm(norms: Iterable[Tensor]) -> float:
    """Of a whole, from the norms of its tensors: one at a time, so that no second copy of all is made, and read back once."""
    return torch.stack(list(norms)).norm().item()
