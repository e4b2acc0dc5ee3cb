"""`rl-distill plan`: a page and a file from recipes of every kind, and refusals of what does not go together."""

import json

import pytest
import yaml
from tiny_runs import CONSTANT_RATE, rolled_out, taught, tiny_student

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cli import main
from rl_distill.config import dump
from rl_distill.planning.hardware import gpu
from rl_distill.planning.workload import rows_by_unit


@pytest.fixture
def planned(tmp_path, capsys):
    """A function from stages and arguments to (exit code, page, JSON)."""

    def run(*arguments, stages=None, **changes):
        tree = {"name": "tiny", "student": tiny_student(), "stages": stages or [rolled_out()], **changes}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
        told = tmp_path / "plan.json"
        code = main(["plan", str(tmp_path / "recipe.yaml"), "--json", str(told), *arguments])
        shown = capsys.readouterr()
        return code, shown.out + shown.err, json.loads(told.read_text()) if told.exists() else None

    return run


RAY = {"name": "ray", "learner": {"ranks": 2, "zero_stage": 1}, "engine": {"workers": 3}}


def keys(tree, path=""):
    """Every key of a tree with its path; lists count with their first member."""
    if isinstance(tree, list):
        return keys(tree[0], path) if tree else set()
    if not isinstance(tree, dict):
        return set()
    return {f"{path}{key}" for key in tree} | {name for key, value in tree.items() for name in keys(value, f"{path}{key}.")}


def test_the_file_has_the_keys_that_programs_read(planned):
    code, _, tree = planned("--gpu", "H100", "--gpus", "8", cluster=RAY)
    assert code == 0 and tree["schema"] == 1
    assert {name for name in keys(tree) if not name.startswith("hardware.")} == {
        *("schema", "recipe", "devices", "hosts", "layout", "stages", "layouts", "total", "hardware", "left_out"),
        *(f"layout.{name}" for name in LAYOUT),
        *(f"layouts.{name}" for name in (*LAYOUT, "generate", "learn", "waiting", "one_ahead")),
        *(f"total.{name}" for name in ("seconds", "device_hours", "price")),
        *(f"stages.{name}" for name in ("name", "steps", "seconds", "step", "staleness", "busy", "tokens", "memory", "sync")),
        *(f"stages.step.{name}" for name in ("generate", "score", "credit", "train", "sync", "total")),
        *(f"stages.staleness.{name}" for name in ("recipe", "seconds", "gain")),
        *(f"stages.staleness.{name}.{bound}" for name in ("seconds", "gain") for bound in (0, 1, 2, 4)),
        *(f"stages.busy.{name}" for name in ("engines", "learner")),
        *(f"stages.tokens.{name}" for name in ("sampled", "with_loss", "prompt", "lengths")),
        *(f"stages.memory.{name}" for name in ("fits", "rank", "engine")),
        *(f"stages.memory.rank.{name}" for name in ("states", "moved", "activations", "logits", "host", "device")),
        *(f"stages.memory.engine.{name}" for name in ("weights", "cache", "logits", "device")),
        *(f"stages.sync.{name}" for name in ("bytes", "tensors", "seconds")),
    }


LAYOUT = ("engines", "ranks", "zero_stage", "scorers", "tensor_parallel", "shared", "devices", "hosts")


def test_the_page_tells_what_is_assumed(planned):
    code, page, tree = planned("--gpu", "H100", "--gpus", "8", "--price", "2", cluster=RAY)
    assert code == 0
    for words in (
        "assumed: log-normal",
        "datasheet memory_bytes",
        "assumed   network",
        "engines : ranks on 8 devices",
        "GPU hours",
    ):
        assert words in page
    assert tree["total"]["price"] == pytest.approx(2 * tree["total"]["device_hours"])


def test_a_recipe_without_rollouts_is_planned_too(planned):
    code, page, tree = planned("--gpu", "A100", stages=[taught(), taught("redi")])
    assert code == 0 and tree["layouts"] == [] and "engines" not in page.split("left out")[0]
    assert tree["stages"][0]["step"]["generate"] == 0 and tree["stages"][0]["memory"]["engine"] is None
    assert tree["total"]["seconds"] > 0


