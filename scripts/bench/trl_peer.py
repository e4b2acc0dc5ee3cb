"""What TRL's trainers are given in these benches: the same settings, and an end after each optimizer step."""

from pathlib import Path
from typing import Any

MORE_STEPS_THAN_ARE_TAKEN = 10**6


def trl_settings(output: Path, *, micro: int, rows: int, rate: float, device: str = "cpu") -> dict[str, Any]:
    """Keywords of a trainer's config: `rows` of an optimizer step, `micro` of them in a pass; nothing is saved or logged."""
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // micro,
        "learning_rate": rate,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "max_steps": MORE_STEPS_THAN_ARE_TAKEN,
        "use_cpu": device == "cpu",
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def one_step() -> Any:
    """A callback: the trainer stops after each optimizer step, and goes on from where it stands when it is called again."""
    from transformers import TrainerCallback

    class OneStep(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = True

    return OneStep()
