"""What the trainer needs of its arguments. What would have no effect, or another one than it says, is refused."""

from typing import Any

from rl_distill.algorithms.base import ROLLOUT_NEEDS, TEACHER_NEEDS, Algorithm, Need
from rl_distill.errors import InputError
from rl_distill.models.loading import load_tokenizer

_OF_ROLLOUTS = ROLLOUT_NEEDS | {Need.PROXIMAL_LOGPROBS, Need.REFERENCE_CREDIT}


def check_algorithm(algorithm: Algorithm) -> None:
    """
    Raises:
        InputError: it learns from what the student itself samples, or from a teacher.
    """
    if algorithm.needs & TEACHER_NEEDS:
        raise InputError(
            "algorithm",
            f"{algorithm.name!r} learns from a teacher's distributions, which a Trainer on a data set does not have",
            "give sft, redi, dpo or simpo, or run it with `rl-distill train`",
        )
    if algorithm.needs & _OF_ROLLOUTS:
        needs = ", ".join(sorted(need.value for need in algorithm.needs & _OF_ROLLOUTS))
        raise InputError(
            "algorithm",
            f"{algorithm.name!r} learns from rollouts (it needs {needs}), which a Trainer on a data set does not have",
            "give sft, redi, dpo or simpo, or run it with `rl-distill train`",
        )


def check_arguments(args: Any) -> None:
    """
    Args:
        args: `transformers.TrainingArguments`.

    Raises:
        InputError: a setting would have no effect, or the batch would be split behind the algorithm's back.
    """
    if type(args).__module__.startswith("trl."):
        remedy = "give transformers.TrainingArguments; the settings of the loss belong to the algorithm"
        raise InputError("args", f"is a {type(args).__name__}, whose own settings would have no effect", remedy)
    if args.label_smoothing_factor:
        raise InputError("args.label_smoothing_factor", "has no effect on the algorithm's loss", "leave it at 0")
    if args.n_gpu > 1:
        remedy = "launch one process for each GPU, with torchrun or accelerate launch"
        raise InputError("args", f"one process would split each batch over {args.n_gpu} GPUs", remedy)
    sampling = getattr(args, "train_sampling_strategy", "random")
    if sampling not in ("random", "sequential"):
        remedy = "use random or sequential; lengths do not change the loss"
        raise InputError("args.train_sampling_strategy", f"is {sampling!r}, which needs columns of lengths", remedy)


def checked_tokenizer(tokenizer: Any, model: Any) -> Any:
    """The tokenizer with what tokenising needs; a pad token is set if there is none, since padding is masked everywhere.

    Args:
        tokenizer: None loads the one of a model given by name.

    Raises:
        InputError: there is none, or it has no EOS token or no chat template.
    """
    if tokenizer is None and isinstance(model, str):
        return load_tokenizer(model)
    if tokenizer is None:
        raise InputError("processing_class", "is not given", "give the tokenizer of the model")
    if tokenizer.eos_token_id is None:
        raise InputError("processing_class", "the tokenizer has no EOS token", "set its eos_token")
    if not tokenizer.chat_template:
        remedy = "set its chat_template: prompts are user turns, responses are turns of the assistant"
        raise InputError("processing_class", "the tokenizer has no chat template", remedy)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
