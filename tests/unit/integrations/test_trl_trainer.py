"""The trainer beside its loss: callbacks, adapters, checkpoints, evaluation, the log, and what it refuses."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="accelerate is in the trl extra")

from transformers import EarlyStoppingCallback, TrainerCallback
from trl_door import TOKENIZER, Whitened, pair_rows, small_model, table, trainer, training_log, weights

from rl_distill.algorithms import Dpo, Redi, Sft, Simpo
from rl_distill.errors import InputError, RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.text import PromptFormat
from rl_distill.tracking.metric_names import explain

peft = pytest.importorskip("peft", reason="peft is in the trl extra")


def lora(**changes: Any) -> Any:
    return peft.LoraConfig(**({"r": 2, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | changes))


class Events(TrainerCallback):
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.logs: list[dict[str, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen["step"] += 1

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        self.seen["substep"] += 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logs.append(dict(logs))


def test_callbacks_are_called_and_are_given_the_algorithms_metrics(tmp_path: Path) -> None:
    events = Events()
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    trainer(tmp_path, Redi(), args=cut, callbacks=[events]).train()
    assert events.seen == {"step": 3, "substep": 3}
    assert events.logs[0]["loss"] == pytest.approx(events.logs[0]["loss/positive"] + events.logs[0]["loss/negative"], abs=1e-6)


def test_the_callbacks_of_trl_work_as_they_are(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is in the trl extra")
    rows, args = table(pair_rows(3)), {"eval_strategy": "epoch"}
    door = trainer(tmp_path, Redi(), args=args, callbacks=[trl.RichProgressCallback()], eval_dataset=rows)
    door.train()
    assert any("eval_logprob/margin" in line for line in door.state.log_history)


def test_a_line_of_the_log_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    """Each step's metrics are the sums over its micro-batches; a step is not weighted by its size."""
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    every, third = (trainer(tmp_path, Whitened(), args={**cut, "logging_steps": steps}) for steps in (1, 3))
    every.train()
    third.train()
    lines, (line,) = training_log(every), training_log(third)
    for path in ("loss", "logprob/chosen", "reward/mean", "batch/tokens", "credit/positive"):
        assert line[path] == pytest.approx(sum(one[path] for one in lines) / 3, rel=1e-5), path
    assert [one["reward/rows"] for one in lines] == [8, 8, 8]


def test_every_metric_of_the_log_is_explained(tmp_path: Path) -> None:
    door = trainer(tmp_path, Redi())
    door.train()
    own = {"grad_norm", "learning_rate", "epoch", "step"}  # transformers' own
    assert [path for path in training_log(door)[0].keys() - own if explain(path) is None] == []


@pytest.mark.parametrize("algorithm", [Redi(), Dpo()])
def test_adapters_alone_are_trained_and_saved(tmp_path: Path, algorithm: Any) -> None:
    model = small_model()
    before = weights(model)
    door = trainer(tmp_path, algorithm, model=model, peft_config=lora(), args={"gradient_checkpointing": True})
    start = weights(door.model)
    door.train()
    taught = weights(door.model)
    changed = {name for name in taught if not torch.equal(taught[name], start[name])}
    assert changed == {name for name in taught if "lora_" in name}
    base = [tensor for name, tensor in taught.items() if "lora_" not in name]
    assert all(any(torch.equal(tensor, old) for old in before.values()) for tensor in base)
    door.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "saved" / "model.safetensors").exists()


@pytest.mark.parametrize("algorithm", [Sft(), Redi(), Simpo()])
def test_the_gradient_of_adapters_is_the_learners(tmp_path: Path, algorithm: Any) -> None:
    """One step of each from the same adapters, which are not at their neutral start."""
    models = [small_model() for _ in range(2)]
    adapted = []
    for model in models:
        torch.manual_seed(1)
        adapted.append(peft.get_peft_model(model, lora(init_lora_weights=False)))
    door = trainer(
        tmp_path, algorithm, model=adapted[0], args={"per_device_train_batch_size": 5, "gradient_accumulation_steps": 3}
    )
    door.train()
    config = LearnerConfig(learning_rate=door.args.learning_rate, schedule="constant", warmup_steps=0)
    learner = LocalLearner(adapted[1].get_base_model(), TOKENIZER, algorithm, config)
    rows = door.train_dataset
    metrics = learner.step([sample for index in range(len(rows)) for sample in rows[index]]).metrics
    assert training_log(door)[0]["loss"] == pytest.approx(metrics["loss"], abs=1e-6)
    taught = weights(adapted[1])
    for name, tensor in weights(adapted[0]).items():
        torch.testing.assert_close(tensor, taught[name], atol=1e-6, rtol=0)


