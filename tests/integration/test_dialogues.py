"""Whole runs behind dialogues: resumed, replayed, dropped, refused."""

import json
import shutil

import pytest
from probed_problems import DIALOGUE, held_dialogues, probed, write_groups
from refusals import last_line, refused

from rl_distill.tracking.metric_names import explain


@pytest.fixture
def problems(tmp_path):
    return write_groups(tmp_path / "probed.jsonl", probed())


def lines(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["stage"] == "grpo"]


def outcome(run_dir):
    metrics = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in lines(run_dir / "metrics.jsonl")]
    files = ("ledger.jsonl", "trajectories/rollouts.jsonl", "final/model.safetensors")
    return metrics, *((run_dir / name).read_bytes() for name in files)


def test_a_run_that_goes_on_after_a_step_ends_as_an_undisturbed_one(problems, tiny_recipe, cli):
    recipe = tiny_recipe(held_dialogues(problems, steps=3))
    assert cli("train", recipe.path)[0] == 0
    undisturbed = outcome(recipe.run_dir)
    shutil.rmtree(recipe.run_dir / "stages" / "grpo")
    for step in (2, 3):
        shutil.rmtree(recipe.run_dir / "checkpoints" / "grpo" / f"step-{step:08}", ignore_errors=True)
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and outcome(recipe.run_dir) == undisturbed


def test_a_run_is_replayed_to_the_bit_and_every_wave_has_a_round_of_its_own(problems, tiny_recipe, cli, tmp_path):
    recipe = tiny_recipe(held_dialogues(problems), engine={"shard_size": 3})
    assert cli("train", recipe.path)[0] == 0
    schedule = lines(recipe.run_dir / "schedule.jsonl")
    waves = {(line["step"], line["round"]) for line in schedule}
    assert waves == {(step, place) for step in range(2) for place in range(2 * DIALOGUE["num_probes"] + 1)}
    code, out, err = cli("replay", recipe.run_dir, "-o", tmp_path / "again")
    assert (code, err) == (0, "") and "every number is the same, to the bit" in out


def test_records_tell_dialogues_contexts_and_controls_and_every_metric_is_explained(problems, tiny_recipe, cli):
    stage = held_dialogues(problems, steps=1)
    stage["source"]["rewards"] = [{"name": "accuracy"}]
    recipe = tiny_recipe(stage)
    assert cli("train", recipe.path)[0] == 0
    (row,) = lines(recipe.run_dir / "metrics.jsonl")
    assert all(explain(path) for path in row if "/" in path)
    contexts = {"full", "partial", "direct", "blanked", "shuffled", "think_longer"}
    assert {path.rpartition("/")[2] for path in row if path.startswith("rollout/correct_fraction/")} == contexts
    ledger, recorded = lines(recipe.run_dir / "ledger.jsonl"), lines(recipe.run_dir / "trajectories" / "rollouts.jsonl")
    for line, group in zip(ledger, recorded, strict=True):
        told = [(attempt["context"], attempt["dialogue"], attempt["control"]) for attempt in line["attempts"]]
        assert told == [(t["context"], t["dialogue"], t["control"]) for t in group["trajectories"]]
        assert {context for context, *_ in told} == contexts
    whole = [t for group in recorded for t in group["trajectories"]]
    judged = [t["score"]["verdict"]["status"] == "correct" for t in whole if not t["control"]]
    assert row["rollout/correct_fraction"] == sum(judged) / len(judged)
    assert row["run/generated_tokens"] == row["rollout/generated_tokens"] < sum(sum(t["sampled"]) for t in whole)


def test_dropped_dialogues_raise_an_alarm_and_the_run_goes_on(problems, tiny_recipe, cli):
    dialogue = {"num_probes": 5, "reply_tokens": 20}
    stage = held_dialogues(problems, dialogue=dialogue)
    recipe = tiny_recipe(stage, tracking={"console": "plain"})
    code, out, _ = cli("train", recipe.path)
    rows = lines(recipe.run_dir / "metrics.jsonl")
    assert code == 0 and "dropped_dialogues" in out and "of the dialogues outgrew the student's context" in out
    assert all(row["dialogue/dropped"] > 2 for row in rows)


def test_problems_that_are_left_out_are_told_in_one_line(tmp_path, tiny_recipe, cli):
    path = write_groups(tmp_path / "mixed.jsonl", [*probed(6)[:4], *probed(6, num_probes=1)[4:]])
    code, out, _ = cli("train", tiny_recipe(held_dialogues(path, steps=1)).path)
    assert code == 0 and out.count("2 problems are left out, for they have fewer than 3 probes") == 1


BAD = {
    "no probe": (probed(4, num_probes=0), {}, "no problem has a probe that may be asked"),
    "too few": (probed(4, num_probes=1), {}, "no problem has the 3 probes that dialogue.num_probes asks for; the most are 1"),
    "too long": (
        probed(4),
        {"source": {"sampling": {"max_tokens": 150}}},
        "the shortest dialogue about any problem takes 201",
    ),
    "stale": (probed(4), {"source": {"max_staleness": 1}}, "max_staleness: 1 cannot run dialogues ahead"),
    "lonely": (probed(4), {"source": {"prompts_per_step": 1}}, "takes replies from another problem"),
    "dead key": (
        probed(4),
        {"dialogue": {**DIALOGUE, "gold_reply": "{answer}"}},
        "has no effect, for algorithm 'grpo'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_in_one_line(case, tmp_path, tiny_recipe, cli):
    groups, changes, message = BAD[case]
    path = write_groups(tmp_path / "problems.jsonl", groups)
    stage = held_dialogues(path, dialogue=changes.get("dialogue"))
    stage["source"] |= changes.get("source", {})
    said = refused(last_line(cli("train", tiny_recipe(stage).path)))
    assert "source" in said.partition(":")[0] and message in said


def test_probes_that_are_none_are_refused_by_their_problem(tmp_path, tiny_recipe, cli):
    path = tmp_path / "problems.jsonl"
    write_groups(path, probed(2))
    path.write_text(path.read_text().replace('"rule"', '"rul"'))
    assert "has probes that are none" in refused(last_line(cli("train", tiny_recipe(held_dialogues(path)).path)))
