from collections import Counter

import pytest

from rl_distill.analysis.behavior_spans import Span, distinct, verified_spans

TEXT = "Let me check. Let me check again, d'accord: \u00e7a va."


def verified(*quotes: str, part: tuple[int, int] = (0, len(TEXT))) -> tuple[list[str], dict[str, int]]:
    dropped: Counter[str] = Counter()
    found = verified_spans([{"behavior": "verification", "quote": quote} for quote in quotes], TEXT, part, dropped)
    return [f"{span.start}:{TEXT[span.start : span.end]}" for span in found], dict(dropped)


def test_a_quote_counts_where_it_stands_letter_by_letter() -> None:
    assert verified("Let me check again", "\u00e7a va") == (["14:Let me check again", "44:\u00e7a va"], {})
    assert verified("let me check", "Let  me check", "I was never said") == ([], {"not_in_text": 3})


@pytest.mark.parametrize(
    ("quote", "text", "starts"),
    [
        ("art", "start, an art of its own", [10]),
        ("check", "checks double-check check", [20]),
        ("caf", "cafe\u0301 caf", [6]),
        ("\u043d\u0430", "\u043e\u043d\u0430 \u043d\u0430", [4]),
        ("\u7b49", "\u7b49\u7b49", [0]),  # without spaces each character is a word
        (", an", "start, and, an", [10]),
        ("(1", "(12) (1)", [5]),
    ],
)
def test_a_quote_counts_as_whole_words_only(quote: str, text: str, starts: list[int]) -> None:
    dropped: Counter[str] = Counter()
    found = verified_spans([{"behavior": "verification", "quote": quote}], text, (0, len(text)), dropped)
    assert [span.start for span in found] == starts and not dropped
    assert verified_spans([{"behavior": "verification", "quote": quote}], text, (0, starts[0]), dropped) == []
    assert dropped == {"not_in_text": 1}


def test_a_quote_that_is_too_long_or_empty_is_dropped_and_counted() -> None:
    assert verified("x " * 13, " ", "") == ([], {"too_long": 1, "empty": 2})


def test_a_quote_given_twice_means_two_places() -> None:
    assert verified("Let me check", "Let me check", "Let me check") == (["0:Let me check", "14:Let me check"], {"repeated": 1})


def test_a_quote_is_looked_for_in_the_part_that_was_shown() -> None:
    assert verified("Let me check", part=(10, len(TEXT))) == (["14:Let me check"], {})
    assert verified("Let me check", part=(20, len(TEXT))) == ([], {"not_in_text": 1})


def test_spans_of_one_behavior_that_overlap_are_one() -> None:
    spans = [Span("a", 0, 10), Span("a", 5, 12), Span("a", 12, 20), Span("b", 0, 10), Span("b", 0, 10)]
    assert distinct(spans) == [Span("a", 0, 12), Span("a", 12, 20), Span("b", 0, 10)]
