"""A stage as numbers: what the recipe says, by hand."""

import pytest
from probed_problems import DIALOGUE, held_dialogues, probed, write_groups
from tiny_runs import CONSTANT_RATE, rolled_out, taught, tiny_student
from transformers import AutoConfig

from rl_distill.cluster.settings import LearnerPlaces
from rl_distill.config import parse
from rl_distill.planning.hardware import gpu
from rl_distill.planning.layout import Layout, credit_seconds
from rl_distill.planning.lengths import assumed
from rl_distill.planning.workload import Workload, student_shape, workload
from rl_distill.recipe import Recipe
from rl_distill.rollout.dialogue import DialogueConfig
from rl_distill.training.flops import sampled_flops, trained_flops
from rl_distill.training.student import prompter
from rl_distill.training.work_counts import added, row_work, sampling_work
from rl_distill.trajectory import Trajectory


def work(stage, *, prompt=7, student=None, **changes) -> Workload:
    recipe = parse(Recipe, {"name": "tiny", "student": student or tiny_student(), "stages": [stage], **changes})
    made = prompter(recipe.student)
    shape = student_shape(recipe, made.tokenizer)

    def lengths_of(stage, live, longest):
        return assumed(longest)

    return workload(recipe, recipe.stages[0], shape, lengths_of, prompt=prompt, context=made.max_context)


def test_every_attempt_is_sampled_and_trained_on_behind_its_prompt():
    found = work(rolled_out())
    assert len(found.responses) == 2 * 3 and found.group_size == 3 and found.longest == 7 + 12
    assert sorted(found.units) == sorted(((7 + tokens, tokens),) for tokens in found.responses)
    assert found.steps == 2 and found.scored == () and found.online


def test_a_pair_is_two_rows_of_one_unit_and_nothing_is_sampled():
    found = work(taught("redi"))
    assert [len(unit) for unit in found.units] == [2, 2] and not found.online
    assert [len(unit) for unit in work(taught("sft")).units] == [1, 1]


def test_a_reference_passes_over_all_rows():
    for stage in (taught("dpo"), rolled_out(algorithm={"name": "grpo", "kl_coef": 0.1})):
        found = work(stage)
        assert [(model.name, model.shape, model.assumed) for model in found.scored] == [("reference", found.shape, "")]


def test_a_teacher_counts_with_its_own_size_where_its_configuration_can_be_read(tmp_path):
    distilled = rolled_out(algorithm={"name": "opd"})
    settings = AutoConfig.for_model(
        "qwen2",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=48,
    )
    settings.save_pretrained(tmp_path / "teacher")
    itself, large, unknown = (
        work(distilled, teacher=name) for name in ("base", str(tmp_path / "teacher"), str(tmp_path / "none"))
    )
    (teacher,) = large.scored
    assert (teacher.shape.layers, teacher.shape.hidden, teacher.assumed) == (4, 64, "")
    assert teacher.shape.body == 4 * (4 * 64 * 64 + 3 * 64 * 128)
    assert unknown.scored[0].shape == unknown.shape and "cannot be read" in unknown.scored[0].assumed
    alone = Layout(engines=1, learner=LearnerPlaces(), scorers=0, local=True)
    seconds = [credit_seconds(found, alone, gpu("H100")) for found in (itself, unknown, large)]
    assert 0 < seconds[0] == seconds[1] < seconds[2]


