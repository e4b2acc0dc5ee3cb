"""`rl-distill evaluate` and `compare` on a run's students: killed and continued, compared, and given wrong input."""

import json
import shutil
import time

import pytest
from refusals import refused
from tiny_runs import TEACHER, start_cli, taught, write_recipe

HELD_OUT = {"name": "arithmetic", "split": "heldout", "num_problems": 10, "levels": [1]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two stages that evaluates."""
    from rl_distill import load_recipe, train

    evaluation = {"problems": HELD_OUT, "num_samples": 2, "sampling": {"max_tokens": 8}}
    source = {"name": "dataset", "problems": TEACHER, "groups_per_step": 2}
    recipe = write_recipe(
        tmp_path_factory.mktemp("evaluated"), taught("sft"), taught("redi", source=source), evaluation=evaluation
    )
    train(load_recipe(recipe.path), say=lambda line: None)
    return recipe.run_dir


def evaluate(model, output, *more):
    return ("evaluate", model, "--benchmarks", "arithmetic", "--samples", 2, "--problems", 6, "-o", output, *more)


def test_a_final_student_is_measured_and_shown_in_a_table(run, cli, tmp_path):
    code, out, err = cli(*evaluate(run, tmp_path / "final", "sampling.max_tokens=12", "engine.shard_size=4"))
    assert code == 0, err
    assert "arithmetic: 6 of 6 problems" in out
    assert [cell.strip() for cell in out.split("\n| ")[1].split("|")][:3] == ["benchmark", "avg@k", "95 % interval"]
    result = json.loads((tmp_path / "final" / "evaluation.json").read_text())
    assert result["model"]["folder"] == str(run / "final")


def test_two_stages_are_compared_from_their_folders_and_from_the_run_alone(run, cli, tmp_path):
    for stage in ("sft", "redi"):
        code, _, err = cli(*evaluate(f"{run}:{stage}", tmp_path / stage))
        assert code == 0, err
    code, out, err = cli("compare", tmp_path / "sft", tmp_path / "redi")
    assert code == 0 and "arithmetic cannot separate them (p = " in out and "6 problems resolve" in out, err
    code, out, err = cli("compare", f"{run}:sft", run)
    assert code == 0 and "evaluation cannot separate them (p = " in out and "10 problems resolve" in out, err


def test_what_two_measurements_share_is_said_and_one_is_not_compared_with_itself(run, cli, tmp_path):
    code, out, err = cli("compare", f"{run}:sft", f"{run}:redi")
    assert code == 0, err
    (drawn,) = [line for line in out.splitlines() if "paired draws" in line]
    assert drawn.startswith("note: evaluation: both drew with seed 0") and "chat templates" not in out
    assert "A and B: are one and the same evaluation" in refused(cli("compare", run, f"{run}:redi"))
    template = tmp_path / "student" / "chat_template.jinja"
    shutil.copytree(run / "final", tmp_path / "student")
    template.write_text(template.read_text().replace("messages", "messages ", 1))
    for model, name in ((run, "one"), (tmp_path / "student", "other")):
        code, _, err = cli(*evaluate(model, tmp_path / name))
        assert code == 0, err
    code, out, err = cli("compare", tmp_path / "one", tmp_path / "other")
    assert code == 0 and "note: other chat templates (" in out, err


def test_a_damaged_evaluation_is_refused_in_a_line(run, cli, tmp_path):
    for stage in ("sft", "redi"):
        cli(*evaluate(f"{run}:{stage}", tmp_path / stage))
    for name, line in (("evaluation.json", "evaluation.json: is damaged"), ("samples/arithmetic.jsonl", "line 1: is damaged")):
        path = tmp_path / "sft" / name
        whole = path.read_bytes()
        path.write_bytes(b"{:\n" + whole.partition(b"\n")[2])
        text = refused(cli(*evaluate(f"{run}:sft", tmp_path / "sft")))
        assert line in text
        if name == "evaluation.json":
            assert line in refused(cli("compare", tmp_path / "redi", tmp_path / "sft"))
        path.write_bytes(whole)


def test_an_evaluation_killed_at_any_moment_goes_on_to_the_same_bytes(run, cli, tmp_path):
    command = (
        "evaluate",
        run,
        "--benchmarks",
        "arithmetic",
        "--problems",
        "60",
        "engine.shard_size=16",
        "sampling.max_tokens=40",
    )
    assert cli(*command, "-o", tmp_path / "whole")[0] == 0
    samples = tmp_path / "killed" / "samples" / "arithmetic.jsonl"
    for lines in (1, 20):
        process = start_cli(*command, "-o", tmp_path / "killed")
        ends = time.monotonic() + 120
        while process.poll() is None and (not samples.exists() or samples.read_bytes().count(b"\n") < lines):
            assert time.monotonic() < ends
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert process.returncode == -9, "it ended before it was killed"
        assert not (tmp_path / "killed" / "evaluation.json").exists()
    kept = samples.read_bytes().count(b"\n")
    code, out, err = cli(*command, "-o", tmp_path / "killed")
    assert code == 0, err
    assert f"arithmetic: {kept // 2 * 2} of 60 problems were asked before" in out
    assert samples.read_bytes() == (tmp_path / "whole" / "samples" / "arithmetic.jsonl").read_bytes()
    one, other = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("killed", "whole"))
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--benchmarks", "arithmetik"), "did you mean 'arithmetic'"),
        ((), "--benchmarks: names none"),
        (("--benchmarks", "arithmetic", "--k", "1,99"), "--k: 99 is not in 1..8"),
        (("--benchmarks", "arithmetic", "--k", "many"), "--k: is 'many'"),
        (("--benchmarks", "arithmetic", "sampling.temprature=1"), "did you mean 'temperature'"),
        (("--benchmark-file", "nothing.yaml"), "--benchmark-file: there is no file"),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(arguments, message, run, cli, tmp_path):
    assert message in refused(cli("evaluate", run, "-o", tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_and_none_at_all_are_refused(cli, tmp_path):
    assert "MODEL" in refused(cli("evaluate", tmp_path / "nothing", "--benchmarks", "arithmetic"))
    assert "MODEL_OR_RUN: is missing" in refused(cli("evaluate", "--benchmarks", "arithmetic"))


def test_evaluations_of_other_problems_are_not_compared(run, cli, tmp_path):
    cli(*evaluate(run, tmp_path / "six"))
    cli("evaluate", run, "--benchmarks", "arithmetic", "--samples", 2, "--problems", 7, "-o", tmp_path / "seven")
    text = refused(cli("compare", tmp_path / "six", tmp_path / "seven"))
    assert "benchmark 'arithmetic': was measured on different problem sets (6 problems in the first and 7 in the second)" in text


def test_every_benchmark_is_listed_with_its_caveats(cli):
    code, out, _ = cli("evaluate", "--list")
    assert code == 0 and "amc23 (version 1)" in out and "83 of two years" in out
