"""Which stages of two recipes are the same stage."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tiny_qwen import qwen_folder
from tiny_runs import rolled_out, taught, tiny_student, write_recipe

from rl_distill.recipe import load_recipe
from rl_distill.training import fingerprint, source_files
from rl_distill.training.fingerprint import run_digests
from rl_distill.training.shared_stages import stage_keys


@pytest.fixture
def keys(tmp_path: Path):
    def of(*overrides: str) -> dict[str, str]:
        path = write_recipe(tmp_path, taught("sft"), taught("redi"), rolled_out(start="sft")).path
        return stage_keys(load_recipe(path, overrides))

    return of


def same(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name in one if one[name] == other[name]}


def test_a_change_reaches_its_own_stage_and_those_after_it(keys) -> None:
    assert same(keys(), keys()) == {"base", "sft", "redi", "grpo"}
    assert same(keys(), keys("stages.redi.algorithm.negative_coef=0.3")) == {"base", "sft"}
    assert same(keys(), keys("stages.grpo.steps=9")) == {"base", "sft", "redi"}
    assert same(keys(), keys("stages.sft.source.problems.num_problems=7")) == {"base"}


@pytest.mark.parametrize("override", ["seed=1", "student.model.hidden_size=32", "engine.shard_size=3", "name=other"])
def test_what_all_stages_depend_on_changes_all(keys, override: str) -> None:
    assert same(keys(), keys(override)) == set()


@pytest.mark.parametrize(
    "override", ["run_dir=elsewhere", "tracking.console=plain", "tracking.wandb={mode: offline}", "checkpoints.every_steps=7"]
)
def test_what_nothing_depends_on_changes_none(keys, override: str) -> None:
    assert same(keys(), keys(override)) == {"base", "sft", "redi", "grpo"}


def test_a_start_that_is_spelled_out_is_the_one_that_is_meant(keys) -> None:
    assert same(keys(), keys("stages.sft.start=base", "stages.redi.start=sft")) == {"base", "sft", "redi", "grpo"}


def test_other_data_makes_another_stage(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = '{"problem": "1 + 1 = ?", "answer": "2", "solution": "1 + 1 = 2 \\\\boxed{2}"}\n'
    stage = taught("redi", source={"name": "dataset", "problems": {"name": "jsonl", "path": str(rows)}})
    recipe = load_recipe(write_recipe(tmp_path, taught("sft"), stage).path)
    rows.write_text(line)
    before = stage_keys(recipe)
    rows.write_text(line * 2)
    assert same(before, stage_keys(recipe)) == {"base", "sft"}


def test_weights_of_another_content_are_another_student_though_they_have_the_same_size(tmp_path: Path, monkeypatch) -> None:
    folder = qwen_folder(tmp_path / "model")
    weights = folder / "model.safetensors"
    content = weights.read_bytes() + b" " * 2**20
    weights.write_bytes(content)
    recipe = load_recipe(write_recipe(tmp_path, student={"model": str(folder)}).path)
    before, keys_before = run_digests(recipe), stage_keys(recipe)
    weights.write_bytes(content[:-1] + b"x")
    assert run_digests(recipe).keys() == before.keys() == {"student.model.files"}
    assert run_digests(recipe) != before and not same(keys_before, stage_keys(recipe))
    monkeypatch.setattr(source_files.hashlib, "file_digest", lambda *_: pytest.fail("it is read again"))
    assert run_digests(recipe) != before


OWN = """
from typing import Literal
from rl_distill.algorithms import Sft
from rl_distill.config import config

@config
class Mine(Sft):
    name: Literal["MODULE:Mine"] = "MODULE:Mine"

def paid(completions, **columns):
    return [WORTH for _ in completions]
"""


@pytest.mark.parametrize("role", ["algorithm", "reward"])
def test_code_of_a_users_own_is_part_of_the_stages_that_use_it(tmp_path: Path, monkeypatch, role: str) -> None:
    module = f"my_own_{role}"
    file = tmp_path / f"{module}.py"
    file.write_text(OWN.replace("MODULE", module).replace("WORTH", "1.0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    last = rolled_out()
    last["source"]["rewards"] = [{"name": "trl_function", "function": f"{module}.paid"}]
    if role == "algorithm":
        last = taught("own", algorithm={"name": f"{module}:Mine"})
    path = write_recipe(tmp_path, taught("sft"), last).path
    before = stage_keys(load_recipe(path))
    file.write_text(OWN.replace("MODULE", module).replace("WORTH", "2.0"))
    assert same(before, stage_keys(load_recipe(path))) == {"base", "sft"}


def test_another_revision_of_a_hub_model_is_another_student(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    recipe = load_recipe(write_recipe(tmp_path, student={"model": "someone/model"}).path)
    found = [stage_keys(recipe)]
    for commit in ("a" * 40, "b" * 40):
        snapshot = tmp_path / "models--someone--model" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        ref = snapshot.parents[1] / "refs" / "main"
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(commit)
        found.append(stage_keys(recipe))
    assert len({keys["base"] for keys in found}) == 3
    assert run_digests(recipe) == {}, "a run goes on when the hub has another one"


def test_a_gpu_and_the_libraries_that_are_used_make_other_stages(keys, tmp_path: Path, monkeypatch) -> None:
    recipe = load_recipe(write_recipe(tmp_path, student={**tiny_student(), "lora": {"rank": 2}}).path)
    before = stage_keys(recipe, gpu=False)
    assert not same(before, stage_keys(recipe, gpu=True))
    without = keys()
    monkeypatch.setattr(fingerprint, "installed", lambda name: f"another {name}")
    assert not same(before, stage_keys(recipe, gpu=False)) and same(without, keys()) == set(without)
