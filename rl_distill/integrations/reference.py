"""The frozen reference of DPO and its kin: a model of its own, the student as it was, or the student without its adapters."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from rl_distill.algorithms.base import Algorithm, Need
from rl_distill.errors import InputError
from rl_distill.integrations.policy_model import causal_model, frozen_copy
from rl_distill.learning.scorer import ScorerConfig, sampled_logprobs
from rl_distill.models.loading import load_model, remove_dropout
from rl_distill.trajectory import Sample

_ONE_PASS = 2**62  # tokens of a forward pass: a micro-batch is never cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Writes `reference_logprobs` beside attempts that come without.

    Args:
        model: a frozen causal language model; or the `PeftModel` in training, which answers with its adapters switched off.
    """

    model: Any
    pad_id: int
    chunk_tokens: int
    is_student: bool

    def annotated(self, samples: Sequence[Sample]) -> list[Sample]:
        """The same samples with the column; one forward pass over those that lack it."""
        bare = [index for index, sample in enumerate(samples) if sample.trajectory.reference_logprobs is None]
        if not bare:
            return list(samples)
        with self.model.disable_adapter() if self.is_student else nullcontext():
            columns = sampled_logprobs(
                causal_model(self.model),
                [samples[index].trajectory for index in bare],
                ScorerConfig(
                    pad_id=self.pad_id, temperature=1.0, max_tokens=_ONE_PASS, chunk_tokens=self.chunk_tokens, precision="float32"
                ),
            )
        found = list(samples)
        for index, column in zip(bare, columns, strict=True):
            trajectory = replace(samples[index].trajectory, reference_logprobs=column)
            found[index] = replace(samples[index], trajectory=trajectory)
        return found


def reference_model(given: Any, student: Any, algorithm: Algorithm, *, new_adapters: bool, recorded: bool) -> Any:
    """The model to compare with, or None where the algorithm compares with none or the data brings its log-probs along.

    Args:
        given: the user's choice: a folder or hub name, a model (it is frozen), or None.
        student: before its first step. Adapters that came with it belong to it, and are copied with it.
        new_adapters: whether the student's adapters are new, so that without them it is what it was.
        recorded: whether every attempt comes with reference_logprobs.

    Raises:
        InputError: the choice would have no effect, or is no reference.
    """
    needed = Need.REFERENCE_LOGPROBS in algorithm.needs
    if given is not None and (not needed or recorded):
        why = "every attempt comes with reference_logprobs" if needed else f"{algorithm.name!r} compares with none"
        raise InputError("reference", f"has no effect, since {why}", "drop it")
    if not needed or recorded:
        return None
    if given is None:
        return student if new_adapters else frozen_copy(student)
    model = load_model(given, field="reference") if isinstance(given, str) else given
    if model is student or causal_model(model) is causal_model(student):
        raise InputError("reference", "is the model in training", "drop it: the student as it is now is the default")
    if causal_model(model).config.vocab_size != causal_model(student).config.vocab_size:
        raise InputError("reference", "has another vocabulary than the model", "give a model with the same tokenizer")
    remove_dropout(model.modules())
    return causal_model(model).eval().requires_grad_(False)
