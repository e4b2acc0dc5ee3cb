"""The GSM8K recipes on real input, shrunken: what must hold on any student, however small."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rl_distill.algorithms.pairs import contrast_samples
from rl_distill.config import read_yaml
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.problems.gsm8k import Gsm8kSolutions
from rl_distill.recipe import load_recipe
from rl_distill.tracking import read_metrics
from rl_distill.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "RL_DISTILL_DATA" not in os.environ, reason="RL_DISTILL_DATA names no folder with gsm8k_train.jsonl and its solutions"
    ),
]

RECIPES = Path(__file__).resolve().parents[2] / "experiments" / "gsm8k"
ARMS = ("redi", "redi_alpha0", "redi_hot", "dpo", "simpo")
TINY_STUDENT = [
    "student.model.hidden_size=32",
    "student.model.intermediate_size=64",
    "student.model.num_layers=1",
    "student.model.num_heads=2",
    "student.model.num_key_value_heads=2",
    "student.model.tokenizer.vocab_size=400",
    "student.model.tokenizer.texts.num_problems=100",
    "student.model.pretraining.source.problems.num_problems=100",
    "student.model.pretraining.steps=12",
]
SHORT = [
    "stages.sft.source.problems.num_problems=30",
    "evaluation.problems.num_problems=10",
    "evaluation.sampling.max_tokens=16",
    "tracking.console=quiet",
]
SHORT_ROLLOUTS = [
    "stages.grpo.source.problems.num_problems=20",
    "stages.grpo.source.sampling.max_tokens=16",
    "stages.grpo.source.prompts_per_step=2",
    "stages.grpo.source.group_size=4",
    "stages.grpo.steps=2",
]


def run(recipe: str, folder: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary and metrics of a run."""
    summary = train(load_recipe(RECIPES / recipe, [*overrides, f"run_dir={folder}"]), say=lambda line: None)
    return summary, list(read_metrics(folder / "metrics.jsonl"))


def short_pairs(steps: int) -> list[str]:
    """Overrides with which every step of every arm sees the same pairs, so that steps can be compared."""
    pairs = sum(bool(contrast_samples(group)) for group in Gsm8kSolutions(part="train", num_problems=20).groups())
    return [
        f"stages.{stage}.{setting}"
        for stage in ARMS
        for setting in ("source.problems.num_problems=20", f"source.groups_per_step={pairs}", f"epochs={steps}")
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RL_DISTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def redi(cache: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A run folder with its summary and metrics."""
    folder = tmp_path_factory.mktemp("redi")
    return folder, *run("sft_redi.yaml", folder, *TINY_STUDENT, *SHORT, *short_pairs(steps=8))


def test_redi_widens_the_margin_more_than_its_control_which_raises_the_chosen(redi: Any) -> None:
    _, _, metrics = redi
    lines = {stage: [line for line in metrics if line["stage"] == stage] for stage in ("redi", "redi_alpha0")}

    def gain(stage: str, metric: str) -> float:
        return float(lines[stage][-1][metric] - lines[stage][0][metric])

    assert len(lines["redi"]) == len(lines["redi_alpha0"]) == 8
    assert lines["redi"][0]["logprob/margin"] == pytest.approx(lines["redi_alpha0"][0]["logprob/margin"], abs=1e-5)
    assert gain("redi", "logprob/margin") > 0
    assert gain("redi", "logprob/margin") > gain("redi_alpha0", "logprob/margin")
    assert gain("redi", "logprob/rejected") < gain("redi_alpha0", "logprob/rejected")
    assert gain("redi_alpha0", "logprob/chosen") > 0
    assert all(
        line["logprob/margin"] == pytest.approx(line["logprob/chosen"] - line["logprob/rejected"], abs=1e-4)
        for stage in lines.values()
        for line in stage
    )


def test_every_student_is_measured_on_problems_that_no_stage_sees_and_every_answer_gets_a_verdict(redi: Any) -> None:
    folder, summary, _ = redi
    assert [route["name"] for route in summary["routes"]] == ["base", "sft", *ARMS]
    trained_on = {json.loads(line)["problem"] for line in (folder / "ledger.jsonl").read_text().splitlines()}
    for route in summary["routes"]:
        result = json.loads((folder / "stages" / route["name"] / "result.json").read_text())["evaluation"]
        answers = [json.loads(line) for line in (folder / "stages" / route["name"] / "evaluation.jsonl").read_text().splitlines()]
        assert (result["num_problems"], result["unverifiable"], len(answers)) == (10, 0, 20)
        assert {answer["verdict"] for answer in answers} <= {"correct", "wrong"}
        assert not trained_on & {answer["problem"] for answer in answers}


def test_grpo_takes_the_pretrained_student_from_the_cache_and_grades_what_it_samples(redi: Any, tmp_path: Path) -> None:
    said: list[str] = []
    overrides = [*TINY_STUDENT, *SHORT, *SHORT_ROLLOUTS, f"run_dir={tmp_path}"]
    train(load_recipe(RECIPES / "grpo.yaml", overrides), say=said.append)
    assert any("taken from the cache" in line for line in said)
    steps = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["stage"] == "grpo"]
    assert len(steps) == 2
    for line in steps:
        assert line["rollout/unverifiable"] == 0
        assert 0 <= line["group/zero_variance_fraction"] <= 1
        assert line["reward/mean"] == pytest.approx(line["reward/accuracy"] + 0.1 * line["reward/format"])


def test_every_arm_takes_the_same_pairs_in_the_same_order(redi: Any) -> None:
    folder, _, _ = redi
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    orders = {arm: [line["problem"] for line in ledger if line["stage"] == arm] for arm in ARMS}
    assert len(orders["redi"]) > 8 and all(order == orders["redi"] for order in orders.values())


@pytest.mark.parametrize("recipe", ["sft_redi.yaml", "grpo.yaml"])
def test_a_model_folder_takes_the_place_of_the_student_that_is_built(recipe: str, tmp_path: Path) -> None:
    texts = [group.problem.prompt for group in Gsm8kSolutions(num_problems=50).groups()]
    tokenizer = byte_bpe_tokenizer(texts, 400)
    student = Architecture(seed=7, hidden_size=32, intermediate_size=64, num_layers=1, max_context=768).build(tokenizer)
    save_pretrained(student, tokenizer, tmp_path / "model")
    short = [*SHORT, *(short_pairs(steps=1) if recipe == "sft_redi.yaml" else SHORT_ROLLOUTS)]
    summary, _ = run(recipe, tmp_path / "run", f"student.model={tmp_path / 'model'}", *short)
    assert summary["routes"][0]["name"] == "base" and summary["routes"][0]["seconds"] == 0
    saved = json.loads((tmp_path / "run" / "final" / "config.json").read_text())
    assert (saved["hidden_size"], saved["num_hidden_layers"]) == (32, 1)


@pytest.mark.parametrize("other", ["grpo.yaml", "preference_rates.yaml"])
def test_all_recipes_build_the_same_student(other: str) -> None:
    assert read_yaml(RECIPES / other)["student"] == read_yaml(RECIPES / "sft_redi.yaml")["student"]


def test_the_baselines_run_at_the_rates_that_were_best_of_three() -> None:
    swept, used = (load_recipe(RECIPES / f"{name}.yaml").stages for name in ("preference_rates", "sft_redi"))
    for method in ("dpo", "simpo"):
        (best,) = [stage for stage in swept if stage.name == f"{method}_middle"]
        (arm,) = [stage for stage in used if stage.name == method]
        assert (arm.algorithm, arm.learner) == (best.algorithm, best.learner)
