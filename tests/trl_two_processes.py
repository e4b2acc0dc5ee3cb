"""Trains with the same groups in a step on one process or two, and writes weights and log; started by test_trl_trainer."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from trl_door import Whitened, pair_rows, table, trainer, weights

from rl_distill.algorithms import Dpo, Redi


def main(folder: Path) -> None:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rows = table(pair_rows())
    args: dict[str, Any] = {"per_device_train_batch_size": 2 // processes, "gradient_accumulation_steps": 2}
    if processes > 1:
        args["ddp_backend"] = "gloo"
    for algorithm in (Redi(), Dpo(), Whitened()):
        door = trainer(folder, algorithm, rows, args=args, eval_dataset=table(pair_rows(5)))
        door.train()
        door.evaluate()
        if door.is_world_process_zero():
            folder.mkdir(exist_ok=True)
            save_file(weights(door.model), folder / f"{algorithm.name}.safetensors")
            lines = [line for line in door.state.log_history if "loss" in line or "eval_loss" in line]
            kept = [
                {path: value for path, value in line.items() if "runtime" not in path and "second" not in path} for line in lines
            ]
            (folder / f"{algorithm.name}.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
