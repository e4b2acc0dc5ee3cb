"""The published bonus and our measures against worked numbers, and the invariants that follow from the formulas."""

import json
from itertools import product
from pathlib import Path

import pytest
from dialogue_groups import answer, dialogue_group, gold, lesson

from rl_distill.algorithms.advantages import group_center, standardized
from rl_distill.algorithms.exgrpo import Exgrpo
from rl_distill.coherence import accounts

VECTORS = {
    vector["name"]: vector for vector in json.loads((Path(__file__).parent / "exgrpo_vectors.json").read_text())["vectors"]
}
GATED = [name for name in VECTORS if name.startswith(("V1", "V2", "V3"))]
NEAR = {"abs": 1.5e-6}  # the vectors have six decimals


def exgrpo(coherence: str, **fields) -> Exgrpo:
    return Exgrpo(coherence=coherence, std_eps=0.0, kl_coef=0.0, **fields)


def advantages(algorithm: Exgrpo, group) -> dict[str, list[float]]:
    """By context, in the group's order."""
    found: dict[str, list[float]] = {}
    for sample in algorithm.samples(group):
        found.setdefault(sample.trajectory.context, []).append(sample.advantage)
    return found


def gated(name: str):
    """The vector, the algorithm of its settings, and its group."""
    vector = VECTORS[name]
    given = vector["inputs"]
    group = dialogue_group(
        given["outcome_full"], *(answer("partial", i, right) for i, right in enumerate(given["outcome_partial"]))
    )
    return vector, exgrpo("paper_gate", delta=given["delta"], nu=given["nu"]), group


@pytest.mark.parametrize("name", GATED)
def test_the_gate_of_the_paper(name):
    vector, algorithm, group = gated(name)
    found = accounts(group, "paper_gate", nu=algorithm.nu)
    assert {one.own for one in found} == {vector["P_full"]} and {one.control for one in found} == {vector["P_partial"]}
    assert any(one.paid for one in found) == vector["bonus_fires"]
    bonus = [algorithm.delta * one.paid for one in found]
    raised = [one.correct + extra for one, extra in zip(found, bonus, strict=True)]
    assert raised == pytest.approx(vector["R_total_full"])
    assert standardized(raised, "population", 0.0) == pytest.approx(vector["adv_full_only_std"], **NEAR)
    assert group_center(raised) == pytest.approx(vector["adv_full_only_mean_centred"], **NEAR)
    assert standardized(raised, "sample", 1e-4) == pytest.approx(vector["adv_full_only_sample_std_eps1e_4"], **NEAR)


@pytest.mark.parametrize("name", GATED)
def test_full_and_partial_dialogues_are_one_group_under_the_gate(name):
    vector, algorithm, group = gated(name)
    found = advantages(algorithm, group)
    assert found["full"] == pytest.approx(vector["adv_pooled_std"]["full"], **NEAR)
    assert found["partial"] == pytest.approx(vector["adv_pooled_std"]["partial"], **NEAR)
    outcomes = vector["inputs"]["outcome_full"] + vector["inputs"]["outcome_partial"]
    without = vector["adv_pooled_std_without_bonus"]
    assert standardized(outcomes, "population", 0.0) == pytest.approx(without["full"] + without["partial"], **NEAR)


def test_the_gain_over_the_problem_alone():
    vector = VECTORS["V4_PROPOSED_group_gain"]
    given = vector["inputs"]
    direct = (answer("direct", i, right) for i, right in enumerate(given["outcome_direct_k0"]))
    group = dialogue_group(given["outcome_full"], *direct)
    found = accounts(group, "gain", margin=given["margin"])
    assert {one.own - one.control for one in found} == {vector["gain"]}
    assert [given["delta"] * one.paid for one in found] == [0.25, 0.25, 0.0, 0.25] and vector["bonus_per_correct_full"] == 0.25
    credit = advantages(exgrpo("gain", delta=given["delta"], margin=given["margin"]), group)
    expected = vector["adv_per_context_std_plus_centred_bonus"]
    assert credit["full"] == pytest.approx(expected["full"], **NEAR)
    assert credit["direct"] == pytest.approx(expected["direct"], **NEAR)
    pooled = standardized([*vector["R_total_full"], *vector["R_total_direct"]], "population", 0.0)
    assert pooled == pytest.approx(vector["adv_pooled_std"]["full"] + vector["adv_pooled_std"]["direct"], **NEAR)


