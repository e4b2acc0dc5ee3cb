from pathlib import Path

import pytest

from rl_distill.analysis.token_classes import load_classes
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer


def found(text: str, path: Path | None = None) -> list[tuple[str, str]]:
    return [match[:2] for match in load_classes(path).matcher().find(text)]


@pytest.fixture
def lists(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "classes.yaml"
        path.write_text(text)
        return path

    return write


def test_a_word_within_another_is_not_counted() -> None:
    assert found("await button thence Waiter rebut so-called unchecked") == []
    assert found("Wait. BUT, hence") == [("anthropomorphic", "wait"), ("connectors", "but"), ("connectors", "hence")]


def test_a_phrase_has_nothing_but_white_space_between_its_words() -> None:
    assert found("Try\n  again") == [("restart", "try again")]
    assert found("try, again") == []
    assert found("Let\u2019s see") == [("anthropomorphic", "let's see")]


def test_of_entries_at_one_word_the_longest_counts_and_its_words_count_once(lists) -> None:
    path = lists("version: 1\nclasses:\n  a: [check, again]\n  b: [check again now, check again]\n")
    assert found("check again check, again check again now", path) == [
        ("b", "check again"),
        ("a", "check"),
        ("a", "again"),
        ("b", "check again now"),
    ]


def test_a_match_says_its_characters() -> None:
    text = "Hmm: let  me go"
    assert [text[one.start : one.end] for one in load_classes().matcher().find(text)] == ["Hmm", "let  me"]


def test_words_of_a_script_without_spaces_are_found(lists) -> None:
    assert found("\u6211\u7b49\u7b49\u770b", lists("version: 1\nclasses:\n  a: [\u7b49\u7b49]\n")) == [("a", "\u7b49\u7b49")]


def test_an_entry_in_two_classes_is_refused_by_name(lists) -> None:
    with pytest.raises(InputError, match="'Wait' stands in 'a' and in 'b'"):
        load_classes(lists("version: 1\nclasses:\n  a: [wait]\n  b: [Wait]\n"))
    with pytest.raises(InputError, match="no letters"):
        load_classes(lists("version: 1\nclasses:\n  a: ['...']\n"))


def test_the_digest_is_of_what_is_counted_alone(lists) -> None:
    one = load_classes(lists("version: 1\nclasses:\n  a: [wait, but]\n")).digest
    assert load_classes(lists("# mine\nversion: 1\nclasses:\n  a: [But, wait]\n")).digest == one
    assert load_classes(lists("version: 1\nclasses:\n  a: [wait]\n")).digest != one


def test_the_words_of_the_arithmetic_world_are_a_class_of_its_tokens() -> None:
    vocabulary = set(arithmetic_tokenizer().get_vocab())
    assert set(load_classes().classes["arithmetic_world"]) <= vocabulary
    assert set(load_classes().classes["arithmetic_world"]) >= {"is", "yes", "no"}
