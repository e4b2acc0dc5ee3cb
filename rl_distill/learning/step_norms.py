"""How large an optimizer step really was: of each source's gradient, and of the change of the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


class GradientShares:
    """The norm of what each source adds to a gradient that accumulates in the parameters.

    Args:
        parameters: those that are trained.
        active: False measures nothing and copies nothing, for steps with a single source.
    """

    def __init__(self, parameters: Sequence[Tensor], *, active: bool) -> None:
        self.parameters, self.active = parameters, active
        self.norms: dict[str, float] = {}
        self._before: list[Tensor] = []

    def mark(self, source: str) -> None:
        """Everything since the mark before came from this source."""
        if not self.active:
            return
        now = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in self.parameters]
        added = [new - old for new, old in zip(now, self._before, strict=True)] if self._before else now
        self.norms[source] = get_total_norm(added).item()
        self._before = now

    def metrics(self, whole: float) -> dict[str, float]:
        """Each source's share of the sum of norms, and how far the sources agree.

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
    """How far the weights move between making this and asking. Holds a copy of them meanwhile."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self._before = [parameter.detach().clone() for parameter in parameters]

    def metrics(self) -> dict[str, float]:
        changes = [now.detach() - before for now, before in zip(self.parameters, self._before, strict=True)]
        norm, size = get_total_norm(changes).item(), get_total_norm(self._before).item()
        return {"update/norm": norm, "update/relative": norm / size if size else 0.0}
