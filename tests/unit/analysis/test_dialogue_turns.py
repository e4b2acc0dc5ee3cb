"""Tokens of turns: none is lost, none belongs to somebody else."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from told_dialogues import END, PROBLEM, attempt, decode

from rl_distill.analysis.dialogue_turns import pieces, turns_of
from rl_distill.errors import InputError


def test_each_reply_gets_its_own_tokens_and_the_text_of_others_none() -> None:
    found = turns_of(attempt(["why?", "so it is", PROBLEM, "19 then"], 2, "correct", "full", 0), decode)
    assert [(turn.chosen, "".join(token.text for token in turn.tokens)) for turn in found] == [
        (False, ""),
        (True, f"so it is{END}"),
        (False, ""),
        (True, f"19 then{END}"),
    ]


def test_where_replies_were_put_there_only_the_answer_is_the_students() -> None:
    found = turns_of(attempt(["why?", "", "how?", "", PROBLEM, "19"], 1, "correct", "blanked", 0), decode)
    assert [turn.chosen for turn in found] == [False] * 5 + [True]


def test_a_token_has_the_log_probs_of_its_own_place() -> None:
    one = attempt([PROBLEM, "it is 19"], 1, "correct", "direct", 0)
    tokens = turns_of(one, decode)[-1].tokens
    first = len(one.token_ids) - len(tokens)
    assert one.behavior_logprobs is not None and one.reference_logprobs is not None
    assert [token.behavior for token in tokens] == list(one.behavior_logprobs[first:])
    assert [token.reference for token in tokens] == list(one.reference_logprobs[first:])
    bare = turns_of(replace(one, behavior_logprobs=None, reference_logprobs=None), decode)[-1].tokens
    assert {(token.behavior, token.reference) for token in bare} == {(None, None)}


def test_more_sampled_stretches_than_turns_are_refused() -> None:
    broken = replace(
        attempt(["why?", "so", PROBLEM, "19"], 2, "correct", "full", 0),
        messages=attempt(["?", "19"], 1, None, "direct", 0).messages,
    )
    with pytest.raises(InputError, match="has 2 sampled stretches in the 1 turns"):
        turns_of(broken)


def test_a_letter_of_several_tokens_comes_with_its_last_one_and_nothing_is_lost() -> None:
    text = "né 5 €!"
    token_ids = list(text.encode())

    def decode_bytes(ids: object) -> str:
        return bytes(ids).decode(errors="replace")  # type: ignore[call-overload, no-any-return]

    found = list(pieces(token_ids, decode_bytes))
    assert len(found) == len(token_ids) and "".join(found) == text and found[1:3] == ["", "é"]
    assert list(pieces(token_ids[:2], decode_bytes)) == ["n", "\ufffd"]  # cut off inside a letter


def test_a_long_text_is_read_in_time_that_grows_with_its_length() -> None:
    """Decoding everything anew for each token takes the square of it, minutes for the answers of a reasoning model."""
    read = 0

    def count(ids: Sequence[int]) -> str:
        nonlocal read
        read += len(ids)
        return "".join(map(chr, ids))

    assert "".join(pieces([97] * 500, count)) == "a" * 500
    assert read < 5 * 500


def test_a_space_that_a_decoder_leaves_out_at_the_beginning_stays_between_words() -> None:
    def decode_words(ids: Sequence[int]) -> str:
        return " ".join("ab"[one] for one in ids)

    assert list(pieces([0, 1, 0], decode_words)) == ["a", " b", " a"]
