"""What is taken for the answer, and which answers are the same by spelling or by number."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_distill.rewards.answers import ascii_digits, boxed_answer, decimal, normalized, plain, python_code


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"the answer is \boxed{42}.", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{3} and cut off \boxed{\frac{1", "3"),
        (r"\boxed{\boxed{5}}", "{5}"),
        (r"x } } \boxed{6}", "6"),
        (r"\boxed{}", ""),
        ("the answer is 42", None),
        (r"\boxed{42", None),
        ("", None),
    ],
)
def test_last_complete_box_is_the_answer(response: str, answer: str | None) -> None:
    assert boxed_answer(response) == answer


def test_box_after_thinking_is_preferred_and_a_box_while_thinking_is_better_than_none() -> None:
    assert boxed_answer(r"<think>\boxed{1}</think> so \boxed{2}") == "2"
    assert boxed_answer(r"<think>\boxed{1}</think> as shown") == "1"
    assert boxed_answer(r"\boxed{1}</think>\boxed{2}</think> \boxed{3}") == "3"


def test_million_braces_are_read_in_one_pass() -> None:
    assert boxed_answer(r"\boxed{" * 300_000) is None
    assert boxed_answer(r"\boxed{" + "{" * 500_000 + "}" * 500_001) == "{" * 500_000 + "}" * 500_000


@given(st.text(alphabet="\\boxed{}1 <think>/", max_size=60))
def test_any_text_can_be_searched(response: str) -> None:
    found = boxed_answer(response)
    assert found is None or "boxed" in response


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"\text{Evelyn}", "Evelyn"),
        ("$x + 1$", "x+1"),
        ("12.", "12"),
        (r"\text{4:30 p.m.}", r"4:30 \text{ p.m.}"),
        (r"10,\!000", "10,000"),
    ],
)
def test_spellings_of_one_answer_are_normalized_alike(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 1/2", "11/2"),
        (r"1\frac{1}{2} 3", r"1\frac{1}{2}3 4"),
        ("a b", "ab"),
        ("X", "x"),
        ("-1", "1"),
        (r"\pi", "pi"),
        ("1.5", "15"),
    ],
)
def test_different_answers_stay_different(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", (Decimal(42), False)),
        ("-7", (Decimal(-7), False)),
        ("+7", (Decimal(7), False)),
        ("007", (Decimal(7), False)),
        ("5.0", (Decimal(5), False)),
        (".5", (Decimal("0.5"), False)),
        ("5.", (Decimal(5), False)),
        ("1,234,567", (Decimal(1234567), False)),
        ("1{,}234", (Decimal(1234), False)),
        (r"10,\! 000", (Decimal(10000), False)),
        (r"\$18", (Decimal(18), False)),
        ("-$18.50", (Decimal("-18.5"), False)),
        (r"50\%", (Decimal(50), True)),
        ("$42$", (Decimal(42), False)),
        ("3,14", None),
        ("1,2", None),
        ("12,34,567", None),
        ("1e5", None),
        ("1/2", None),
        ("--1", None),
        (".", None),
        ("", None),
        ("\u0661\u0662", (Decimal(12), False)),
        ("-\u0967\u0968.\u096b", (Decimal("-12.5"), False)),
        ("\uff11,\uff12\uff13\uff14", (Decimal(1234), False)),
        ("5\u00b2", None),
        ("\u2460", None),
        ("\u0663\u066b\u0665", None),
        ("5 apples", None),
    ],
)
def test_only_unmistakable_numbers_are_numbers(text: str, value: tuple[Decimal, bool] | None) -> None:
    assert decimal(text) == value


@given(st.integers(-(10**9), 10**9))
def test_an_integer_is_itself_with_or_without_thousands_separators(number: int) -> None:
    assert decimal(str(number)) == decimal(f"{number:,}") == decimal(f"{number}.00") == (Decimal(number), False)


@given(st.text(max_size=30))
def test_only_decimal_digits_become_other_characters(text: str) -> None:
    folded = ascii_digits(text)
    assert len(folded) == len(text)
    for before, after in zip(text, folded, strict=True):
        assert after == before if before.isascii() or not before.isdecimal() else after in "0123456789"


def test_digits_of_any_script_are_folded_and_powers_and_circled_numbers_are_not() -> None:
    assert ascii_digits("\u0663 \uff13 \u0969 \u09e9 \U0001d7d1") == "3 3 3 3 3"
    assert ascii_digits("x\u00b2 5\u00b3 \u2463 \u00bd \u2166 \u4e09") == "x\u00b2 5\u00b3 \u2463 \u00bd \u2166 \u4e09"


def test_gold_answers_are_unwrapped() -> None:
    assert plain(r" $\frac12$ ") == r"\frac12"
    assert plain(r"so \boxed{3}") == "3"
    assert plain("$1 and $2") == "$1 and $2"
    assert plain("$$4$$") == "4"


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("```python\na\n```", "a\n"),
        ("```python\na\n```\n```python\nb\n```", "b\n"),
        ("```py\na\n```\nprints\n```\n1\n```", "a\n"),  # what it prints is no program
        ("```\na\n```", "a\n"),
        ("```cpp\na\n```", None),
        ("```Python3 title=x\na\n```", "a\n"),
        ("- so\n  ```python\n  a\n  ```", "  a\n"),
        ("```python\na\n", None),
        ("```python\na\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```python\nb\n", "a\n"),
        ("<think>```python\na\n```</think>```python\nb\n```", "b\n"),
        ("<think>\n```python\na\n```\n</think>\nas above", "a\n"),
        ("print(1)", None),
        ("```python print(1)```", None),
        ("", None),
    ],
)
def test_last_closed_block_of_python_is_the_program(response: str, code: str | None) -> None:
    assert python_code(response) == code


def test_a_hundred_thousand_fences_are_read_in_one_pass() -> None:
    assert python_code("```python\n" * 100_000 + "a\n```") == "a\n"
