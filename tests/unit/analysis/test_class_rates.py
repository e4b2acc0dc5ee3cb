import pytest

from rl_distill.analysis.class_rates import class_report, comparison
from rl_distill.analysis.rates import Resampling
from rl_distill.analysis.readings import read
from rl_distill.analysis.token_classes import load_classes

MATCHER = load_classes().matcher()
LABELS = ["anthropomorphic", "connectors"]


@pytest.fixture
def readings(recorded):
    def make(*responses: tuple) -> list:
        return read(
            [recorded(text, status, problem=problem, tokens=tokens) for problem, text, status, tokens in responses],
            MATCHER,
            "tokens",
        )

    return make


def test_rates_are_per_thousand_tokens_and_split_by_verdict_and_region(readings) -> None:
    some = readings(
        ("a", "<think>wait wait</think>so", "correct", 50),
        ("b", "<think>hmm hmm x</think>x", "wrong", 150),
        ("b", "", "unverifiable", 0),
    )
    found = class_report(some, LABELS, Resampling(["a", "b"], 0))["anthropomorphic"]
    assert (found["all"]["count"], found["all"]["per_thousand"]["whole"]["value"]) == (4, 20)
    assert found["correct"]["per_thousand"]["whole"]["value"] == 40
    assert found["wrong"]["per_thousand"]["whole"]["value"] == pytest.approx(2000 / 150)
    assert found["all"]["per_thousand"]["outside"]["value"] == 0
    assert found["all"]["share_of_responses"]["value"] == 0.75  # a mean over problems
    assert found["all"]["per_response"]["value"] == pytest.approx(4 / 3)
    assert found["correct_minus_wrong"]["value"] == pytest.approx(40 - 2000 / 150)
    assert found["words"] == {"wait": 2, "hmm": 2}


def test_deciles_say_where_in_a_response(readings) -> None:
    text = "wait" + " x" * 46 + " hmm"  # 100 characters
    found = class_report(readings(("a", text, "correct", 100)), LABELS, Resampling(["a"], 0))["anthropomorphic"]
    assert found["per_thousand_by_decile"] == [100, 0, 0, 0, 0, 0, 0, 0, 0, 100]


def test_a_longer_response_with_the_same_beginning_differs_only_until_lengths_are_matched(readings) -> None:
    short = "wait x x x"
    long = short + " hmm hmm hmm hmm hmm"
    problems = [f"p{number}" for number in range(6)]
    first = readings(*((problem, short, "correct", len(short)) for problem in problems))
    second = readings(*((problem, long, "correct", len(long)) for problem in problems))
    found = comparison(first, second, LABELS, Resampling(problems, 0))
    difference = found["classes"]["anthropomorphic"]
    assert difference["whole"]["separated"] and difference["whole"]["value"] > 0
    assert difference["length_matched"]["value"] == pytest.approx(0)
    assert not difference["length_matched"]["separated"]
    assert (found["matched_length"], found["reach_it"]) == (len(short), [1, 1])
