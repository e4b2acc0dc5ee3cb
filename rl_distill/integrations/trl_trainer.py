"""Any algorithm of ours that needs no rollouts, inside transformers' Trainer: with its callbacks, PEFT, accelerate, checkpoints.

`AlgorithmTrainer` is to a user of TRL one more trainer beside `SFTTrainer` and `DPOTrainer`: it takes the same data sets and
adapters. It extends `transformers.Trainer`, as those do, and none of them: each brings a tokenising, a loss and metrics of its
own, which would all have to be switched off again, and settings (such as `DPOConfig.beta`) that would then have no effect.
Nothing of `trl` itself is needed, so it is not imported: the interface that the two share is the Trainer's.

The loss and its gradient are those of `LocalLearner.step` on the same groups, however they are cut into micro-batches and spread
over processes: losses are sums over totals of the whole optimizer step, which are counted before its first micro-batch. So the
Trainer's division by the number of micro-batches is switched off, and DDP's by the number of processes undone. A batch counts
groups (a trace, or a pair), never rows, so that no pair is split.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from accelerate.utils import gather_object, is_peft_model
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from rl_distill.algorithms.base import Algorithm, LossOutput
from rl_distill.batch import Batch, PolicyOutput, Totals, collate
from rl_distill.errors import InputError, RunError
from rl_distill.integrations.learnable_groups import LearnableGroups, groups_of
from rl_distill.integrations.optimizer_step import SOURCES, MicroBatch, finished, totals_over, with_own_units
from rl_distill.integrations.policy_model import answer_logprobs, causal_model, check_precision, logprobs_of, policy_model
from rl_distill.integrations.reference import Reference, reference_model
from rl_distill.integrations.requirements import check_algorithm, check_arguments, checked_tokenizer
from rl_distill.integrations.step_metrics import Metrics, StepMetrics, summed
from rl_distill.learning.micro_steps import NEEDED_COLUMNS, credit_metrics, credit_of
from rl_distill.models.loading import context_of
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Sample


class AlgorithmTrainer(Trainer):
    """Trains a causal language model with an algorithm of ours on a data set.

    Args:
        model: a folder or hub name (it is loaded in float32), a `PreTrainedModel`, or a `PeftModel`. Dropout of the model itself
            is switched off, that of adapters stays.
        args: `per_device_train_batch_size` counts groups.
        algorithm: such as `Redi(negative_coef=0.8)`.
        train_dataset, eval_dataset: a `datasets.Dataset` or a list of rows in TRL's formats (prompt and completion, chosen and
            rejected, messages; texts or conversations), or a sequence of our `Group`. A prompt that is a text becomes a user
            turn, and only turns of the assistant are trained on. An `eval_dataset` may be a dict of several.
        processing_class: the tokenizer; None loads that of a model given by name.
        peft_config: such as `LoraConfig(...)`, to train new adapters on the model.
        reference: what DPO compares with: a folder or hub name, or a model. None takes the model as it is now: without its new
            adapters, else a frozen copy. Not needed where the groups bring `reference_logprobs` along.
        prompt: how a prompt is worded, where it is a text.
        max_tokens: leave out groups with a longer attempt; None makes an attempt beyond the model's context an error.
        logprob_chunk_tokens: positions whose logits exist at once.
        callbacks, optimizers: as the Trainer has them.

    Raises:
        InputError: an argument is wrong, or the data has nothing that the algorithm learns from.
    """

    control: Any
    loss_is_scaled_for_ga = True  # by the totals of the whole step: the Trainer must not divide by the number of micro-batches

    def __init__(
        self,
        model: Any,
        args: TrainingArguments | None = None,
        *,
        algorithm: Algorithm,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        reference: Any = None,
        prompt: PromptFormat | None = None,
        max_tokens: int | None = None,
        logprob_chunk_tokens: int = 512,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = args or TrainingArguments()
        check_algorithm(algorithm)
        check_arguments(args)
        tokenizer = checked_tokenizer(processing_class, model)
        student = policy_model(model, peft_config, seed=args.seed)
        context = context_of(causal_model(student).config)
        self.algorithm, self.chunk_tokens, self.max_tokens = algorithm, logprob_chunk_tokens, max_tokens
        self.prompter = Prompter(tokenizer=tokenizer, format=prompt or PromptFormat(), max_context=context)
        train_set = None if train_dataset is None else self._learnable(train_dataset, "train_dataset")
        eval_sets = self._evaluated(eval_dataset)
        super().__init__(
            model=student,
            args=args,
            data_collator=list,
            train_dataset=train_set,
            eval_dataset=eval_sets,
            processing_class=tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.model_accepts_loss_kwargs = True  # what releases before `loss_is_scaled_for_ga` ask
        if not self.is_deepspeed_enabled:  # it keeps float32 weights of its own
            check_precision(self.model.parameters())
        if args.gradient_checkpointing and is_peft_model(student):
            student.enable_input_require_grads()
        sets = [train_set, *(eval_sets.values() if isinstance(eval_sets, dict) else [eval_sets])]
        recorded = all(one.has_reference for one in sets if one is not None)
        frozen = reference_model(reference, student, algorithm, new_adapters=peft_config is not None, recorded=recorded)
        self.reference = None if frozen is None else self._reference(frozen)
        answer_logprobs(student)
        self._step_metrics = StepMetrics(self._finished_metrics)

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[list[Sample]]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Totals | None]:
        """The micro-batches of one optimizer step, and its totals over all of them and all processes."""
        self._step_metrics.close_step()
        parts = self._credited(list(islice(epoch_iterator, num_batches)))
        if not parts:
            return [], None
        counts = self._totals([sample for part in parts for sample in part])
        self._step_metrics.add(self._sizes(counts))
        return [self._inputs(part) for part in parts], counts

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Totals | None = None,
    ) -> Tensor | tuple[Tensor, PolicyOutput]:
        """A micro-batch's share of the step's loss, times the number of processes, by which DDP divides the gradient."""
        assert num_items_in_batch is not None, "the Trainer hands on what get_batch_samples counted"
        counts, samples = num_items_in_batch, inputs["samples"]
        batch, policy, out = self._evaluate_algorithm(model, inputs["batch"], counts)
        if not torch.isfinite(out.loss):
            # The Trainer would log its running mean instead of it, and train on.
            raise RunError(f"the loss is {out.loss.item()} at optimizer step {self.state.global_step}; lower the learning rate")
        credit = credit_metrics(self.algorithm, samples, credit_of(out, policy, batch), batch, counts)
        self._step_metrics.add({**_shares(policy, out, batch, counts), **credit})
        loss = out.loss * self.accelerator.num_processes
        return (loss, policy) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to a line about training the algorithm's metrics: their mean over the optimizer steps since the line before."""
        if "loss" in logs:
            assert self.train_dataset is not None
            logs = logs | self._step_metrics.drained() | {"group/left_out": float(self.train_dataset.left_out)}
        super().log(logs, start_time)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        named = eval_dataset is None or isinstance(eval_dataset, str | LearnableGroups)
        return super().get_eval_dataloader(eval_dataset if named else self._learnable(eval_dataset, "eval_dataset"))

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Loss and metrics of the whole set as if it were one step, whatever the batch size and the number of processes."""
        model = self._wrap_model(self.model, training=False).eval()
        self.callback_handler.eval_dataloader = dataloader
        batches = [(groups, self._without_repeats(groups)) for groups in dataloader]
        # A process that is given nothing but repeats still runs the model: others may wait for it there.
        parts = self._credited([own or groups for groups, own in batches])
        own = [bool(own) for _, own in batches]
        counts = self._totals([sample for part, is_own in zip(parts, own, strict=True) if is_own for sample in part])
        shares = []
        for part, is_own in zip(parts, own, strict=True):
            with torch.no_grad(), self.accelerator.autocast():
                batch, policy, out = self._evaluate_algorithm(model, self._inputs(part)["batch"], counts)
            if is_own:
                found = {"loss": out.loss, **_shares(policy, out, batch, counts)}
                shares.append({path: float(value) for path, value in found.items()})
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        metrics = self._finished_metrics(summed(shares))
        return EvalLoopOutput(
            predictions=None,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{path}": value for path, value in metrics.items()},
            num_samples=len(dataloader.dataset),
        )

    def _learnable(self, dataset: Any, field: str) -> LearnableGroups:
        groups = Tokenized(groups_of(dataset, field), self.prompter, field=field)
        return LearnableGroups(groups, self.algorithm, max_context=self.prompter.max_context, max_tokens=self.max_tokens)

    def _evaluated(self, dataset: Any) -> LearnableGroups | dict[str, LearnableGroups] | None:
        if dataset is None:
            return None
        if isinstance(dataset, Mapping):
            return {name: self._learnable(one, f"eval_dataset[{name!r}]") for name, one in dataset.items()}
        return self._learnable(dataset, "eval_dataset")

    def _reference(self, frozen: Any) -> Reference:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            remedy = "use DDP, or groups that bring their reference_logprobs along"
            raise InputError("reference", "cannot be computed beside a model that is sharded", remedy)
        is_student = frozen is self.model
        return Reference(
            model=frozen if is_student else frozen.to(self.accelerator.device),
            pad_id=self.prompter.tokenizer.pad_token_id,
            chunk_tokens=self.chunk_tokens,
            is_student=is_student,
        )

    def _credited(self, micro_batches: Sequence[Sequence[Sequence[Sample]]]) -> list[MicroBatch]:
        """The step's samples with the columns that the algorithm needs."""
        rank = self.accelerator.process_index
        parts = [with_own_units(groups, f"{rank}/{place}") for place, groups in enumerate(micro_batches)]
        if self.reference is not None:
            with self.accelerator.autocast():
                parts = [self.reference.annotated(part) for part in parts]
        return finished(self.algorithm, parts, rank=rank, gather=self._gathered)

    def _inputs(self, samples: MicroBatch) -> dict[str, Any]:
        """What the Trainer carries to `compute_loss`; it counts tokens by `input_ids` itself."""
        columns = {column for need in self.algorithm.needs for column in NEEDED_COLUMNS[need]}
        batch = collate(samples, pad_id=self.prompter.tokenizer.pad_token_id, sources=SOURCES, columns=columns)
        return {"input_ids": batch.token_ids, "attention_mask": batch.attention_mask, "batch": batch, "samples": samples}

    def _evaluate_algorithm(self, model: Any, batch: Batch, counts: Totals) -> tuple[Batch, PolicyOutput, LossOutput]:
        batch = batch.to(self.accelerator.device)
        policy = logprobs_of(model, batch, chunk_tokens=self.chunk_tokens)
        return batch, policy, self.algorithm.loss(policy, batch, counts)

    def _totals(self, samples: Sequence[Sample]) -> Totals:
        if self.get_tp_size() * self.get_cp_size() * self.get_sp_size() > 1:
            raise InputError("args.parallelism_config", "splits a sequence or a layer", "use DDP, FSDP or DeepSpeed")
        return totals_over(samples, lambda share: self.accelerator.reduce(share, "sum"), self.accelerator.device)

    def _sizes(self, counts: Totals) -> Metrics:
        """The step's size, from one process only, since the metrics of all processes add up."""
        sizes = {"tokens": counts.tokens, "sequences": counts.sequences, "units": counts.units}
        return {f"batch/{name}": float(size.sum()) * self.accelerator.is_main_process for name, size in sizes.items()}

    def _finished_metrics(self, sums: Metrics) -> Metrics:
        return self.algorithm.summarize(summed(self._gathered([sums])))

    def _gathered(self, one: list[Any]) -> list[Any]:
        return gather_object(one) if self.accelerator.num_processes > 1 else one

    def _without_repeats(self, groups: list[list[Sample]]) -> list[list[Sample]]:
        """Without the groups that accelerate repeats in the last batch to give each process equally many."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return groups
        return groups[: max(0, state.remainder - self.accelerator.process_index * len(groups))]


def _shares(policy: PolicyOutput, out: LossOutput, batch: Batch, counts: Totals) -> dict[str, Tensor]:
    """A micro-batch's share of the step's metrics."""
    if policy.entropy is None:
        return out.metrics
    return {**out.metrics, "policy/entropy": (policy.entropy * batch.loss_mask).sum() / counts.tokens.sum()}
