"""The bench of the driver runs: its stand-ins for workers and Ray are called as the real ones are."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "scripts" / "bench" / "driver_load.py"


def test_every_group_of_a_small_load_arrives_and_every_part_is_timed(tmp_path: Path) -> None:
    sizes = ["--groups", "64", "--step-groups", "32", "--group-size", "4", "--workers", "4"]
    done = subprocess.run(
        [sys.executable, str(BENCH), *sizes, "--json", str(tmp_path / "load.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "load.json").read_text())["run"]
    assert (run["groups"], run["attempts"]) == (64, 256)
    assert all(run["written"].values()), "the ledger and the schedule have lines"
