"""Teacher text as tokens: what only shows once there are tokens."""

import pytest

from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer, byte_bpe_tokenizer
from rl_distill.problems.base import dialogue, teacher_trajectory
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Group, Problem, Trajectory, Verdict

PROBLEM = Problem(id="p", prompt="1 + 1 = ?", answer="2", source="test")


def tokenized(tokenizer, *attempts: Trajectory) -> Tokenized:
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(), max_context=96)
    return Tokenized([Group(problem=PROBLEM, trajectories=attempts)], prompter, field="stages.redi.source")


def attempt(status, text) -> Trajectory:
    verdict = Verdict(status=status, method="dataset")
    return teacher_trajectory(PROBLEM, dialogue(PROBLEM.prompt, text), model="m", verdict=verdict)


def test_texts_that_differ_but_are_the_same_tokens_are_no_pair():
    pair = attempt("correct", "1 + 1"), attempt("wrong", "1  +  1")
    assert len(tokenized(byte_bpe_tokenizer(["1 + 1"], 300), *pair)[0].trajectories) == 2
    with pytest.raises(InputError, match=r"stages.redi.source: problem 'p' has a correct and a wrong attempt that are the same"):
        tokenized(arithmetic_tokenizer(), *pair)[0]
    assert len(tokenized(arithmetic_tokenizer(), pair[1], attempt("wrong", "1 + 1"))[0].trajectories) == 2


@pytest.mark.parametrize("foreign", [48, 151_643, -1])
def test_recorded_tokens_that_the_student_does_not_have_are_refused_in_the_prompt_too(foreign):
    recorded = Trajectory(
        problem_id="p",
        messages=dialogue(PROBLEM.prompt, "2"),
        token_ids=(foreign, *arithmetic_tokenizer().encode("2 <|im_end|>", add_special_tokens=False)),
        sampled=(False, True, True),
        model="m",
        origin="policy",
    )
    with pytest.raises(InputError, match="problem 'p' has recorded tokens that are not its text in the student's tokenizer"):
        tokenized(arithmetic_tokenizer(), recorded)[0]
