"""Tiny recipes, and the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

TEACHER: dict[str, Any] = {"name": "arithmetic", "attempts": "teacher", "num_problems": 8, "levels": [1]}
CONSTANT_RATE = {"learning_rate": 1e-3, "schedule": "constant"}


def tiny_student(steps: int = 2) -> dict[str, Any]:
    """An arithmetic student of one layer, pretrained for a few steps."""
    corpus = {"name": "arithmetic", "attempts": "corpus", "num_problems": 16, "levels": [1]}
    return {
        "model": {
            "tokenizer": {"name": "arithmetic"},
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_layers": 1,
            "num_key_value_heads": 1,
            "max_context": 160,
            "pretraining": {
                "algorithm": {"name": "sft", "traces": "all"},
                "source": {"name": "dataset", "problems": corpus, "groups_per_step": 2},
                "learner": CONSTANT_RATE,
                "steps": steps,
            },
        }
    }


def taught(name: str = "sft", **changes: Any) -> dict[str, Any]:
    """A stage of an offline algorithm on the arithmetic teacher, called like the algorithm."""
    source = {"name": "dataset", "problems": TEACHER, "groups_per_step": 2}
    return {"name": name, "algorithm": {"name": name}, "source": source, "learner": CONSTANT_RATE, "steps": 2, **changes}


def rolled_out(name: str = "grpo", **changes: Any) -> dict[str, Any]:
    """A stage of GRPO, with a reward that needs no grader processes."""
    source = {
        "name": "rollout",
        "problems": {"name": "arithmetic", "num_problems": 8, "levels": [1]},
        "rewards": [{"name": "soft_overlong", "max_tokens": 12, "cache_tokens": 12}],
        "sampling": {"max_tokens": 12},
        "prompts_per_step": 2,
        "group_size": 3,
    }
    algorithm = {"name": "grpo", "kl_coef": 0}
    return {"name": name, "algorithm": algorithm, "source": source, "learner": CONSTANT_RATE, "steps": 2, **changes}


class RecipeFile(NamedTuple):
    """A recipe on disk and the folder its run goes to."""

    path: Path
    run_dir: Path

    def change(self, **changes: Any) -> "RecipeFile":
        """Write the file again with other values at its top."""
        self.path.write_text(yaml.safe_dump(yaml.safe_load(self.path.read_text()) | changes))
        return self


def write_recipe(folder: Path, *stages: dict[str, Any], **changes: Any) -> RecipeFile:
    """A recipe of a tiny student, whose run goes to a folder beside it."""
    recipe = {
        "name": "tiny",
        "run_dir": str(folder / "run"),
        "student": tiny_student(),
        "stages": list(stages or [taught()]),
        "checkpoints": {"every_steps": 1},
        "tracking": {"console": "quiet", "trajectories_every": 1},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe | changes))
    return RecipeFile(path, folder / "run")


def start_cli(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The command line in a process of its own, which is the leader of its own process group, as under a shell."""
    command = [sys.executable, "-m", "rl_distill", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, start_new_session=True, **pipes)  # type: ignore[call-overload]
