"""Every debug recipe trains for real, and its metrics move as its algorithm promises."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rl_distill.algorithms import ALGORITHMS
from rl_distill.learning.scorer import ScorerConfig, sampled_logprobs
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.tracking import read_metrics
from rl_distill.tracking.metric_names import METRICS, explain
from rl_distill.training.run import train
from rl_distill.training.tokenized import Tokenized

RECIPES = sorted((Path(__file__).parents[2] / "experiments" / "debug").glob("*.yaml"))
NAMES = [path.stem for path in RECIPES]
PAIRED = {"redi", "dpo", "simpo"}
TAUGHT = {"kd", "gkd", "opd"}  # by a teacher, the first stage of their recipes


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders by recipe; the base student is trained once and comes from a cache of this module's own."""
    folder = tmp_path_factory.mktemp("debug")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RL_DISTILL_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        finished: dict[str, Path] = {}

        def run(name: str) -> Path:
            if name not in finished:
                path = next(path for path in RECIPES if path.stem == name)
                recipe = load_recipe(
                    path, [f"run_dir={folder / name}", "tracking.console=quiet", "tracking.trajectories_every=5"]
                )
                train(recipe, say=lambda line: None)
                finished[name] = folder / name
            return finished[name]

        yield run


def stage_lines(folder: Path, stage: str) -> list[dict]:
    return [line for line in read_metrics(folder / "metrics.jsonl") if line["stage"] == stage]


def test_there_is_one_for_every_algorithm():
    assert set(NAMES) == set(ALGORITHMS) | {"grpo_lora"}


@pytest.mark.parametrize("name", NAMES)
def test_debug_recipe_trains(runs, name):
    folder = runs(name)
    lines = stage_lines(folder, name)
    assert len(lines) == 10
    assert all(math.isfinite(value) for line in lines for key, value in line.items() if key != "stage")
    changed, base = (load_file(folder / "stages" / stage / "student" / "model.safetensors") for stage in (name, "base"))
    assert any((changed[key] != base[key]).any() for key in base), "the student never changed"
    final = load_file(folder / "final" / "model.safetensors")
    assert all((final[key] == changed[key]).all() for key in final)


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_explained(runs, name):
    paths = {path for line in stage_lines(runs(name), name) for path in line if path not in ("stage", "step")}
    assert [path for path in sorted(paths) if explain(path) is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_has_every_group_once(runs, name):
    folder = runs(name)
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    mine = [(line["step"], line["problem"]) for line in lines if line["stage"] == name]
    assert mine and len(mine) == len(set(mine))
    assert {step for step, _ in mine} == set(range(10))


NOT_HERE = {
    "gradient/agreement",  # of a step with several sources
    *("staleness/mean", "staleness/max", "staleness/mixed_fraction", "rollout/queued_groups"),  # of sampling ahead, on a cluster
    *("engine/idle_fraction", "learner/idle_fraction"),
}


def test_no_metric_is_explained_that_is_never_logged(runs):
    logged = {path for name in NAMES for line in stage_lines(runs(name), name) for path in line}
    assert (
        sorted(
            path for path in METRICS if "<" not in path and path not in logged | NOT_HERE and not path.startswith("evaluation/")
        )
        == []
    )


def mean_logprobs(folder: Path, students: Sequence[str]) -> list[dict[int, float]]:
    """Mean log-prob per token of what the last stage imitates (1) and avoids (-1), all of it, under each student."""
    recipe = load_recipe(folder / "recipe.yaml")
    prompter = Prompter(tokenizer=load_tokenizer(str(folder / "final")), format=recipe.student.prompt, max_context=96)
    stage = recipe.stages[-1]
    groups = Tokenized(stage.source.problems.groups(), prompter, field="source")
    samples = [sample for index in range(len(groups)) for sample in stage.algorithm.samples(groups[index])]
    found = []
    for student in students:
        model = load_model(str(folder / student))
        settings = ScorerConfig(pad_id=0, temperature=1.0, max_tokens=4096, chunk_tokens=4096, precision="float32")
        rows = sampled_logprobs(model, [one.trajectory for one in samples], settings)
        means = [(one.label, sum(row) / one.trajectory.num_sampled) for one, row in zip(samples, rows, strict=True)]
        sides = {label: [value for side, value in means if side == label] for label in (1, -1)}
        found.append({label: sum(values) / len(values) for label, values in sides.items() if values})
    return found


def test_imitation_makes_the_imitated_traces_likelier(runs):
    before, after = mean_logprobs(runs("sft"), ["stages/base/student", "final"])
    assert after[1] > before[1] + 0.01


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_pairs_drift_apart(runs, name):
    """All pairs under the student before and after: batches of a few pairs differ more than a short run moves them."""
    folder = runs(name)
    start = load_recipe(folder / "recipe.yaml")
    before, after = mean_logprobs(folder, [f"stages/{start.start_of(start.stages[-1])}/student", "final"])
    assert after[1] - after[-1] > before[1] - before[-1] + 0.001


@pytest.mark.parametrize("name", ["kd", "gkd"])
def test_the_student_comes_closer_to_its_teacher(runs, name):
    """Where the divergence is exact; that of `opd` is an estimate from one token, too noisy for so short a run."""
    values = [line["distillation/divergence"] for line in stage_lines(runs(name), name)]
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_what_the_teacher_read_is_counted(runs, name):
    for line in stage_lines(runs(name), name):
        assert line["distillation/teacher_tokens"] > line["batch/tokens"] > 0  # the prompts too


@pytest.mark.parametrize("name", sorted(set(NAMES) - PAIRED - {"sft", "kd", "gkd"}))
def test_rollouts_come_from_the_newest_weights(runs, name):
    """On-policy at the first mini-batch: the sampler's log-probs are the learner's, up to rounding."""
    folder = runs(name)
    recipe = load_recipe(folder / "recipe.yaml")
    lines = stage_lines(folder, name)
    assert all(line["rollout/unverifiable"] == 0 for line in lines)
    if recipe.stages[-1].mini_batches == 1:
        assert all(abs(line["policy/mismatch_kl"]) < 1e-6 for line in lines)
        assert all(line["policy/ratio"] == pytest.approx(1.0, abs=1e-4) for line in lines)
    rollouts = [json.loads(line) for line in (folder / "trajectories" / "rollouts.jsonl").read_text().splitlines()]
    versions = {
        (line["step"], version)
        for line in rollouts
        for t in line["trajectories"]
        if t["origin"] == "policy"
        for version in set(t["policy_versions"]) - {0}
    }
    assert versions == {(5, 5)}  # step 0 was sampled by version 0, step 5 by version 5; prompts count as 0
