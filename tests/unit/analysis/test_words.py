import pytest

from rl_distill.analysis.words import count_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wait, await BUTTON", ["wait", "await", "button"]),
        ("let\u2019s double\u2011check", ["let's", "double-check"]),
        (r"\sqrt2 and \frac{1}{2}", ["sqrt", "2", "and", "frac", "1", "2"]),
        ("_So_ so_far", ["so", "so_far"]),
        ("Stra\u00dfe STRASSE", ["strasse", "strasse"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("\u7b49\u7b49, \u5bf9", ["\u7b49", "\u7b49", "\u5bf9"]),  # Chinese writes no spaces: each character is a word
        ("\u0440\u043e\u0434 \u043d\u0430\u0440\u043e\u0434", ["\u0440\u043e\u0434", "\u043d\u0430\u0440\u043e\u0434"]),
        ("\u0930\u0941\u0915\u094b", ["\u0930\u0941\u0915\u094b"]),  # Hindi: vowel signs belong to the word
        ("", []),
        ("'- --", []),
    ],
)
def test_words_are_whole_and_folded_in_any_script(text: str, expected: list[str]) -> None:
    assert [word.text for word in words(text)] == expected
    assert count_words(text) == len(expected)


def test_a_word_says_where_it_stands() -> None:
    text = "Oh \u2014 Wait!"
    assert [text[word.start : word.end] for word in words(text)] == ["Oh", "Wait"]
    assert [word.text for word in words(text, 1, 7)] == ["h", "wa"]
