"""Wrong input ends with exit code 2 and one line that names the key, what is wrong with it, and what to do."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from refusals import last_line, refused
from tiny_runs import rolled_out, start_cli, taught

from rl_distill.trajectory import Group, Problem, Score, Trajectory

# override(s) of a sound recipe -> the line after "error: "
REFUSED = {
    "stages.grpo.algorithm.clip_hgh=1": "stages.grpo.algorithm.clip_hgh: is not a known key; did you mean 'clip_high'?",
    "stages.redi.algorithm.negativ_coef=0": "stages.redi.algorithm.negativ_coef: is not a known key; did you mean 'negative_co",
    "student.model.hiden_size=3": "student.model.hiden_size: is not a known key; did you mean 'hidden_size'?",
    "sed=1": "sed: is not a known key; did you mean 'seed'?",
    "stages.grpo.algorithm={name: gropo}": "stages.grpo.algorithm.name: is 'gropo'; did you mean 'grpo'? choose one of sft, re",
    "stages.grpo.algorithm={kl_coef: 0}": "stages.grpo.algorithm.name: is missing; add it",
    "stages.grpo.algorithm=grpo": "stages.grpo.algorithm: is 'grpo'; give a mapping of keys, among them `name`",
    "stages.grpo.source.name=rolout": "stages.grpo.source.name: is 'rolout'; did you mean 'rollout'? choose one of dataset, ro",
    "stages.grpo.source.rewards.soft_overlong.wieght=2": "stages.grpo.source.rewards.soft_overlong.wieght: is not a known key;",
    "stages.grpo.source.rewards=[]": "stages.grpo.source.rewards: is []; give a list of 1 or more",
    "stages.grpo.steps=ten": "stages.grpo.steps: is 'ten'; give a whole number",
    "stages.grpo.steps='4'": "stages.grpo.steps: is '4'; give a whole number",
    "stages.grpo.steps=1.5": "stages.grpo.steps: is 1.5; give a whole number",
    "stages.grpo.steps=0": "stages.grpo.steps: is 0; give a number not below 1",
    "stages.grpo.steps=true": "stages.grpo.steps: is true; give a whole number",
    "stages.grpo.learner.learning_rate='1e-6'": "stages.grpo.learner.learning_rate: is '1e-6'; give a number",
    "stages.grpo.learner.learning_rate=.inf": "stages.grpo.learner.learning_rate: is Infinity; give a finite number",
    "stages.grpo.learner.schedule=linaer": "stages.grpo.learner.schedule: is 'linaer'; did you mean 'linear'? choose one of co",
    "stages.grpo.learner=3": "stages.grpo.learner: is 3; give a mapping of keys",
    "stages=3": "stages: is 3; give a list",
    "stages=[]": "stages: is []; give a list of 1 or more",
    "name=a b": "name: is 'a b'; give a text of the form",
    "student=null": "student: is null; give a mapping of keys",
    "student.model=3": "student.model: is 3; give a text",
    "stages.grpo.steps": "override: 'stages.grpo.steps' is not of the form key=value; write for example",
    "stages.dpo.steps=3": "stages.dpo.steps: no member is named 'dpo'; choose one of sft, grpo, redi",
    "stages.7.steps=3": "stages.7.steps: ",
    "seed=[1": "seed: cannot be set to '[1'",
    "seed=${nowhere}": "seed: cannot be set to '${nowhere}' (Interpolation key 'nowhere' not found)",
    "stages.grpo.steps=null": "stages.grpo: its length is given by nothing; give exactly one of steps, epochs, max_generated_t",
    "stages.grpo.epochs=2": "stages.grpo: its length is given by steps, epochs; give exactly one of",
    "stages.grpo.steps=null stages.grpo.epochs=2": "stages.grpo.epochs: counts passes over a data set, and rollouts have none;",
    "stages.grpo.source.sampling.top_p=0.9": "stages.grpo.source.sampling.top_p: is below 1, which would make the ratios wrong;",
    "stages.grpo.source.sampling.temperature=0": "stages.grpo.source.sampling.temperature: is 0, which leaves nothing to explo",
    "stages.grpo.source.group_size=1": "stages.grpo.source.group_size: 1 has no baseline; sample 2 or more attempts",
    "stages.grpo.algorithm.advantage=raw stages.grpo.source.rewards=[{name: accuracy}]": (
        "stages.grpo.source.rewards: never give a wrong answer less than 0, so with advantage raw nothing would make it less "
        "likely; give [{name: accuracy, correct: 1, wrong: -1}], or take an advantage with a baseline"
    ),
    "stages.grpo.algorithm.max_refills=2": "stages.grpo.algorithm.max_refills: has no effect unless drop_flat_groups is true;",
    "stages.grpo.learner.floor_fraction=0.1": "stages.grpo.learner.floor_fraction: has no effect on a constant schedule; drop",
    "stages.grpo.steps=null stages.grpo.max_generated_tokens=9 stages.grpo.learner.schedule=linear": (
        "stages.grpo.learner.schedule: 'linear' needs a known number of steps; use constant, or give steps"
    ),
    "stages.sft.steps=null stages.sft.max_generated_tokens=9": "stages.sft.max_generated_tokens: never ends a data set stage;",
    "stages.sft.algorithm={name: grpo}": "stages.sft.algorithm: 'grpo' trains on what the student samples; use a source with n",
    "stages.grpo.start=nowhere": "stages.grpo.start: 'nowhere' is no earlier stage; choose one of base, sft",
    "stages.redi.name=sft": "stages: two are named 'sft'; give each a name of its own",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_wrong_value_is_refused_by_its_path_in_the_file_with_a_remedy(overrides, tiny_recipe, cli):
    recipe = tiny_recipe(taught(), rolled_out(), taught("redi"))
    given = [overrides] if "=" not in overrides or overrides.startswith("name") else re.split(r" (?=stages)", overrides)
    assert refused(cli("train", recipe.path, *given)).startswith(REFUSED[overrides])
    assert not recipe.run_dir.exists()


def test_a_missing_key_is_named_and_a_misspelt_one_explains_it(tiny_recipe, cli):
    stage = taught()
    del stage["algorithm"]
    recipe = tiny_recipe(stage)
    assert refused(cli("train", recipe.path)).startswith("stages.sft.algorithm: is missing; add it")
    recipe.change(stages=[stage | {"algoritm": {"name": "sft"}}])
    assert refused(cli("train", recipe.path)) == "stages.sft.algoritm: is not a known key; did you mean 'algorithm'?"


@pytest.mark.parametrize("number", ["1e-3", "1e+3", "1E3", "0.5", "1", "1_0"])
def test_numbers_with_an_exponent_are_numbers_in_the_file_and_in_an_override(number, tiny_recipe):
    from rl_distill.recipe import load_recipe

    recipe = tiny_recipe()
    recipe.path.write_text(recipe.path.read_text().replace("learning_rate: 0.001", f"learning_rate: {number}"))
    assert load_recipe(recipe.path).stages[0].learner.learning_rate == float(number)
    assert load_recipe(recipe.path, [f"stages.sft.learner.eps={number}"]).stages[0].learner.eps == float(number)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name: [tiny", "is not valid YAML"),
        (b"name: a\nname: b\n", "is not valid YAML (while constructing a mapping"),
        (b"- a\n- b\n", "holds no mapping of keys; start it with `name: ...`"),
        (b"", "holds no mapping of keys"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"name: ${nowhere}\n", "has an interpolation that fails (Interpolation key 'nowhere' not found"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_name(content, complaint, tmp_path, cli):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    assert refused(cli("train", path)).startswith(f"{path}: {complaint}")


def test_a_missing_recipe_and_a_folder_in_place_of_one_are_refused(tmp_path, cli):
    assert refused(cli("train", tmp_path / "no.yaml")).startswith(f"recipe: there is no file '{tmp_path / 'no.yaml'}';")
    assert refused(cli("train", tmp_path)) == f"recipe: '{tmp_path}' cannot be read (Is a directory); give a readable YAML file"


def rows(path: Path, *values: dict[str, object]) -> dict[str, str]:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return {"name": "trl", "path": str(path)}


def dataset(problems: dict[str, object], **changes: object) -> dict[str, object]:
    return {"source": {"name": "dataset", "problems": problems, "groups_per_step": 2, **changes}}


def test_an_empty_data_set_is_refused(tiny_recipe, tmp_path, cli):
    recipe = tiny_recipe(taught(**dataset(rows(tmp_path / "empty.jsonl"))))
    assert "the set is empty; check its path" in refused(last_line(cli("train", recipe.path)))


@pytest.mark.parametrize("length", [{"steps": 2}, {"steps": None, "epochs": 1}])
def test_a_data_set_without_anything_to_learn_from_is_refused(length, tiny_recipe, tmp_path, cli):
    only_right = rows(tmp_path / "right.jsonl", *({"prompt": f"{number} + 1 = ?", "completion": "2"} for number in range(3)))
    recipe = tiny_recipe(taught("redi", **dataset(only_right), **length))
    message = refused(last_line(cli("train", recipe.path)))
    assert (
        message.startswith("stages.redi.source.problems: none of its 3 groups has what")
        and "pairs need a correct and a wrong one" in message
    )


def test_an_attempt_longer_than_the_context_is_refused_until_max_tokens_leaves_it_out(tiny_recipe, tmp_path, cli):
    attempts = [{"prompt": "1 + 1 = ?", "completion": "2 " * length} for length in (3, 200, 4)]
    recipe = tiny_recipe(taught(**dataset(rows(tmp_path / "long.jsonl", *attempts))))
    message = refused(last_line(cli("train", recipe.path)))
    assert message.startswith("stages.sft.source: an attempt at problem 'long-2' has 2") and "context of 160" in message
    assert "source.max_tokens" in message
    assert (
        cli("train", recipe.path, "stages.sft.source.max_tokens=100")[0] == 0
    )  # the same run folder: nothing was saved of the stage


def test_a_prompt_that_leaves_no_room_for_the_response_is_refused(tiny_recipe, cli):
    stage = rolled_out()
    stage["source"]["sampling"]["max_tokens"] = 155
    message = refused(last_line(cli("train", tiny_recipe(stage).path)))
    assert (
        message.startswith("stages.grpo.source.problems: problem 'arithmetic-train-0-")
        and "exceeds the student's context of 160" in message
    )


def test_a_problem_without_a_gold_answer_is_refused_where_answers_are_graded(tiny_recipe, tmp_path, cli):
    unanswered = rows(tmp_path / "open.jsonl", {"prompt": "1 + 1 = ?"})
    stage = rolled_out()
    stage["source"] |= {"problems": unanswered, "rewards": [{"name": "accuracy"}]}
    message = refused(last_line(cli("train", tiny_recipe(stage).path)))
    assert message.startswith("stages.grpo.source.problems: problem 'open-1' has no gold answer to verify against; add one")
    recipe = tiny_recipe(
        taught(), evaluation={"problems": unanswered, "sampling": {"max_tokens": 8}}, run_dir=str(tmp_path / "other")
    )
    assert refused(last_line(cli("train", recipe.path))).startswith("evaluation.problems: problem 'open-1' has no gold answer")


def test_a_missing_data_file_is_refused_with_its_path(tiny_recipe, tmp_path, cli):
    recipe = tiny_recipe(taught(**dataset({"name": "trl", "path": str(tmp_path / "no.jsonl")})))
    assert f"there is no file '{tmp_path / 'no.jsonl'}'" in refused(last_line(cli("train", recipe.path)))


def test_a_student_that_does_not_exist_is_refused(tiny_recipe, tmp_path, cli):
    recipe = tiny_recipe(student={"model": str(tmp_path / "no_model")})
    message = refused(cli("train", recipe.path))
    assert (
        message.startswith(f"student.model: there is no folder '{tmp_path / 'no_model'}'")
        and "give a folder in Hugging Face format" in message
    )


@pytest.mark.parametrize("function", ["no_such_package:f", "math:no_such_function", "math", "math:pi"])
def test_a_reward_function_that_cannot_be_imported_is_refused(function, tiny_recipe, cli):
    stage = rolled_out()
    stage["source"]["rewards"] = [{"name": "trl_function", "function": function}]
    message = refused(cli("train", tiny_recipe(stage).path))
    assert "rewards.trl_function.function: " in message and repr(function) in message


def test_a_run_folder_that_cannot_be_made_is_refused(tiny_recipe, tmp_path, cli):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", Path("/proc/no_run_here")):
        message = refused(cli("train", tiny_recipe().path, f"run_dir={place}"))
        assert message.startswith(f"run_dir: '{place}' cannot be written (") and message.endswith(
            "choose another with run_dir=PATH"
        )


def test_a_cache_that_cannot_be_made_is_refused(tiny_recipe, tmp_path, cli, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RL_DISTILL_CACHE", str(tmp_path / "file" / "cache"))
    message = refused(cli("train", tiny_recipe().path))
    assert message.startswith("RL_DISTILL_CACHE: ") and "Not a directory" in message


def test_a_folder_of_another_recipe_is_refused_by_the_key_that_differs(tiny_recipe, cli):
    recipe = tiny_recipe(taught(), taught("redi"))
    assert cli("train", recipe.path)[0] == 0
    kept = (recipe.run_dir / "ledger.jsonl").read_bytes()
    for override, difference in {
        "seed=1": "seed is 0 there and 1 here",
        "stages.redi.algorithm.negative_coef=0": "stages.redi.algorithm.negative_coef is 0.8 there and 0.0 here",
        "stages.sft.learner.learning_rate=2e-3": "stages.sft.learner.learning_rate is 0.001 there and 0.002 here",
        "student.model.pretraining=null": "student.model.pretraining is {",
    }.items():
        message = refused(cli("train", recipe.path, override))
        assert message.startswith(f"run_dir: '{recipe.run_dir}' holds a run of another recipe ({difference}")
    assert (recipe.run_dir / "ledger.jsonl").read_bytes() == kept
    assert cli("train", recipe.path, "tracking.trajectories_every=7")[0] == 0  # no number depends on who is told


def test_what_no_saved_step_depends_on_may_change_in_the_same_folder(tiny_recipe, cli):
    recipe = tiny_recipe(taught())
    assert cli("train", recipe.path)[0] == 0
    recipe.change(stages=[taught(), taught("redi", start="base")])
    code, out, _ = cli("train", recipe.path)
    assert code == 0 and "redi: 2 steps" in out and "sft: 2 steps" not in out


def test_a_damaged_record_of_the_recipe_is_refused(tiny_recipe, cli):
    recipe = tiny_recipe()
    recipe.run_dir.mkdir()
    for content in ("[", "name: tiny\n", ""):
        (recipe.run_dir / "recipe.yaml").write_text(content)
        assert "holds a damaged recipe.yaml" in refused(cli("train", recipe.path))


def test_a_second_driver_is_told_who_is_the_first(tiny_recipe, cli):
    recipe = tiny_recipe(taught(steps=100_000))
    first = start_cli("train", recipe.path)
    try:
        while not (recipe.run_dir / "metrics.jsonl").exists():
            assert first.poll() is None
        message = refused(cli("train", recipe.path))
        assert f"is in use by process {first.pid} on host {os.uname().nodename}; wait for it" in message
    finally:
        first.kill()
        first.communicate()


def test_a_folder_in_use_by_another_process_is_refused(tiny_recipe, cli):
    recipe = tiny_recipe()
    recipe.run_dir.mkdir()
    holder = subprocess.Popen(["flock", str(recipe.run_dir / ".lock"), "sleep", "60"], start_new_session=True)
    try:
        while subprocess.run(["flock", "-n", str(recipe.run_dir / ".lock"), "true"]).returncode == 0:
            pass  # until the other process holds it
        assert "is in use by another process; wait for it, or choose another" in refused(cli("train", recipe.path))
    finally:
        os.killpg(holder.pid, 9)
        holder.wait()
    assert cli("train", recipe.path)[0] == 0


def test_the_exit_code_and_the_line_reach_the_shell(tiny_recipe):
    process = start_cli("train", tiny_recipe().path, "sed=1")
    out, err = process.communicate()
    assert (process.returncode, out, err) == (2, "", "error: sed: is not a known key; did you mean 'seed'?\n")


def test_keys_of_a_recipe_that_is_wrong_are_refused_like_training_it(tiny_recipe, cli):
    recipe = tiny_recipe(sed=1)
    assert refused(cli("recipes", recipe.path)) == "sed: is not a known key; did you mean 'seed'?"
    assert "names 0 recipes" in refused(cli("recipes", "no_such_recipe"))


def test_the_examples_here_are_sound_without_the_mistake(tiny_recipe, cli):
    recipe = tiny_recipe(taught(), rolled_out(), taught("redi"))
    code, out, err = cli("train", recipe.path)
    assert (code, err) == (0, "") and "redi: 2 steps" in out


def test_a_folder_that_holds_something_else_is_left_alone(tiny_recipe, cli):
    recipe = tiny_recipe()
    thesis = recipe.run_dir / "final" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    code, _, err = cli("train", recipe.path)
    assert code == 2 and "is not empty and holds no run ('final' is there); choose another with run_dir=PATH" in err
    assert thesis.read_text() == "years of work" and {path.name for path in recipe.run_dir.iterdir()} == {"final"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("student.model.num_heads=3", "student.model.num_heads: 3 does not cut hidden_size 16 into even parts"),
        ("student.prompt.system=hello", "cannot be tokenised"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(change, message, tiny_recipe, cli):
    code, _, err = cli("train", tiny_recipe().path, change)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_later_stage_that_cannot_learn_is_found_before_the_first_one_trains(tiny_recipe, cli):
    late = taught("redi")
    late["source"] = {**late["source"], "problems": {**late["source"]["problems"], "attempts": "none"}}
    recipe = tiny_recipe(taught(), late)
    code, _, err = cli("train", recipe.path)
    assert code == 2 and "stages.redi.source.problems: none of its 8 groups has what the algorithm learns from" in err
    assert not (recipe.run_dir / "stages" / "sft").exists()


def test_a_reference_that_is_not_there_is_named(tiny_recipe, cli):
    code, _, err = cli("train", tiny_recipe(taught("dpo"), reference="/no/such/folder").path)
    assert code == 2 and err.startswith("error: reference: there is no folder '/no/such/folder'")


def test_a_teacher_that_is_not_there_is_named(tiny_recipe, cli):
    code, _, err = cli("train", tiny_recipe(taught("kd"), teacher="/no/such/folder").path)
    assert code == 2 and err.startswith("error: teacher: there is no folder '/no/such/folder'")


@pytest.mark.parametrize(
    ("switch", "rewards"),
    [
        ("advantage=raw", "[{name: accuracy, correct: 1, wrong: -1}]"),
        ("advantage=raw", "[{name: soft_overlong}]"),
        ("advantage=group_center", "[{name: accuracy}]"),
        ("advantage=leave_one_out", "[{name: accuracy}]"),
    ],
)
def test_rewards_that_can_tell_right_from_wrong_are_taken(switch, rewards, tiny_recipe):
    from rl_distill.recipe import load_recipe

    overrides = [f"stages.grpo.algorithm.{switch}", f"stages.grpo.source.rewards={rewards}"]
    stage = load_recipe(tiny_recipe(rolled_out()).path, overrides).stages[0]
    assert f"advantage={stage.algorithm.advantage}" == switch and stage.source.rewards[0].name in rewards


def test_credit_that_is_whitened_over_the_step_needs_no_signed_rewards(tiny_recipe):
    from rl_distill.recipe import load_recipe

    raw = ["stages.grpo.algorithm.advantage=raw", "stages.grpo.source.rewards=[{name: accuracy}]"]
    algorithm = load_recipe(tiny_recipe(rolled_out()).path, [*raw, "stages.grpo.algorithm.whitening=token"]).stages[0].algorithm
    attempts = [
        Trajectory(problem_id="p", messages=(), token_ids=(1, 2), sampled=(False, True), model="m", origin="policy", score=score)
        for score in (Score(value=1.0, verdict=None), Score(value=0.0, verdict=None))
    ]
    group = Group(problem=Problem(id="p", prompt="", answer=None, source="test"), trajectories=tuple(attempts))
    right, wrong = algorithm.finish(algorithm.samples(group))
    assert wrong.advantage < 0 < right.advantage
