"""Record the run of this folder anew: python tests/recorded_run/record.py

All stages start from the same base student and take two steps, so that every algorithm's numbers are held, to 1e-4, on any
machine. What a clock or this machine says is left out.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch

from rl_distill.recipe import load_recipe
from rl_distill.training.differences import CLOCKED
from rl_distill.training.run import train

HERE = Path(__file__).parent


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch) / "run"
        train(load_recipe(HERE / "recipe.yaml", [f"run_dir={run_dir}"]))
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in row.items() if not key.startswith(CLOCKED)} for row in rows]
        (HERE / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        for name in ("ledger.jsonl", "schedule.jsonl", "data.json"):
            shutil.copy(run_dir / name, HERE / name)
    (HERE / "environment.json").write_text(json.dumps({"torch_threads": 1}) + "\n")
    (HERE / "summary.json").write_text("{}\n")


if __name__ == "__main__":
    main()