def test_the_paired_gain_of_dialogues_that_each_ask_something_else():
    vector = VECTORS["V5_PROPOSED_paired_branch"]
    given = vector["inputs"]
    blanked = (
        answer("blanked", i, right, control=True, said=f"{i}")  # `said` makes what was asked differ
        for i, right in enumerate(given["outcome_branch_without_probe_answers"])
    )
    group = dialogue_group(given["outcome_full"], *blanked)
    found = accounts(group, "paired")
    assert [one.own - one.control for one in found] == vector["paired_gain"]
    assert [given["delta"] * one.paid for one in found] == vector["bonus"]
    credit = advantages(exgrpo("paired", delta=given["delta"]), group)
    assert credit == {"full": pytest.approx(vector["adv_full_only_std"], **NEAR)}


def test_the_paired_gain_from_several_answers_to_each_dialogue():
    vector = VECTORS["V7_PROPOSED_multi_sample_gain"]
    given = vector["inputs"]
    further = []
    for place, (share, first) in enumerate(zip(given["p_correct_with_own_probe_answers"], given["outcome_full"], strict=True)):
        right = round(share * given["samples_per_dialogue"]) - first
        further += [answer("full", place, number < right, control=True) for number in range(given["samples_per_dialogue"] - 1)]
    control = given["control_samples"]
    right = round(given["p_correct_with_probe_answers_blanked"] * control)
    blanked = [answer("blanked", number % 4, number < right, control=True) for number in range(control)]
    group = dialogue_group(given["outcome_full"], *further, *blanked)
    found = accounts(group, "paired")
    assert [one.own - one.control for one in found] == pytest.approx(vector["gain"])
    assert [given["delta"] * one.paid for one in found] == pytest.approx(vector["bonus"])
    credit = advantages(exgrpo("paired", delta=given["delta"]), group)
    assert credit == {"full": pytest.approx(vector["adv_full_only_std"], **NEAR)}


def test_the_gain_in_the_gold_answers_log_prob():
    vector = VECTORS["V6_PROPOSED_logprob_gain"]
    given = vector["inputs"]
    after = [gold("full", place, value) for place, value in enumerate(given["logp_gold_per_token_with_dialogue"])]
    blanked = [gold("blanked", place, given["logp_gold_per_token_without"]) for place in range(4)]
    group = dialogue_group(given["outcome_full"], *after, *blanked)
    found = accounts(group, "logp")
    assert [one.own - one.control for one in found] == pytest.approx(vector["gain"])
    assert [given["delta"] * one.paid for one in found] == pytest.approx(vector["bonus_if_correct"])
    credit = advantages(exgrpo("logp", delta=given["delta"]), group)
    assert credit == {"full": pytest.approx(vector["adv_full_only_std"], **NEAR)}


def test_a_gain_in_log_prob_is_paid_up_to_one_nat():
    group = dialogue_group(
        (1, 1), gold("full", 0, -0.1), gold("full", 1, -0.1), gold("blanked", 0, -3.1), gold("blanked", 1, -0.6)
    )
    assert [one.paid for one in accounts(group, "logp")] == pytest.approx([1.0, 0.5])


OUTCOMES = list(product((0, 1), repeat=4))


def everything(full, other):
    """A group with every context, outcomes given."""
    contexts = [
        answer(context, place, right, control=context in ("blanked", "full"))
        for context in ("partial", "direct", "blanked", "full")
        for place, right in enumerate(other)
    ]
    golds = [gold(context, place, value) for place in range(4) for context, value in (("full", -0.2), ("blanked", -0.9))]
    return dialogue_group(full, *contexts, *golds)


MEASURES = ("paper_gate", "gain", "paired", "logp")


