"""Teacher data on its way into the loop: what is read, what is left out, what is refused."""

from dataclasses import replace

import pytest

from rl_distill.algorithms.pairs import contrast_samples
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.dataset_source import DatasetSource, DatasetSourceConfig
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Message

PROBLEMS = Arithmetic(attempts="teacher", num_problems=12, levels=(1,))
TOKENIZER = arithmetic_tokenizer()


def tokenized(groups=None, prompt=None) -> Tokenized:
    prompter = Prompter(tokenizer=TOKENIZER, format=prompt or PromptFormat(), max_context=96)
    return Tokenized(groups or list(PROBLEMS.groups()), prompter, field="stages.redi.source")


def pairs(group):
    return [sample.trajectory for sample in contrast_samples(group)]


def source(groups=None, max_context=96, **settings) -> DatasetSource:
    config = DatasetSourceConfig(problems=PROBLEMS, groups_per_step=3, **settings)
    return DatasetSource(config, groups or tokenized(), pairs, max_context, 0)


def test_each_epoch_has_every_useful_group_once_and_a_restored_source_goes_on():
    whole, first, second = source(), source(), source()
    steps = [[group.problem.id for group in whole.next(step)] for step in range(8)]
    assert sorted(sum(steps[:4], [])) == sorted(sum(steps[4:], [])) == sorted(group.problem.id for group in PROBLEMS.groups())
    assert steps[:4] != steps[4:]
    for step in range(3):
        first.next(step)
    second.load_state(first.state())
    assert [[group.problem.id for group in second.next(step)] for step in range(3, 8)] == steps[3:]


def test_two_sources_on_the_same_data_take_it_in_the_same_order():
    """A control differs from what it controls in one switch, not in the order of its data too."""
    one, other = source(), source(max_tokens=90)
    assert [group.problem.id for group in one.next(0)] == [group.problem.id for group in other.next(0)]


def test_prompts_and_responses_have_limits_of_their_own_which_the_longest_kept_one_meets_exactly():
    attempts = [attempt for group in tokenized() for attempt in pairs(group)]
    for key, lengths in {
        "max_response_tokens": [attempt.num_sampled for attempt in attempts],
        "max_prompt_tokens": [len(attempt.token_ids) - attempt.num_sampled for attempt in attempts],
    }.items():
        assert source(**{key: max(lengths)}).count() == 12
        assert source(**{key: min(lengths) - 1}).count() == 0
    responses = [max(attempt.num_sampled for attempt in pairs(group)) for group in tokenized()]
    assert 0 < source(max_response_tokens=max(responses) - 1).count() == sum(r < max(responses) for r in responses) < 12


def test_only_attempts_that_are_learnt_from_count_as_too_long():
    groups = list(PROBLEMS.groups())
    endless = replace(
        groups[0].trajectories[0], messages=(Message("user", groups[0].problem.prompt), Message("assistant", "1" + " + 1" * 40))
    )
    groups[0] = replace(groups[0], trajectories=(*groups[0].trajectories, endless))  # neither the first right nor the first wrong
    assert max(len(attempt.token_ids) for attempt in tokenized(groups)[0].trajectories) > 60
    assert source(tokenized(groups), max_tokens=60).count() == 12


def test_a_learnt_attempt_beyond_the_limit_leaves_the_group_out_and_beyond_the_context_is_an_error():
    longest = max(len(attempt.token_ids) for group in (tokenized()[index] for index in range(12)) for attempt in pairs(group))
    assert source(max_tokens=longest - 1).count() < 12
    with pytest.raises(
        InputError, match=rf"stages.redi.source: an attempt .* has {longest} tokens, more than the student's context"
    ):
        source(max_context=longest - 1).count()


def test_data_without_anything_to_learn_is_an_error_and_not_an_endless_search():
    prompts = tokenized(list(Arithmetic(num_problems=12, levels=(1,)).groups()))
    assert source(prompts).count() == 0
    with pytest.raises(InputError, match="none of its 12 groups has what the algorithm learns from"):
        source(prompts).next(0)


def test_a_conversation_of_its_own_is_taken_as_it_is_but_not_beside_a_prompt_format():
    group = PROBLEMS.groups()[0]
    asked = (Message("user", "9 + 1 = ?"), Message("assistant", "10"), Message("user", group.problem.prompt))
    talk = replace(group.trajectories[0], messages=(*asked, Message("assistant", "5")))
    groups = [replace(group, trajectories=(talk,))]
    (attempt,) = tokenized(groups)[0].trajectories
    assert attempt.messages == talk.messages
    with pytest.raises(InputError, match="comes as a conversation of its own, which student.prompt would not be put into"):
        tokenized(groups, PromptFormat(instruction="why"))[0]


def test_a_prompt_format_is_put_around_the_problem():
    made = tokenized(prompt=PromptFormat(instruction="why"))[0]
    assert made.trajectories[0].messages[0] == Message("user", f"{made.problem.prompt}\nwhy")


def test_one_useful_group_among_many_is_found_in_every_epoch_wherever_it_stands():
    groups = list(PROBLEMS.groups())
    alone = tokenized([groups[0], *(replace(group, trajectories=()) for group in groups[1:])])
    found = source(alone)
    assert all({group.problem.id for group in found.next(step)} == {groups[0].problem.id} for step in range(40))
