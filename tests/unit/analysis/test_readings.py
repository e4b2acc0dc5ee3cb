import pytest

from rl_distill.analysis.readings import read, thinking_spans
from rl_distill.analysis.token_classes import load_classes

MATCHER = load_classes().matcher()


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("<think>wait</think>so", "wait", "so"),
        ("so<think>wait", "wait", "so"),  # not closed: the end of the response is the end of the span
        ("wait</think>so", "wait", "so"),  # opened by the prompt
        ("<think>wait</think>so<think>but</think>", "waitbut", "so"),
        ("so", "", "so"),
        ("", "", ""),
    ],
)
def test_a_response_is_cut_at_its_thinking_spans(text: str, inside: str, outside: str) -> None:
    spans = list(thinking_spans(text))
    assert "".join(text[start:end] for start, end, within in spans if within) == inside
    assert "".join(text[start:end] for start, end, within in spans if not within) == outside


def test_what_is_found_says_its_region_and_its_place(recorded) -> None:
    (reading,) = read([recorded("<think>wait but</think> so", tokens=26)], MATCHER, "tokens")
    assert [(one.entry, one.inside) for one in reading.found] == [("wait", True), ("but", True), ("so", False)]
    assert [one.place for one in reading.found] == [7 / 26, 12 / 26, 24 / 26]
    assert reading.inside == 8 / 26


def test_a_shorter_limit_leaves_what_ended_before_it(recorded) -> None:
    (reading,) = read([recorded("wait, but so now", tokens=8)], MATCHER, "tokens")  # two characters a token
    assert [one.entry for one in reading.until(8).found] == ["wait", "but", "so"]
    cut = reading.until(5)
    assert ([one.entry for one in cut.found], cut.length) == (["wait", "but"], 5)
    assert cut.found[1].place == pytest.approx(0.6)
    assert [one.entry for one in reading.until(2).found] == ["wait"]
    assert reading.until(1).found == ()


def test_an_empty_response_has_nothing(recorded) -> None:
    (reading,) = read([recorded("", tokens=0)], MATCHER, "tokens")
    assert (reading.found, reading.length, reading.inside) == ((), 0, 0.0)
