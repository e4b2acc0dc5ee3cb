"""Which way makes a small language model reason: zero-RL, distillation, REDI or probes? One student, one loop, one bill.

Importing the package loads nothing heavy: what `_HOMES` names is looked up when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_recipe": "rl_distill.recipe",
    "train": "rl_distill.training.run",
    "evaluate": "rl_distill.evaluation.benchmark_run",
    "compare": "rl_distill.evaluation.comparison",
    "gradients": "rl_distill.analysis.gradients",
    "load_run": "rl_distill.analysis.loaded_run",
    "run_sweep": "rl_distill.sweeps.sweep_run",
    "load_sweep": "rl_distill.sweeps.loaded_sweep",
    "report": "rl_distill.reporting.run_report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