def test_the_bonus_of_the_paper_does_nothing_to_a_group_of_full_dialogues_alone():
    for full, partial in product(OUTCOMES, OUTCOMES):
        found = accounts(everything(full, partial), "paper_gate")
        plain = standardized([float(one.correct) for one in found], "population", 0.0)
        raised = standardized([one.correct + 0.2 * one.paid for one in found], "population", 0.0)
        assert raised == pytest.approx(plain)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_wrong_answer_is_never_paid_and_neither_is_a_control(measure):
    for full, other in product(OUTCOMES, OUTCOMES):
        group = everything(full, other)
        found = accounts(group, measure)
        assert [one.dialogue for one in found] == [0, 1, 2, 3]
        assert all(one.correct for one in found if one.paid) and all(0 <= one.paid <= 1 for one in found)
        assert not any(sample.trajectory.control for sample in exgrpo(measure).samples(group))


@pytest.mark.parametrize("measure", MEASURES)
def test_partial_and_direct_answers_are_never_paid(measure):
    group = everything((1, 1, 0, 1), (1, 0, 1, 0))
    credit = {context: values for context, values in advantages(exgrpo(measure), group).items() if context != "full"}
    for values in credit.values():
        right, wrong = {round(values[0], 12), round(values[2], 12)}, {round(values[1], 12), round(values[3], 12)}
        assert len(right) == len(wrong) == 1  # all correct ones alike: nobody of them was paid for what it said


@pytest.mark.parametrize("measure", ("none", *MEASURES))
def test_credit_adds_up_to_nothing_within_what_is_compared(measure):
    for full, other in product(OUTCOMES, OUTCOMES):
        credit = advantages(exgrpo(measure), everything(full, other))
        if measure == "paper_gate":
            credit = {"pooled": [value for values in credit.values() for value in values]}
        assert all(abs(sum(values)) < 1e-9 for values in credit.values())


@pytest.mark.parametrize("size", (2, 4, 8))
def test_a_factor_below_the_grid_of_shares_changes_no_gate(size):
    nu = size / (size - 1) - 1e-9
    for right, other in product(range(size + 1), repeat=2):
        group = dialogue_group(
            [place < right for place in range(size)], *(answer("partial", place, place < other) for place in range(size))
        )
        assert accounts(group, "paper_gate", nu=nu) == accounts(group, "paper_gate", nu=1.0)


@pytest.mark.parametrize("measure", MEASURES)
def test_where_nothing_is_right_nothing_is_paid_and_nothing_is_learnt(measure):
    credit = advantages(exgrpo(measure), everything((0, 0, 0, 0), (0, 0, 0, 0)))
    assert all(value == 0 for values in credit.values() for value in values)


def test_one_answer_to_each_dialogue_cannot_tell_dialogues_apart():
    """With M = 1 and the same probes for all, every correct dialogue is paid alike, and the division takes the bonus away."""
    blanked = [answer("blanked", place, place == 0, control=True) for place in range(4)]
    group = dialogue_group((1, 1, 0, 1), *blanked)
    assert len({one.paid for one in accounts(group, "paired") if one.correct}) == 1
    assert advantages(exgrpo("paired"), group) == {"full": pytest.approx(advantages(exgrpo("none"), group)["full"])}


def test_an_answer_that_nobody_can_judge_counts_on_no_side():
    blanked = [answer("blanked", place, right, control=True) for place, right in enumerate((None, None, 0, 1))]
    group = dialogue_group((1, None, 0, 1), *blanked)
    found = accounts(group, "paired")
    assert [(one.dialogue, one.control) for one in found] == [(0, 0.5), (2, 0.5), (3, 0.5)]
    assert len(exgrpo("paired").samples(group)) == 3


def test_without_a_control_nothing_is_paid():
    assert [one.paid for one in accounts(dialogue_group((1, 0)), "paired")] == [0.0, 0.0]


def test_the_teachers_replies_are_lessons_and_the_gold_answer_is_none():
    group = dialogue_group(
        (1, 0), lesson(), gold("full", 0, -0.5), gold("full", 1, -0.5), gold("blanked", 0, -1), gold("blanked", 1, -1)
    )
    lessons = [sample for sample in exgrpo("logp").samples(group) if sample.lesson]
    assert [sample.trajectory.model for sample in lessons] == ["teacher"]
    assert not any(sample.lesson for sample in exgrpo("logp", lesson_coef=0.0).samples(group))
