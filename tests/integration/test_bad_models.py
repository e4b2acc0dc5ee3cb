"""A student or reference whose tokens would mean something else than they seem to ends with exit code 2 before the run."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from tiny_qwen import qwen_tokenizer
from tiny_runs import rolled_out, taught

from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.text import end_of_turn_ids
from rl_distill.tracking import read_metrics

SMALL = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, num_key_value_heads=1, max_context=160)
OPENER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
NEVER_CLOSED = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}" + OPENER
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
CHATML = arithmetic_tokenizer().chat_template


def model_folder(folder: Path, tokenizer: Any, *, rows: int = 0, **changes: Any) -> str:
    """A saved model of `tokenizer`'s size, or with more rows; `changes` are made to the tokenizer before it is saved."""
    model = SMALL.build(tokenizer)
    if rows:
        model.resize_token_embeddings(rows)
    save_pretrained(model, tokenizer, folder)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return str(folder)


def reordered_tokenizer() -> Any:
    """The same tokens, two of them with each other's id."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(arithmetic_tokenizer().backend_tokenizer.to_str())
    words = state["model"]["vocab"]
    words["3"], words["4"] = words["4"], words["3"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|im_end|>", pad_token="<pad>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chat_template": None}, "has no chat template; set one and save it again"),
        ({"eos_token": None}, "has no EOS token; set `eos_token` and save it again"),
        ({"eos_token": None, "pad_token": None}, "has no EOS token; set `eos_token` and save it again"),
        (
            {"chat_template": NEVER_CLOSED},
            "closes an assistant turn with no special token, so there is nothing to stop at",
        ),
        ({"chat_template": "{% for m in messages %}"}, "its chat template refuses a conversation of user, assistant (Unexpected"),
    ],
    ids=["no template", "no EOS", "neither EOS nor pad", "turns without an end", "broken template"],
)
@pytest.mark.parametrize("stage", [taught, rolled_out], ids=["teacher data", "rollouts"])
def test_a_tokenizer_that_lacks_something_is_refused_before_the_run(stage, changes, message, tiny_recipe, tmp_path, cli):
    student = model_folder(tmp_path / "model", arithmetic_tokenizer(), **changes)
    recipe = tiny_recipe(stage(), student={"model": student})
    found = refused(cli("train", recipe.path))
    assert found.startswith("student.model: ") and message in found
    assert not (recipe.run_dir / "stages").exists() or not any((recipe.run_dir / "stages").iterdir())


def test_a_system_turn_that_the_template_refuses_is_named(tiny_recipe, tmp_path, cli):
    student = {"model": model_folder(tmp_path / "model", qwen_tokenizer(), chat_template=NO_SYSTEM + CHATML)}
    recipe = tiny_recipe(rolled_out(), student=student | {"prompt": {"system": "think"}})
    found = refused(cli("train", recipe.path))
    assert "refuses a conversation of system, user (System role not supported); drop student.prompt.system" in found
    recipe.change(student=student)
    assert cli("train", recipe.path)[0] == 0


def test_without_a_pad_token_eos_pads(tiny_recipe, tmp_path, cli):
    student = model_folder(tmp_path / "model", arithmetic_tokenizer(), pad_token=None)
    recipe = tiny_recipe(taught(), rolled_out(), student={"model": student})
    assert cli("train", recipe.path)[0] == 0


def test_a_base_model_whose_eos_is_not_its_end_of_turn_trains_and_says_where_it_stops(tiny_recipe, tmp_path, cli):
    """Qwen2.5-Math: the template closes turns with <|im_end|>, the tokenizer's EOS is <|endoftext|>."""
    tokenizer = qwen_tokenizer()
    recipe = tiny_recipe(taught(), rolled_out(), student={"model": model_folder(tmp_path / "model", tokenizer)})
    assert cli("train", recipe.path)[0] == 0
    saved = json.loads((recipe.run_dir / "final" / "generation_config.json").read_text())
    names = tokenizer.convert_ids_to_tokens(saved["eos_token_id"])
    assert sorted(names) == ["<|endoftext|>", "<|im_end|>"] and tuple(saved["eos_token_id"]) == end_of_turn_ids(tokenizer)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_recipe, tmp_path, cli):
    tokenizer = arithmetic_tokenizer()
    student = model_folder(tmp_path / "model", tokenizer)
    tokenizer.add_tokens(["extra"])
    tokenizer.save_pretrained(student)
    found = refused(cli("train", tiny_recipe(student={"model": student}).path))
    assert found.startswith(
        "student.model: it has embeddings for 48 tokens, and the student's tokenizer has the id 48 ('extra');"
    )


def test_a_reference_with_another_vocabulary_is_refused_before_the_run(tiny_recipe, tmp_path, cli):
    references = {
        "reordered": (
            reordered_tokenizer(),
            "is '3' to the student and '4' there; take a reference with the student's",
        ),
        "another": (qwen_tokenizer(), "has another vocabulary than the student: id 3 is 'user' to the student and '!' there"),
    }
    for name, (tokenizer, message) in references.items():
        reference = model_folder(tmp_path / name, tokenizer)
        recipe = tiny_recipe(taught("dpo"), reference=reference)
        found = refused(cli("train", recipe.path))
        assert found.startswith(f"reference: {reference!r} has another vocabulary") and message in found
        assert not (recipe.run_dir / "stages").exists() or not any((recipe.run_dir / "stages").iterdir())


def test_a_teacher_with_another_vocabulary_is_refused_before_the_run(tiny_recipe, tmp_path, cli):
    teacher = model_folder(tmp_path / "reordered", reordered_tokenizer())
    recipe = tiny_recipe(taught("kd"), teacher=teacher)
    found = refused(cli("train", recipe.path))
    assert found.startswith(f"teacher: {teacher!r} has another vocabulary than the student") and "take a teacher with" in found
    assert not (recipe.run_dir / "stages").exists() or not any((recipe.run_dir / "stages").iterdir())


def test_a_teacher_with_spare_rows_teaches_no_token_that_the_student_lacks(tiny_recipe, tmp_path, cli):
    padded = model_folder(tmp_path / "padded", arithmetic_tokenizer(), rows=64)
    recipe = tiny_recipe(taught("kd"), teacher=padded)
    assert cli("train", recipe.path)[0] == 0
    for line in read_metrics(recipe.run_dir / "metrics.jsonl"):
        assert line["stage"] != "kd" or line["distillation/candidate_mass"] == pytest.approx(1, abs=1e-5)


def test_a_reference_without_a_tokenizer_is_taken_at_its_size_and_one_with_spare_rows_is_fine(tiny_recipe, tmp_path, cli):
    fewer = SMALL.build(arithmetic_tokenizer())
    fewer.resize_token_embeddings(40)
    fewer.save_pretrained(tmp_path / "fewer")
    recipe = tiny_recipe(taught("dpo"), reference=str(tmp_path / "fewer"))
    found = refused(cli("train", recipe.path))
    assert found.startswith("reference: it has embeddings for 40 tokens, and the student's tokenizer has the id 47 ('19');")
    SMALL.build(arithmetic_tokenizer()).save_pretrained(tmp_path / "bare")
    assert cli("train", recipe.path, f"reference={tmp_path / 'bare'}")[0] == 0
    padded = model_folder(tmp_path / "padded", arithmetic_tokenizer(), rows=64)
    assert cli("train", recipe.path, f"reference={padded}", f"run_dir={tmp_path / 'other'}")[0] == 0
