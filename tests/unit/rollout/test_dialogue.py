"""Which probes are drawn, and what a block of dialogue settings may say."""

from collections import Counter
from dataclasses import replace

import pytest
from probed_problems import DIALOGUE, probed

from rl_distill.config import parse
from rl_distill.errors import InputError
from rl_distill.probes import probes_of
from rl_distill.rollout.dialogue import DialogueConfig, drawn_probes

PROBLEM = probed(1)[0].problem


def test_probes_are_drawn_without_replacement_and_alike_at_one_address():
    for step in range(50):
        drawn = drawn_probes(PROBLEM, 3, 0, "grpo", step, 0)
        assert len({probe.text for probe in drawn}) == 3
        assert drawn == drawn_probes(PROBLEM, 3, 0, "grpo", step, 0)


def test_every_order_of_probes_is_as_likely_as_any_other():
    draws = Counter(tuple(probe.rule for probe in drawn_probes(PROBLEM, 2, 0, "grpo", step, 0)) for step in range(4000))
    expected = 4000 / 20  # ordered pairs of five
    assert len(draws) == 20
    assert sum((count - expected) ** 2 / expected for count in draws.values()) < 43.8  # chi-squared of 19, 0.1 % above


@pytest.mark.parametrize("address", [(1, "grpo", 0, 0), (0, "other", 0, 0), (0, "grpo", 1, 0), (0, "grpo", 0, 1)])
def test_another_run_stage_step_or_epoch_draws_others(address):
    draws = [[drawn_probes(replace(PROBLEM, id=f"p{n}"), 3, *where) for n in range(20)] for where in ((0, "grpo", 0, 0), address)]
    assert sum(one != other for one, other in zip(*draws, strict=True)) > 15


def test_what_leaks_is_never_drawn():
    plain = [dict(probe, leaks_gold=place < 2) for place, probe in enumerate(PROBLEM.metadata["probes"])]
    leaky = replace(PROBLEM, metadata={"probes": plain})
    assert {probe.rule for step in range(20) for probe in drawn_probes(leaky, 2, step)} == {
        p.rule for p in probes_of(PROBLEM)[2:]
    }


def test_the_turns_of_a_dialogue_are_its_replies_its_answer_and_its_branches():
    assert parse(DialogueConfig, {"num_probes": 5}).turns_per_dialogue == 5 + 1
    assert parse(DialogueConfig, {"num_probes": 5, "branches": {"partial": 1}}).turns_per_dialogue == 5 + 1 + 1
    assert parse(DialogueConfig, DIALOGUE).turns_per_dialogue == 3 + 1 + 7 + 3  # thoughts are sampled too


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_partial": 3}, "num_partial: 3 is not below num_probes 3"),
        ({"num_partial": 4}, "num_partial: 4 is not below num_probes 3"),
        ({"branches": {}}, "num_partial: has no effect"),
        ({"branches": {"partial": 1}}, "blank_reply: has no effect"),
        ({"branches": {"partial": 1, "blanked": 1}}, "think_longer: has no effect"),
        ({"gold_reply": "so it is"}, "gold_reply: does not say the answer"),
        ({"branches": {"blank": 1}}, "blanked"),
        ({"num_probes": 0}, "num_probes"),
    ],
)
def test_settings_that_contradict_each_other_or_have_no_effect_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        parse(DialogueConfig, DIALOGUE | changes)
