"""A bonus in words: the numbers are those that were paid, and the reason is the measure's."""

import pytest
from dialogue_groups import answer, dialogue_group, gold

from rl_distill.analysis.dialogue_bonus import Terms, number, payments, terms_of
from rl_distill.coherence import accounts
from rl_distill.trajectory import Group


def group() -> Group:
    """Four dialogues, three of them right; with the replies of the first alone blanked the answer is wrong."""
    blanked = [answer("blanked", place, right, control=True, said=f"blank {place}") for place, right in enumerate((0, 1, 0, 1))]
    others = [answer(context, place, place == 0) for context in ("partial", "direct") for place in range(4)]
    return dialogue_group([True, True, False, True], *blanked, *others)


PAIRED = "Correct in {} with its own replies, in {} with blanked ones: gain {}, bonus {}."
WORDS = {
    "paired": (
        Terms(measure="paired", delta=0.5),
        [
            PAIRED.format("1 of 1", "0 of 1", 1, 0.5),
            PAIRED.format("1 of 1", "1 of 1", 0, 0),
            PAIRED.format("0 of 1", "0 of 1", 0, 0) + " Only a correct answer is paid, and this one is wrong.",
        ],
    ),
    "gain": (
        Terms(measure="gain", delta=0.5, margin=0.1),
        [
            "Over the problem's dialogues, correct in 3 of 4 after all probes and in 1 of 4 with the problem alone: "
            "gain 0.5, less a margin of 0.1 0.4, bonus 0.2."
        ],
    ),
    "paper_gate": (
        Terms(measure="paper_gate", delta=0.2, nu=1.25),
        [
            "Over the problem's dialogues, correct in 3 of 4 after all probes and in 1 of 4 after the first probes alone. "
            "0.75 is above 1.25 x 0.25: the gate is open, bonus 0.2."
        ],
    ),
    "closed": (
        Terms(measure="paper_gate", delta=0.2, nu=3.0),
        [
            "Over the problem's dialogues, correct in 3 of 4 after all probes and in 1 of 4 after the first probes alone. "
            "0.75 is not above 3 x 0.25: the gate is closed, bonus 0."
        ],
    ),
    "none": (
        Terms(),
        ["Correct in 1 of 1 with its own replies, in 0 of 1 with blanked ones: gain 1. This stage pays no bonus."],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_the_words_give_counts_gain_and_bonus(name: str) -> None:
    terms, expected = WORDS[name]
    found = [payment.words for payment in payments(group(), terms).values()]
    assert found[: len(expected)] == expected


@pytest.mark.parametrize("name", ["paired", "gain", "paper_gate", "closed"])
def test_the_bonus_is_what_the_measure_pays(name: str) -> None:
    terms, _ = WORDS[name]
    assert terms.measure is not None
    paid = accounts(group(), terms.measure, nu=terms.nu, margin=terms.margin)
    assert {place: payment.bonus for place, payment in payments(group(), terms).items()} == {
        one.dialogue: terms.delta * one.paid for one in paid
    }


def test_the_gold_answers_log_probs_are_told_where_they_were_recorded() -> None:
    terms = Terms(measure="logp", delta=0.5)
    read = dialogue_group([True], gold("full", 0, -0.4), gold("blanked", 0, -1.2))
    assert payments(read, terms)[0].words == (
        "Log-prob of a token of the gold answer \u22120.4 after its own replies, \u22121.2 after blanked ones: "
        "gain 0.8, bonus 0.4."
    )
    missing = Group(problem=read.problem, trajectories=(read.trajectories[0], answer("full", 0, True, control=True)))
    assert "unknown after its own replies" in payments(missing, terms)[0].words


def test_an_answer_that_nobody_could_judge_is_said_to_be_one() -> None:
    found = payments(dialogue_group([None, True]), Terms(measure="paired", delta=0.2))
    assert found[0].words == "The answer could not be judged, so nothing can be compared."
    assert found[1].words == "Correct in 1 of 1 with its own replies, in 0 of 0 with blanked ones, so nothing can be compared."


def test_terms_are_read_from_a_resolved_algorithm() -> None:
    settings = {"name": "exgrpo", "coherence": "gain", "delta": 0.3, "nu": 1.25, "margin": 0.1}
    assert terms_of(settings) == Terms(measure="gain", delta=0.3, nu=1.25, margin=0.1)
    assert terms_of({"name": "grpo"}) == terms_of(settings | {"coherence": "none"}) == Terms()


def test_numbers_are_short_and_zero_has_no_sign() -> None:
    assert [number(value) for value in (-0.00001, 1.0, 0.123456, -2.5)] == ["0", "1", "0.1235", "\u22122.5"]
