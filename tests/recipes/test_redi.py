"""The paper's recipes, shrunken by overrides alone: a tiny model of Qwen2's kind and a small file like OpenR1-Math-Raw."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

import datasets
import pytest
from tiny_qwen import openr1_file, qwen_folder

from rl_distill.config import read_yaml
from rl_distill.errors import InputError
from rl_distill.recipe import load_recipe
from rl_distill.tracking import read_metrics
from rl_distill.training.run import train

RECIPES = Path(__file__).resolve().parents[2] / "experiments" / "redi"
STAGE_2 = ["redi", "dpo", "simpo"]
README = (RECIPES / "README.md").read_text(encoding="utf-8")
KNOBS = {"sft": [], "redi": ["negative_coef"], "dpo": ["beta"], "simpo": ["beta", "gamma"]}
COMMANDS = [line for line in README.splitlines() if line.startswith("rl-distill train ")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Overrides for a stage, by its name; all runs share a model, its teacher's data and two problems to measure it on."""
    folder = tmp_path_factory.mktemp("redi")
    model = qwen_folder(folder / "qwen")
    raw = openr1_file(folder / "raw.jsonl", num_problems=8)
    math500 = folder / "math500.jsonl"
    row = {"problem": "What is 9 + 2?", "answer": "11", "subject": "Algebra", "level": 1}
    math500.write_text("".join(json.dumps({**row, "unique_id": f"{number}"}) + "\n" for number in range(2)))

    def overrides(stage: str, run_dir: Path, student: str | None = None) -> list[str]:
        return [
            f"run_dir={run_dir}",
            f"student.model={student}" if student else f"student.model.path={model}",
            f"stages.{stage}.source.problems.path={raw}",
            f"stages.{stage}.source.groups_per_step=4",
            f"stages.{stage}.epochs=1",
            f"evaluation.problems.path={math500}",
            "evaluation.num_samples=1",
            "evaluation.sampling.max_tokens=8",
            "tracking.console=quiet",
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        yield overrides


@pytest.fixture(scope="module")
def sft(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run of stage 1."""
    folder = tmp_path_factory.mktemp("runs") / "sft"
    run("sft", small("sft", folder))
    return folder


@pytest.fixture(scope="module")
def stage_2(small: Any, sft: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The finished runs that start from it."""
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in STAGE_2}
    for name, folder in folders.items():
        run(name, small(name, folder, student=str(sft / "final")))
    return folders


def run(recipe: str, overrides: list[str]) -> dict[str, Any]:
    return train(load_recipe(RECIPES / f"{recipe}.yaml", overrides), say=lambda line: None)


def context(student: Path) -> tuple[int, float]:
    settings = json.loads((student / "config.json").read_text())
    return settings["max_position_embeddings"], settings["rope_parameters"]["rope_theta"]


def problems(folder: Path) -> list[str]:
    return [json.loads(line)["problem"] for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_stage_1_trains_on_every_selected_problem_and_measures_base_and_student(sft: Path) -> None:
    lines = list(read_metrics(sft / "metrics.jsonl"))
    assert [line["batch/sequences"] for line in lines] == [4, 4]
    assert sorted(problems(sft)) == [f"openr1-math-{row}" for row in range(8)]
    summary = json.loads((sft / "summary.json").read_text())
    assert [route["name"] for route in summary["routes"]] == ["base", "sft"]
    assert all(route["accuracy"] is not None for route in summary["routes"])


def test_the_changed_context_is_in_the_base_and_in_every_student_that_comes_of_it(sft: Path, stage_2: dict[str, Path]) -> None:
    folders = [sft / "stages" / "base" / "student", sft / "final", *(folder / "final" for folder in stage_2.values())]
    assert {context(folder) for folder in folders} == {(32_768, 300_000.0)}


def test_all_methods_see_the_same_pairs_in_the_same_order_from_the_same_student(stage_2: dict[str, Path]) -> None:
    assert problems(stage_2["redi"]) == problems(stage_2["dpo"]) == problems(stage_2["simpo"])
    first = {name: next(iter(read_metrics(folder / "metrics.jsonl"))) for name, folder in stage_2.items()}
    for metric in ("logprob/chosen", "logprob/rejected"):
        assert first["dpo"][metric] == first["simpo"][metric] == pytest.approx(first["redi"][metric])
    assert first["redi"]["loss"] == pytest.approx(-first["redi"]["logprob/chosen"] + 0.8 * first["redi"]["logprob/rejected"])


def test_dpos_reference_has_the_changed_context_too(stage_2: dict[str, Path]) -> None:
    """Else it would give other log-probs than the student that it is, and the first loss would not be log 2."""
    first = next(iter(read_metrics(stage_2["dpo"] / "metrics.jsonl")))
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_the_control_gives_the_wrong_trace_no_weight(small: Any, sft: Path, stage_2: dict[str, Path], tmp_path: Path) -> None:
    run("redi", [*small("redi", tmp_path, student=str(sft / "final")), "stages.redi.algorithm.negative_coef=0"])
    assert problems(tmp_path) == problems(stage_2["redi"])
    first = next(iter(read_metrics(tmp_path / "metrics.jsonl")))
    assert first["loss/negative"] == 0 and first["loss"] == pytest.approx(-first["logprob/chosen"])


@pytest.mark.parametrize("change", ["student.model.rope_theta=10000", "student.model.max_context=4096"])
def test_a_run_is_not_continued_with_another_context(small: Any, sft: Path, change: str) -> None:
    key = change.partition("=")[0].replace(".", r"\.")
    with pytest.raises(InputError, match=rf"run_dir: .* holds a run of another recipe \({key} is"):
        run("sft", [*small("sft", sft), change])


def test_a_run_is_not_continued_on_another_base_model(small: Any, tmp_path: Path) -> None:
    model = qwen_folder(tmp_path / "qwen")
    overrides = [*small("sft", tmp_path / "run"), f"student.model.path={model}"]
    run("sft", overrides)
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 1e-5}))
    with pytest.raises(InputError, match="was made with other data at student.model"):
        run("sft", overrides)