def test_new_adapters_are_a_function_of_the_seed(tmp_path: Path) -> None:
    one, same, other = (weights(trainer(tmp_path, Sft(), peft_config=lora(), args={"seed": seed}).model) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_with_new_adapters_the_reference_is_the_model_without_them(tmp_path: Path) -> None:
    losses = []
    for reference in (None, small_model()):
        door = trainer(tmp_path, Dpo(), peft_config=lora(), reference=reference)
        door.train()
        losses.append([line["loss"] for line in training_log(door)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0][0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[0][-1] != pytest.approx(0.693147, abs=1e-3)


def test_adapters_that_came_with_the_model_are_part_of_the_reference(tmp_path: Path) -> None:
    model = peft.get_peft_model(small_model(), lora(init_lora_weights=False))
    door = trainer(tmp_path, Dpo(), model=model)
    door.train()
    losses = [line["loss"] for line in training_log(door)]
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] != pytest.approx(0.693147, abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"peft_config": lora()}], ids=["whole", "adapters"])
@pytest.mark.parametrize("algorithm", [Redi(), Dpo()])
def test_a_checkpoint_of_the_trainer_is_gone_on_from(tmp_path: Path, algorithm: Any, options: Any) -> None:
    """Shuffled data, a falling rate, and for DPO a reference that is not the checkpoint."""
    args = {"train_sampling_strategy": "random", "lr_scheduler_type": "linear", "save_strategy": "steps", "save_steps": 1}
    whole = trainer(tmp_path / "whole", algorithm, args=args, **options)
    whole.train()
    resumed = trainer(tmp_path / "resumed", algorithm, args=args, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 3
    expected = weights(whole.model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed.model).items())
    assert training_log(resumed)[-1]["loss"] == training_log(whole)[-1]["loss"]


@pytest.mark.parametrize("size", [1, 4, 5])
def test_an_evaluation_is_of_the_whole_set_whatever_the_batch(tmp_path: Path, size: int) -> None:
    rows = pair_rows(5)
    door = trainer(tmp_path, Redi(), eval_dataset=rows, args={"per_device_eval_batch_size": size})
    found = door.evaluate()
    learner = LocalLearner(small_model(), TOKENIZER, Redi(), LearnerConfig(schedule="constant", warmup_steps=0))
    samples = [sample for index in range(5) for sample in door.eval_dataset[index]]
    metrics = learner.step(samples).metrics
    for path in ("loss", "loss/negative", "logprob/margin", "preference/accuracy", "policy/entropy"):
        assert found[f"eval_{path}"] == pytest.approx(metrics[path], abs=2e-6), path


def test_evaluations_of_several_sets_stop_the_training_and_bring_the_best_model_back(tmp_path: Path) -> None:
    args = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_hard_loss",
        "greater_is_better": True,  # which learning makes worse, so that the first step is the best
        "num_train_epochs": 3,
    }
    stop = EarlyStoppingCallback(early_stopping_patience=2)
    sets = {"hard": pair_rows(3), "easy": pair_rows(2)}
    door = trainer(tmp_path, Sft(), eval_dataset=sets, args=args, callbacks=[stop])
    door.train()
    evaluations = [line["eval_hard_loss"] for line in door.state.log_history if "eval_hard_loss" in line]
    assert len(evaluations) == door.state.global_step == 3
    assert door.evaluate(pair_rows(3))["eval_loss"] == pytest.approx(evaluations[0], abs=1e-6)


def test_groups_that_teach_nothing_or_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*pair_rows(6), {"prompt": "1 + 1 = ?", "completion": "\\boxed{2}"}, {"prompt": "1 + 2 = ?"}]
    door = trainer(tmp_path, Redi(), rows)
    assert len(door.train_dataset) == 6
    door.train()
    assert training_log(door)[0]["group/left_out"] == 2
    lengths = [max(len(sample.trajectory.token_ids) for sample in door.train_dataset[index]) for index in range(6)]
    shorter = trainer(tmp_path, Redi(), rows, max_tokens=max(lengths) - 1)
    assert len(shorter.train_dataset) == sum(length < max(lengths) for length in lengths)