def test_the_plan_of_a_machine_can_be_given_back(planned, tmp_path):
    _, _, tree = planned("--gpu", "A100")
    (tmp_path / "machine.json").write_text(json.dumps({"hardware": tree["hardware"]}))
    _, _, again = planned("--machine", str(tmp_path / "machine.json"))
    assert again == tree


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "tpu"), "choose one of H200, H100"),
        (("--gpu", "H100", "--gpus", "4"), "--gpus: is 4, and the recipe asks for 5 (3 engines of 1, 2 ranks, 0 scorers)"),
        (("--gpus", "8"), "add --gpu NAME"),
        (("--gpu", "H100", "--gpus", "0"), "--gpus: is 0"),
        (("--gpu", "H100", "--gpus", "8", "--hosts", "9"), "--hosts: is 9"),
        (("--gpu", "H100", "--mean-tokens", "99"), "--mean-tokens: is 99"),
        (("--gpu", "H100", "--lengths-from", "nowhere"), "--lengths-from"),
        (("--gpu", "H100", "--lengths-from", "nowhere", "--mean-tokens", "3"), "--lengths-from: is given beside"),
        (("--gpu", "H100", "--machine", "x.yaml"), "--gpu: is given beside --machine"),
        (("--gpu", "H100", "--price", "nan"), "--price: is nan"),
        (("--gpu", "H100", "--mean-tokens", "inf"), "--mean-tokens: is inf"),
        (("--gpu", "H100", "--hosts", "9"), "--hosts: is 9, and there are 5 devices"),
        (("--gpu", "H100", "--prompt-tokens", "999"), "--prompt-tokens: is 999, and the student's context has"),
        (("--gpu", "H100", "--max-tokens", "999"), "--max-tokens: is 999, and no response of the recipe may be longer than"),
        (("--gpu", "H100", "--json", "nowhere/plan.json"), "--json: 'nowhere/plan.json' lies in no folder that exists"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(planned, arguments, said):
    code, page, _ = planned(*arguments, cluster=RAY)
    assert code == 2 and said in page and page.count("\n") == 1


def test_numbers_of_ones_own_replace_what_is_assumed(planned):
    _, _, tree = planned("--gpu", "H100", "--mean-tokens", "3", "--prompt-tokens", "7", "--steps", "11", cluster=RAY)
    (stage,) = tree["stages"]
    assert stage["tokens"]["prompt"] == 7 and stage["steps"] == 11
    assert stage["tokens"]["sampled"] / (2 * 3) == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize("name", sorted(name for name, one in ALGORITHMS.items() if not one().needs_dialogues))
def test_rows_of_a_group_are_those_the_algorithm_takes(name):
    rows = rows_by_unit(ALGORITHMS[name](), 2)
    assert rows == {"sft": [1], "redi": [2], "dpo": [2], "simpo": [2]}.get(name, [1, 1])


def test_this_machine_is_measured_and_says_so(planned, monkeypatch):
    from rl_distill.planning import calibration

    monkeypatch.setattr(calibration, "SHAPES", ((16, 1), (32, 2)))
    monkeypatch.setattr(calibration, "ROWS", (2, 8))
    monkeypatch.setattr(calibration, "REPEATS", 1)
    code, page, tree = planned("--gpu", "this")
    assert code == 0 and "this machine" in page and "measured  memory_bytes" in page
    assert tree["hardware"]["hf_pass_seconds"]["origin"] == "measured" and tree["stages"][0]["step"]["total"] > 0


def test_a_plan_does_not_change_the_table():
    assert dump(gpu("H100"))["bandwidth"]["value"] == 3.35e12


def test_the_page_says_who_scores_and_what_is_assumed_of_it(planned):
    code, page, _ = planned("--gpu", "H100", stages=[taught("kd")], teacher="no/such-teacher")
    assert code == 0 and "scored by no/such-teacher: " in page and "its configuration cannot be read here" in page


def test_a_length_in_seconds_is_as_long_as_it_says(planned):
    stage = taught(learner={**CONSTANT_RATE, "warmup_steps": 0}, max_seconds=90.0)
    del stage["steps"]
    code, page, tree = planned("--gpu", "H100", stages=[stage])
    (found,) = tree["stages"]
    assert code == 0 and 90 <= found["seconds"] < 90 + found["step"]["total"] and "not known" not in page


def test_a_stage_whose_data_tell_its_length_says_so(planned, tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    source = {"name": "dataset", "problems": {"name": "records", "path": str(tmp_path / "rows.jsonl")}, "groups_per_step": 2}
    stage = taught(source=source, epochs=2)
    del stage["steps"]
    code, page, tree = planned("--gpu", "H100", stages=[stage])
    assert code == 0 and tree["stages"][0]["steps"] is None and "the data tell, which are not read here (--steps)" in page
