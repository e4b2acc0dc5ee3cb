"""One spelling for what differs only in typesetting; what may differ in meaning stays different."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.curation.normalize import normalized, numbers, sentences_sorted, words


@pytest.mark.parametrize(
    "other",
    [
        "find  the   value of $x + 1$.",
        "Find the value of \\(x+1\\).",
        "Find the value of $x\\, +\\; 1 $ .",
        "Problem 12. Find the value of $x+1$.",
        "**Question 3:** Find the value of $x+1$.",
        "7) Find the value of $x+1$.",
        "(14) Find the value of $x+1$.",
        "[2 points] Find the value of $x+1$.",
        "FIND the value of $\\left x + \\text{1}\\right$.",
        "Find the value of x + 1.",
        "Find the\u00a0value of \uff58 + \uff11.",
    ],
)
def test_typesetting_does_not_count(other: str) -> None:
    assert normalized(other) == normalized("Find the value of $x+1$.")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 apples cost $3", "apples cost $3"),
        ("1.5 liters of milk", "5 liters of milk"),
        ("is $1 1/2$ more", "is $11/2$ more"),
        ("find $x-1$", "find $x+1$"),
        ("find $x^{-1}$", "find $x^1$"),
        ("It costs 3.50", "It costs 350"),
    ],
)
def test_what_differs_in_meaning_stays_different(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


def test_quotes_dashes_and_spelled_numbers_have_one_spelling() -> None:
    assert normalized("Ann’s “twenty-five” – no, forty seven") == normalized('Ann\'s "25" - no, 47')
    assert normalized("seventeenth someone tense") == "seventeenth someone tense"


def test_numbers_are_read_by_value_and_in_order() -> None:
    assert numbers(normalized("Two of 1,000 cost $3.50 and 07 cost \\frac{1}{20}")) == ("2", "1000", "3.5", "7", "1", "20")
    assert numbers("no digits") == ()


@pytest.mark.parametrize("other", ["12{,}345", r"$12\,345$", "12\u2009345", "1\u200b2,345", "\u200e12,3\u00ad45"])
def test_a_number_is_one_however_it_is_set(other: str) -> None:
    assert normalized(f"Of {other} coins") == normalized("Of 12,345 coins")
    assert numbers(normalized(f"Of {other} coins")) == ("12345",)


def test_neighbouring_numbers_are_no_thousands() -> None:
    assert numbers(normalized(r"the set \{1{,}2{,}3\}, f(1\,1000), 5 000")) == ("1", "2", "3", "1", "1000", "5", "0")


def test_the_code_of_a_figure_holds_no_words() -> None:
    assert words(normalized("Find it. [asy]draw((0,0)--(1,1));[/asy] In cm")) == ["find", "it", "in", "cm"]


def test_the_order_of_sentences_does_not_count_once_sorted() -> None:
    one, other = (
        "It is 3.5 km. Then he rests! Where? [asy]draw(0);[/asy]",
        "Then he rests! It is 3.5 km. Where? [asy]draw(0);[/asy]",
    )
    assert normalized(one) != normalized(other)
    assert sentences_sorted(normalized(one)) == sentences_sorted(normalized(other))


@given(st.text(max_size=40))
def test_any_text_can_be_normalized(text: str) -> None:
    found = normalized(text)
    assert "  " not in found and "$" not in found and found == found.strip()
    words(found), numbers(found), sentences_sorted(found)
