"""The three kinds of student, and the cache of pretrained ones: another key for everything that makes another student."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_qwen import qwen_folder

from rl_distill.config import dump, parse
from rl_distill.errors import InputError
from rl_distill.models.pretrained import PretrainedModel
from rl_distill.training.student import SeededModel, Student, cache_folder, prompter

ROW = {"question": "How much is 1 + 1?", "answer": "1 + 1 = 2\n#### 2"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RL_DISTILL_DATA", str(tmp_path))


def student(problems: dict[str, Any], **architecture: Any) -> Student:
    source = {"name": "dataset", "problems": problems}
    pretraining = {"algorithm": {"name": "sft"}, "source": source, "steps": 1}
    return parse(Student, {"model": {"tokenizer": {"name": "arithmetic"}, "pretraining": pretraining, **architecture}})


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_same_recipe_and_data_have_the_same_folder(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k_train.jsonl", ROW)
    assert cache_folder(student({"name": "gsm8k"})) == cache_folder(student({"name": "gsm8k"}))


def test_another_recipe_has_another_folder() -> None:
    assert cache_folder(student({"name": "arithmetic"})) != cache_folder(student({"name": "arithmetic"}, seed=1))


@pytest.mark.parametrize("place", ["the data folder", "a path"])
@pytest.mark.parametrize("role", ["pretraining", "tokenizer"])
def test_changed_data_has_another_folder(tmp_path: Path, place: str, role: str) -> None:
    path = write(tmp_path / "gsm8k_train.jsonl", ROW)
    problems = {"name": "gsm8k", **({"path": path} if place == "a path" else {})}
    if role == "tokenizer":
        recipe = student({"name": "arithmetic"}, tokenizer={"name": "byte_bpe", "texts": problems})
    else:
        recipe = student(problems)
    before = cache_folder(recipe)
    write(tmp_path / "gsm8k_train.jsonl", {**ROW, "question": "How much is 2?"})
    assert cache_folder(recipe) != before
    write(tmp_path / "gsm8k_train.jsonl", ROW)
    assert cache_folder(recipe) == before


@pytest.mark.parametrize(
    ("name", "row"), [("jsonl", {"prompt": "1 + 1?", "answer": "2"}), ("trl", {"prompt": "1 + 1?", "completion": "2"})]
)
def test_changed_rows_of_a_users_own_file_have_another_folder(tmp_path: Path, name: str, row: dict[str, str]) -> None:
    recipe = student({"name": name, "path": write(tmp_path / "own.jsonl", row)})
    before = cache_folder(recipe)
    write(tmp_path / "own.jsonl", {**row, "prompt": "2?"})
    assert cache_folder(recipe) != before


def test_code_that_makes_the_student_is_part_of_its_key(monkeypatch, tmp_path):
    """An edited teacher makes another corpus: the cached student of the old one must not come back."""
    import shutil

    from rl_distill.training import student as module

    copy = tmp_path / "package"
    shutil.copytree(module.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    before = module.code_digest()
    (copy / "cli.py").write_text("# nothing that a student depends on\n")
    assert module.code_digest() == before
    teacher = copy / "problems" / "arithmetic_teacher.py"
    teacher.write_text(teacher.read_text() + "\n# other habits\n")
    assert module.code_digest() != before


BUILT = {"tokenizer": {"name": "arithmetic"}}
CHANGED = {"path": "Qwen/Qwen2.5-Math-1.5B", "max_context": 32_768, "rope_theta": 300_000}


@pytest.mark.parametrize(
    ("model", "kind"),
    [("Qwen/Qwen2.5-Math-1.5B", str), (CHANGED, PretrainedModel), ({"tokenizer": {"name": "arithmetic"}}, SeededModel)],
)
def test_a_name_a_path_with_changes_and_a_model_to_build_are_told_apart(model: Any, kind: type) -> None:
    student = parse(Student, {"model": model})
    assert isinstance(student.model, kind)
    assert parse(Student, dump(student)) == student


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**CHANGED, "rope_tetha": 1}, "model.rope_tetha: is not a known key; did you mean 'rope_theta'"),
        ({**CHANGED, **BUILT}, "model.tokenizer: is not a known key; known here: path, max_context"),
        (
            {"tokenizer": {"name": "arithmetic"}, "hiden_size": 1},
            "model.hiden_size: is not a known key; did you mean 'hidden_size'",
        ),
        ({**CHANGED, "max_context": "long"}, "model.max_context: is 'long'; give a whole number"),
        ({**CHANGED, "rope_theta": 0}, "model.rope_theta: is 0; give a number above 0"),
    ],
)
def test_a_wrong_key_is_named_among_those_of_its_own_kind(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(Student, {"model": model})


def test_the_students_context_is_the_changed_one(tmp_path: Path) -> None:
    path = str(qwen_folder(tmp_path / "model"))
    given = parse(Student, {"model": {"path": path, "max_context": 32_768}})
    assert (prompter(given).max_context, prompter(parse(Student, {"model": path})).max_context) == (32_768, 64)