def test_the_recipes_of_stage_2_differ_in_nothing_but_the_method_and_its_rate() -> None:
    def rest(name: str) -> Any:
        tree = read_yaml(RECIPES / f"{name}.yaml")
        (stage,) = tree["stages"]
        assert tree.pop("name") == f"redi-stage2-{name}" and stage.pop("name") == name == stage.pop("algorithm")["name"]
        stage["learner"].pop("learning_rate")
        return tree

    assert rest("redi") == rest("dpo") == rest("simpo")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_valid(command: str) -> None:
    _, _, path, *overrides = shlex.split(command)
    load_recipe(RECIPES.parents[1] / path, overrides)


def test_no_two_commands_of_the_readme_share_a_run_folder_and_every_explored_point_has_one() -> None:
    recipes = [load_recipe(RECIPES.parents[1] / path, rest) for _, _, path, *rest in map(shlex.split, COMMANDS)]
    assert len({recipe.folder for recipe in recipes}) == len(recipes)
    points: dict[str, set[tuple[float, ...]]] = {name: set() for name in KNOBS}
    for recipe in recipes:
        (stage,) = recipe.stages
        knobs = [getattr(stage.algorithm, knob) for knob in KNOBS[stage.name]]
        points[stage.name].add((*(knobs or [stage.epochs]), stage.learner.learning_rate))
    assert points == {
        "sft": {(3, 5e-5), (5, 5e-5)},
        "redi": {(0.8, 1e-6), (0, 1e-6), (1, 1e-6), (1, 2e-7), (1, 1e-7), (0.5, 1e-6), (0.5, 2e-6), (0.2, 1e-6)},
        "dpo": {
            *((0.1, rate) for rate in (1e-6, 1e-7, 1e-8)),
            *((beta, rate) for beta in (0.01, 0.001) for rate in (1e-6, 5e-7, 2e-7, 1e-7)),
        },
        "simpo": {(2, 1, 5e-7), (10, 5, 3e-7)},
    }
