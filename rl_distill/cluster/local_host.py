"""Everything in this process."""

from collections.abc import Sequence
from typing import Any

import torch

from rl_distill.cluster.host import LearnerSpec, MakeModel
from rl_distill.cluster.machine import Machine, this_machine
from rl_distill.errors import InputError
from rl_distill.learning.learner import Learner
from rl_distill.learning.local_learner import LocalLearner, torch_device
from rl_distill.learning.scorer import ModelScorer, Scorer, ScorerConfig
from rl_distill.models.loading import load_model
from rl_distill.rollout.engine import Engine
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig


class LocalHost:
    """See `cluster.host.Host`."""

    def __init__(self) -> None:
        self.machines: Sequence[Machine] = [this_machine()]
        self._device = torch.device("cpu")  # of the newest learner: a scorer computes where it does

    def learner(self, spec: LearnerSpec) -> Learner:
        main, *beside = spec.terms
        self._device = torch_device(spec.config.device)
        return LocalLearner(
            spec.make_model(),
            spec.tokenizer,
            main.algorithm,
            spec.config,
            temperature=main.temperature,
            beside=beside,
            total_steps=spec.total_steps,
            publish_dtype=spec.publish_dtype,
            publish_merged=spec.publish_merged,
        )

    def engine(self, student: str, tokenizer: Any, config: Any, *, name: str) -> Engine:
        if not isinstance(config, HfEngineConfig):
            raise InputError(
                "engine.name", f"{config.name!r} needs a process of its own", "add cluster.name=ray, or use engine.name=hf"
            )
        return HfEngine(load_model(student), tokenizer, config, name=name)

    def scorer(self, make_model: MakeModel, config: ScorerConfig) -> Scorer:
        return ModelScorer(make_model().to(self._device), config)

    def close(self, *, failed: bool = False) -> None:
        """Nothing to do."""
