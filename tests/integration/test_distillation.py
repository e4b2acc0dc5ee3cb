"""Distillation from end to end: a teacher that is a folder, the base or a stage; continued runs; shares of student data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused
from safetensors.torch import load_file
from tiny_runs import TEACHER, RecipeFile, rolled_out, taught

from rl_distill.batch import Candidates
from rl_distill.learning.scorer import ModelScorer, ScorerConfig, annotate_groups
from rl_distill.models.loading import load_model
from rl_distill.models.token_match import vocabulary_digest
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.records import group_to_dict
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.tracking import read_metrics
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import TEACHER_TEMPERATURE, TEACHER_VOCABULARY


def distilled(name: str, **changes):
    return rolled_out(name, **{"algorithm": {"name": name}, **changes})


def lines(recipe: RecipeFile, stage: str) -> list[dict]:
    return [line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == stage]


def weights(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def test_a_student_that_is_still_its_teacher_sees_no_divergence(tiny_recipe, cli):
    """The base teaches itself: only the first step of each stage starts from its weights."""
    recipe = tiny_recipe(taught("kd"), distilled("gkd", start="base"), distilled("opd", start="base"), teacher="base")
    assert cli("train", recipe.path)[0] == 0
    assert lines(recipe, "kd")[0]["distillation/divergence"] == pytest.approx(0, abs=1e-6)
    assert lines(recipe, "gkd")[0]["distillation/divergence"] == pytest.approx(0, abs=1e-6)
    assert lines(recipe, "opd")[0]["distillation/reverse_kl"] == pytest.approx(0, abs=1e-5)


def test_a_stage_teaches_as_its_folder_does(tiny_recipe, cli, tmp_path):
    recipe = tiny_recipe(taught("sft", learner={"learning_rate": 1e-2, "schedule": "constant"}), taught("kd"), teacher="sft")
    recipe.change(stages=[*_stages(recipe)[:1], {**_stages(recipe)[1], "start": "base"}])
    assert cli("train", recipe.path)[0] == 0
    assert lines(recipe, "kd")[0]["distillation/divergence"] > 1e-5
    student = recipe.run_dir / "stages" / "sft" / "student"
    assert cli("train", recipe.path, f"teacher={student}", f"run_dir={tmp_path / 'other'}")[0] == 0
    assert equal(weights(recipe.run_dir / "final"), weights(tmp_path / "other" / "final"))


def test_a_continued_run_ends_with_the_weights_of_an_uninterrupted_one(tiny_recipe, cli, tmp_path):
    stages = [taught("sft"), taught("kd", start="base", algorithm={"name": "kd", "support": "drawn"}), distilled("opd")]
    recipe = tiny_recipe(*stages, teacher="sft")
    assert cli("train", recipe.path)[0] == 0
    (tmp_path / "cut").mkdir()
    for part in ("stages/opd", "final", "checkpoints/opd"):
        _forget(recipe.run_dir / part)
    before = weights(recipe.run_dir / "stages" / "kd" / "student")
    assert cli("train", recipe.path)[0] == 0
    assert cli("train", recipe.path, f"run_dir={tmp_path / 'whole'}")[0] == 0
    assert equal(weights(recipe.run_dir / "final"), weights(tmp_path / "whole" / "final"))
    assert equal(before, weights(tmp_path / "whole" / "stages" / "kd" / "student"))


def test_a_share_of_student_data_is_a_second_objective(tiny_recipe, cli):
    """GKD's lambda: rollouts and a data set in every step, each normalised on its own totals, from one teacher."""
    text = {**taught("kd"), "name": "text", "weight": 1.0}
    beside = {key: text[key] for key in ("name", "algorithm", "source", "weight")}
    recipe = tiny_recipe(taught("sft"), distilled("gkd", beside=[beside]), teacher="base")
    assert cli("train", recipe.path)[0] == 0
    for line in lines(recipe, "gkd"):
        assert line["loss"] == pytest.approx(line["distillation/divergence"] + line["beside/text/distillation/divergence"])
        assert line["distillation/teacher_tokens"] > 0 < line["beside/text/distillation/teacher_tokens"]


def test_a_teacher_and_a_reference_stand_side_by_side(tiny_recipe, cli):
    pairs = {key: value for key, value in taught("dpo").items() if key in ("algorithm", "source")}
    recipe = tiny_recipe(taught("sft"), taught("kd", beside=[{**pairs, "name": "pairs"}]), teacher="base")
    assert cli("train", recipe.path)[0] == 0
    line = lines(recipe, "kd")[0]
    assert line["beside/pairs/loss"] == pytest.approx(0.6931472, abs=1e-5)  # the reference is the student as it starts
    assert line["distillation/divergence"] > 0  # the teacher is not


def recorded(path: Path, teacher: Path) -> dict:
    """A source of the arithmetic teacher's attempts, with the distributions of a model written beside them."""
    tokenizer = arithmetic_tokenizer()
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(), max_context=160)
    groups = list(Tokenized(Arithmetic(**TEACHER).groups(), prompter, field="stages.kd.source"))
    config = ScorerConfig(
        pad_id=0,
        temperature=1.0,
        max_tokens=4096,
        chunk_tokens=512,
        precision="float32",
        column="teacher_logprobs",
        candidates=Candidates(count=8),
        vocabulary=len(tokenizer),
    )
    about = {TEACHER_TEMPERATURE: 1.0, TEACHER_VOCABULARY: vocabulary_digest(tokenizer)}
    scored = annotate_groups(ModelScorer(load_model(str(teacher)), config), groups)
    rows = [replace(group, trajectories=tuple(replace(one, metadata=about) for one in group.trajectories)) for group in scored]
    path.write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in rows))
    return {"name": "dataset", "problems": {"name": "records", "path": str(path)}, "groups_per_step": 2}


def test_a_recorded_teacher_teaches_as_the_model_does_and_reads_nothing(tiny_recipe, cli, tmp_path):
    recipe = tiny_recipe(taught("sft", learner={"learning_rate": 1e-2, "schedule": "constant"}))
    assert cli("train", recipe.path)[0] == 0
    teacher = recipe.run_dir / "final"
    source = recorded(tmp_path / "groups.jsonl", teacher)
    stage = taught("kd", algorithm={"name": "kd", "num_candidates": 6, "beta": 0.5}, source=source)
    found = {}
    for name, given in (("model", str(teacher)), ("records", "recorded")):
        other = tiny_recipe(stage, run_dir=str(tmp_path / name), teacher=given)
        assert cli("train", other.path)[0] == 0
        found[name] = weights(tmp_path / name / "final"), read_metrics(tmp_path / name / "metrics.jsonl")[-1]
    (model, line), (records, without) = found["model"], found["records"]
    assert without["loss"] == pytest.approx(line["loss"], rel=1e-4) and line["loss"] > 1e-5
    assert line["distillation/teacher_tokens"] > 0 and "distillation/teacher_tokens" not in without
    assert all(float((model[name] - records[name]).abs().max()) < 1e-5 for name in model)


def test_text_without_distributions_does_not_pass_for_a_recorded_teacher(tiny_recipe, cli):
    said = refused(cli("train", tiny_recipe(taught("kd"), teacher="recorded").path))
    assert "stages.kd.source" in said and "has no recorded log-probs of a teacher; curate it" in said


def _stages(recipe: RecipeFile) -> list[dict]:
    import yaml

    return yaml.safe_load(recipe.path.read_text())["stages"]


def _forget(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
