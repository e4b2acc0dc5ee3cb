"""A run whose attempts vLLM samples: real vLLM on a CPU, in a Ray process, fed by a DeepSpeed learner."""

import json

import pytest
from tiny_runs import rolled_out, taught, tiny_student

from rl_distill.rollout.vllm_config import installed_vllm

pytestmark = pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh")

EVALUATION = {
    "problems": {"name": "arithmetic", "split": "heldout", "num_problems": 2, "levels": [1]},
    "sampling": {"max_tokens": 8},
}


@pytest.fixture
def student():
    """With heads of 32, the least that vLLM has."""
    made = tiny_student()
    made["model"] |= {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2}
    return made


def test_a_student_learns_from_what_vllm_samples_and_every_update_is_seen_to_arrive(student, tiny_recipe, cli):
    """Synchronous, then one step ahead: digests of all tensors at every update, and the canary's log-probs at each."""
    ahead = rolled_out("ahead", steps=3)
    ahead["source"] |= {"max_staleness": 1, "sampling": {"max_tokens": 40}}
    recipe = tiny_recipe(
        rolled_out(steps=3),
        ahead,
        student=student,
        engine={"name": "vllm", "dtype": "float32", "shard_size": 3, "enforce_eager": True, "max_sequences": 8},
        cluster={"name": "ray", "object_store_mib": 200},
        sync={"canary_every": 1},
    )
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in (recipe.run_dir / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] != "base"]
    assert len(rows) == 6
    for row in rows:
        assert row["sync/canary_error"] < 1e-3 and row["update/norm"] > 0
        assert row["policy/mismatch_kl"] < 1e-4 or row["stage"] == "ahead"
    schedule = [json.loads(line) for line in (recipe.run_dir / "schedule.jsonl").read_text().splitlines()]
    for line in schedule:
        bound = 1 if line["stage"] == "ahead" else 0
        assert all(line["step"] - bound <= version <= line["step"] for _, version in line["swaps"])


def test_an_engine_of_two_processes_runs_inside_one_worker_of_the_cluster(student, tiny_recipe, cli):
    """Left to itself vLLM would ask Ray for places of its own, and there are none."""
    recipe = tiny_recipe(
        rolled_out(steps=2),
        student=student,
        engine={"name": "vllm", "dtype": "float32", "tensor_parallel": 2, "enforce_eager": True, "max_sequences": 8},
        cluster={"name": "ray", "object_store_mib": 200},
        sync={"canary_every": 1},
    )
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in (recipe.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["sync/canary_error"] < 1e-3 for row in rows if row["stage"] == "grpo"] == [True, True]


def test_vllm_beside_a_learner_in_one_process_is_refused(tiny_recipe, cli):
    code, _, err = cli("train", tiny_recipe(taught(), engine={"name": "vllm"}, evaluation=EVALUATION).path)
    assert code == 2 and "engine.name: 'vllm' needs a process of its own; add cluster.name=ray" in err
