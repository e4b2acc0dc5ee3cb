"""What the trainer refuses before it does anything."""

from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="accelerate is in the trl extra")

from trl_door import OFFLINE, TOKENIZER, arguments

from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.base import TEACHER_NEEDS
from rl_distill.errors import InputError
from rl_distill.integrations.requirements import check_algorithm, check_arguments, checked_tokenizer
from rl_distill.models.vocabulary import arithmetic_tokenizer

TAUGHT = {name for name in ALGORITHMS if ALGORITHMS[name]().needs & TEACHER_NEEDS}


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_an_algorithm_that_learns_from_a_teacher_is_refused_with_what_runs_it(name: str) -> None:
    with pytest.raises(InputError, match=f"algorithm: '{name}' learns from a teacher.* or run it with `rl-distill train`"):
        check_algorithm(ALGORITHMS[name]())


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - set(OFFLINE) - TAUGHT))
def test_an_algorithm_that_needs_rollouts_is_refused_with_what_runs_it(name: str) -> None:
    with pytest.raises(
        InputError, match=f"algorithm: '{name}' learns from rollouts .*behavior_logprobs.* or run it with `rl-distill"
    ):
        check_algorithm(ALGORITHMS[name]())


def test_the_offline_algorithms_are_those_of_the_readme() -> None:
    assert {"sft", "redi", "dpo", "simpo"} <= set(OFFLINE)


def test_a_configuration_of_trl_is_refused_for_its_settings_would_be_left_out(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is in the trl extra")
    with pytest.raises(InputError, match="args: is a DPOConfig, whose own settings would have no effect"):
        check_arguments(trl.DPOConfig(output_dir=str(tmp_path), beta=0.5, bf16=False, use_cpu=True, report_to=[]))


def test_one_process_for_several_gpus_is_refused(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    args._n_gpu = 2
    with pytest.raises(InputError, match="one process would split each batch over 2 GPUs; launch one process for each"):
        check_arguments(args)


def test_a_tokenizer_lacks_nothing(tmp_path: Path) -> None:
    assert checked_tokenizer(TOKENIZER, None) is TOKENIZER
    with pytest.raises(InputError, match="processing_class: is not given"):
        checked_tokenizer(None, object())
    for attribute in ("eos_token", "chat_template"):
        tokenizer = arithmetic_tokenizer()
        setattr(tokenizer, attribute, None)
        with pytest.raises(InputError, match=f"processing_class: the tokenizer has no {attribute[:3]}.*set its {attribute}|EOS"):
            checked_tokenizer(tokenizer, None)


def test_a_tokenizer_without_padding_pads_with_its_eos() -> None:
    tokenizer = arithmetic_tokenizer()
    tokenizer.pad_token = None
    assert checked_tokenizer(tokenizer, None).pad_token_id == tokenizer.eos_token_id
