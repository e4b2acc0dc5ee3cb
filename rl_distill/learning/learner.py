"""The learner protocol: what turns samples into new weights, wherever it lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rl_distill.config import config, setting
from rl_distill.learning.precision import Precision
from rl_distill.learning.schedule import ScheduleName
from rl_distill.models.weights import WeightUpdate
from rl_distill.trajectory import Sample, Trajectory


@config
class LearnerConfig:
    """AdamW with a schedule. Matrices are decayed; biases and norms are not."""

    learning_rate: float = setting(1e-6, about="peak learning rate", source="arXiv:2505.24850, stage 2; arXiv:2402.03300", gt=0)
    schedule: ScheduleName = setting("linear", about="shape after the warm-up", source="arXiv:2505.24850")
    warmup_fraction: float = setting(
        0.1, about="share of the steps in which the rate rises", source="arXiv:2505.24850", ge=0, le=1
    )
    warmup_steps: int | None = setting(
        None, about="steps in which the rate rises, instead of a fraction", unit="optimizer steps", ge=0
    )
    floor_fraction: float = setting(0.0, about="share of the peak rate that a decaying schedule ends at", ge=0, le=1)
    beta1: float = setting(0.9, about="decay of AdamW's mean", source="arXiv:2505.24850", ge=0, lt=1)
    beta2: float = setting(0.999, about="decay of AdamW's square", source="arXiv:2505.24850", ge=0, lt=1)
    eps: float = setting(1e-8, about="AdamW's epsilon", source="arXiv:2505.24850", gt=0)
    weight_decay: float = setting(0.0, about="decoupled weight decay of matrices", ge=0)
    max_grad_norm: float | None = setting(
        1.0, about="gradients are scaled down to this norm; none turns that off", source="transformers' default", gt=0
    )
    precision: Precision = setting("float32", about="arithmetic; bfloat16 keeps float32 master weights and logits")
    micro_batch_tokens: int = setting(
        16_384, about="padded tokens of one forward pass; has no effect on the gradient", unit="tokens", ge=1
    )
    logprob_chunk_tokens: int = setting(512, about="positions whose logits exist at once", unit="tokens", ge=1)
    gradient_checkpointing: bool = setting(False, about="recompute activations in the backward pass to save memory")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", about="where it trains; auto takes a GPU if there is one")

    def __post_init__(self) -> None:
        if self.warmup_steps is not None and self.warmup_fraction != 0.1:
            raise ValueError("warmup_fraction has no effect beside warmup_steps: give one of them")
        if self.floor_fraction and self.schedule == "constant":
            raise ValueError("floor_fraction has no effect on a constant schedule: drop it, or use linear or cosine")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one optimizer step did: metrics by path."""

    metrics: Mapping[str, float]


class Learner(Protocol):
    @property
    def steps_done(self) -> int: ...

    def step(self, samples: Sequence[Sample], *, schedule_step: int | None = None) -> StepReport:
        """One optimizer step. Where its loss or gradient is not finite the weights stay as they are: `learner/skipped` is 1.

        Args:
            schedule_step: where in the learning rate's schedule it stands; None is the number of steps done.
        """
        ...

    def logprobs(self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0) -> list[tuple[float, ...]]:
        """Log-probs of sampled tokens under the current weights, aligned with `token_ids`."""
        ...

    def publish(self, version: int) -> WeightUpdate:
        """The current weights, on their way to engines."""
        ...

    def save(self, folder: Path) -> None:
        """Everything needed to go on: weights, optimizer, schedule. Any learner of the same student can load it."""
        ...

    def load(self, folder: Path) -> None:
        """
        Raises:
            RunError: what lies there is not this student's.
        """
        ...

    def export(self, folder: Path) -> None:
        """The student in Hugging Face format."""
        ...

    def close(self) -> None:
        """Give back what it holds; nothing else is called afterwards."""
        ...
