"""The table of engines."""

from typing import TYPE_CHECKING

from rl_distill.config import one_of
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.vllm_config import VllmEngineConfig

ENGINES: dict[str, type] = {"hf": HfEngineConfig, "vllm": VllmEngineConfig}
if TYPE_CHECKING:
    AnyEngine = HfEngineConfig | VllmEngineConfig
else:
    AnyEngine = one_of(ENGINES, default="hf")