def test_data_can_be_read_by_other_processes(tmp_path: Path) -> None:
    losses = []
    for workers in (0, 1):
        door = trainer(tmp_path, Redi(), args={"dataloader_num_workers": workers})
        door.train()
        losses.append([line["loss"] for line in training_log(door)])
    assert losses[0] == losses[1]


def test_bfloat16_follows_float32(tmp_path: Path) -> None:
    losses = []
    for bf16 in (False, True):
        door = trainer(tmp_path, Dpo(), reference=small_model(1), args={"bf16": bf16})
        door.train()
        losses.append([line["loss"] for line in training_log(door)])
        assert all(tensor.dtype == torch.float32 for tensor in weights(door.model).values())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_the_prompt_is_worded_as_the_prompt_format_has_it(tmp_path: Path) -> None:
    plain, asked = (trainer(tmp_path, Sft(), prompt=form) for form in (None, PromptFormat(instruction="why ?")))
    lengths = [len(one.train_dataset[0][0].trajectory.token_ids) for one in (plain, asked)]
    assert lengths[1] == lengths[0] + 2


def test_the_model_answers_as_ever_when_it_is_called_by_others(tmp_path: Path) -> None:
    ids = torch.tensor([[1, 5, 6, 7]])
    model = small_model()
    before = model(input_ids=ids).logits
    trainer(tmp_path, Sft(), model=model)
    again = trainer(tmp_path, Sft(), model=model)  # a second trainer on the same model
    assert torch.equal(again.model(input_ids=ids).logits, before)
    assert again.model.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, 6)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    door = trainer(tmp_path, Redi())
    with torch.no_grad():
        door.model.get_output_embeddings().weight[5] = float("inf")
    with pytest.raises(RunError, match="the loss is nan at optimizer step 0"):
        door.train()


def test_an_algorithm_that_drops_samples_at_the_end_of_a_step_is_refused(tmp_path: Path) -> None:
    class Dropping(Whitened):
        def finish(self, samples: Any) -> Any:
            return super().finish(samples)[1:]

    with pytest.raises(ValueError, match="neither leave any out nor move any"):
        trainer(tmp_path, Dropping()).train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": []}, "train_dataset: the set is empty"),
        ({"rows": {"train": pair_rows(2)}}, "train_dataset: has the splits train; give one of them"),
        ({"rows": iter(pair_rows(2))}, "train_dataset: .* can only be read in a stream"),
        ({"rows": [{"text": "plain"}]}, r"train_dataset row 1: has only the columns \['text'\]"),
        ({"rows": [{"prompt": "1 + 1 = ?", "completion": "\\boxed{2}"}]}, "none of its 1 groups has what 'redi' learns from"),
        ({"rows": [["1 + 1 = ?"]]}, "train_dataset row 1: is a list"),
        ({"rows": [{**pair_rows(1)[0], "chosen": "no " * 100}]}, "has 111 tokens, more than the model's context of 96"),
        ({"reference": small_model(1)}, "reference: has no effect, since 'redi' compares with none"),
        ({"algorithm": Dpo(), "reference": "no/such/folder"}, "reference: there is no folder"),
        ({"args": {"label_smoothing_factor": 0.1}}, "args.label_smoothing_factor: has no effect"),
        ({"args": {"train_sampling_strategy": "group_by_length"}}, "args.train_sampling_strategy: is 'group_by_length'"),
        ({"model": small_model().to(torch.bfloat16)}, "model: its trained weights are torch.bfloat16"),
        ({"model": small_model().model}, "model: LlamaModel is no causal language model"),
        ({"model": "no/such/folder"}, "model: there is no folder"),
        ({"peft_config": lora(target_modules=["q_proj", "lm_head"])}, "peft_config: has an adapter on the output layer"),
        ({"peft_config": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)}, "virtual tokens"),
        ({"model": peft.get_peft_model(small_model(), lora()), "peft_config": lora()}, "has adapters already"),
    ],
)
def test_what_would_go_wrong_is_an_input_error(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, options.pop("algorithm", Redi()), options.pop("rows", None), **options)


def test_the_student_is_no_reference_of_its_own(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(InputError, match="reference: is the model in training"):
        trainer(tmp_path, Dpo(), model=model, reference=model)