def test_a_token_budget_and_epochs_tell_the_number_of_steps():
    budget = {**rolled_out(learner={**CONSTANT_RATE, "warmup_steps": 0}), "max_generated_tokens": 100}
    del budget["steps"]
    found = work(budget)
    assert found.steps == -(-100 // found.sampled_tokens)
    thrice = {**taught(), "epochs": 3}
    del thrice["steps"]
    assert work(thrice).steps == 3 * 8 // 2


@pytest.mark.parametrize("made", [rolled_out, taught])
def test_a_length_in_trained_tokens_or_flops_is_a_number_of_steps(made):
    stage = made(learner={**CONSTANT_RATE, "warmup_steps": 0})
    del stage["steps"]
    found = work({**stage, "max_trained_tokens": 1000})
    assert found.steps == -(-1000 // found.trained_tokens)
    assert work({**stage, "max_flops": 2.5 * found.flops}).steps == 3


def test_the_flops_of_a_step_are_those_that_the_run_counts():
    """Of attempts and rows of these very lengths."""
    found = work(rolled_out())
    prompts = [(9,) * 6 + (place,) for place in (0, 0, 0, 1, 1, 1)]
    attempts = [
        Trajectory(
            problem_id="p",
            messages=(),
            token_ids=(*prompt, *[1] * tokens),
            sampled=(False,) * len(prompt) + (True,) * tokens,
            model="m",
            origin="policy",
        )
        for prompt, tokens in zip(prompts, found.responses, strict=True)
    ]
    counted = added([sampling_work(attempts), row_work("training", attempts)])
    expected = sampled_flops(found.shape, counted) + trained_flops(found.shape, counted, checkpointing=False)
    assert found.flops == pytest.approx(expected)


def test_without_a_word_on_prompts_they_leave_the_longest_response_its_room():
    assert work(rolled_out(), prompt=None).prompt == 160 - 12


def test_the_shape_is_the_students():
    shape = work(rolled_out()).shape
    assert (shape.layers, shape.hidden, shape.intermediate, shape.vocabulary) == (1, 16, 32, 48)
    head, body = 48 * 16, 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32
    assert (shape.head, shape.body) == (head, body) and shape.size.trained == head + body + 3 * 16
    assert shape.outgoing_bytes == 4 * shape.size.trained and shape.keys == 8


def test_adapters_travel_alone():
    pytest.importorskip("peft", reason="peft is in the lora extra")
    student = tiny_student() | {"lora": {"rank": 2}}
    del student["model"]["pretraining"]
    plain, low_rank = work(rolled_out()).shape, work(rolled_out(), student=student).shape
    assert low_rank.size.frozen == plain.size.trained and low_rank.body == plain.body
    assert low_rank.outgoing_bytes == 4 * low_rank.size.trained < plain.outgoing_bytes


def test_dialogues_cost_a_turn_for_each_probe_an_answer_and_their_branches(tmp_path):
    path = write_groups(tmp_path / "probed.jsonl", probed(2))
    found = work(held_dialogues(path, dialogue={"num_probes": 5, "reply_tokens": 6, "branches": {"partial": 1}}), prompt=4)
    dialogues = 2 * 2
    assert len(found.responses) == dialogues * (5 + 1) + dialogues == sum(len(wave.responses) for wave in found.waves)
    assert [len(wave.responses) for wave in found.waves] == [dialogues] * 5 + [2 * dialogues]
    assert [wave.group_size for wave in found.waves] == [2, 1, 1, 1, 1, 1], "the first probe alone is the same for a group"
    before = [wave.prompt for wave in found.waves]
    assert before[0] == 4 and before[:5] == sorted(set(before[:5])) and found.longest == 6 * 4 + 5 * 6 + 12
    assert found.sampled_tokens == sum(found.responses)
    full, partial = found.units[0][0], found.units[2][0]
    assert full[0] > partial[0] and full[1] > partial[1], "a shorter dialogue is a shorter row"
    assert len(found.units) == 2 * dialogues


def test_controls_are_sampled_and_not_trained_on(tmp_path):
    path = write_groups(tmp_path / "probed.jsonl", probed(2))
    found = work(held_dialogues(path))
    dialogues = 2 * 2
    assert len(found.responses) == dialogues * parse(DialogueConfig, DIALOGUE).turns_per_dialogue
    assert len(found.units) == dialogues * 3, "full, partial and direct"
