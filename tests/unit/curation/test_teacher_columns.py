"""From a server's answer with log-probs to a teacher's columns: hand-made answers, good and bad."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_qwen import qwen_folder, qwen_tokenizer

from rl_distill.config import parse
from rl_distill.curation.recipe import CurationRecipe
from rl_distill.curation.teacher import Response, TeacherRequest, TeacherSampling
from rl_distill.curation.teacher_columns import ColumnReader, TeacherColumns
from rl_distill.curation.token_entries import TokenIds, Unusable, candidates_at
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import byte_bpe_tokenizer
from rl_distill.text import encode_prompt
from rl_distill.trajectory import TEACHER_TEMPERATURE, Message, Problem

TOKENIZER = qwen_tokenizer()
IDS = TokenIds(TOKENIZER)
QUESTION = "What is 2 + 2?"
PROBLEM = Problem(id="p", prompt=QUESTION, answer="4", source="test")
REPLY = TOKENIZER.encode("It is 4.", add_special_tokens=False)
OTHERS = TOKENIZER.encode("xy", add_special_tokens=False)
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
HALF, QUARTER, EIGHTH = math.log(0.5), math.log(0.25), math.log(0.125)


def entry(sampled: str, logprob: float, **others: float) -> dict[str, Any]:
    return {"token": sampled, "logprob": logprob, "top_logprobs": [{"token": t, "logprob": v} for t, v in others.items()]}


def named(token_id: int) -> str:
    return f"token_id:{token_id}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen_folder(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def reader(folder: Path) -> ColumnReader:
    return ColumnReader(TeacherColumns(tokenizer=str(folder)))


def asked(**sampling: Any) -> TeacherRequest:
    settings = TeacherSampling(**{"max_tokens": 20, "logprobs": True, "top_logprobs": 3} | sampling)
    return TeacherRequest(row_key="k-0", problem_id="p", messages=(Message("user", QUESTION),), sampling=settings, seed=0)


PROMPT = list(encode_prompt(TOKENIZER, asked().conversation))


def answer(sampled: list[int], *, write: Any = named, choice: Any = (), raw: Any = (), **changes: Any) -> Response:
    """A good answer of vLLM's, in which each token has half of the mass, "x" a quarter and "y" an eighth."""
    entries = []
    for token in sampled:
        first, second = OTHERS
        entries.append(entry(write(token), HALF, **{write(token): HALF, write(first): QUARTER, write(second): EIGHTH}))
    choices = [{"token_ids": sampled, **dict(choice)}]
    wanted: dict[str, Any] = {
        "text": TOKENIZER.decode(sampled, skip_special_tokens=True),
        "finish_reason": "stop",
        "prompt_tokens": len(PROMPT),
        "completion_tokens": len(sampled),
        "logprobs": tuple(entries),
        "raw": {"prompt_token_ids": PROMPT, "choices": choices, **dict(raw)},
    }
    return Response(row_key="k-0", problem_id="p", seed=0, max_tokens=20, model="tiny", **wanted | changes)


def test_a_row_of_the_store_becomes_tokens_with_their_columns(reader):
    made = reader.attempt(PROBLEM, asked(), answer([*REPLY, END]))
    assert made.token_ids == (*PROMPT, *REPLY, END) and made.response == "It is 4."
    assert made.sampled == (False,) * len(PROMPT) + (True,) * (len(REPLY) + 1)
    assert made.candidate_ids[: len(PROMPT)] == made.teacher_candidate_logprobs[: len(PROMPT)] == ((),) * len(PROMPT)
    for token, ids, logprobs in zip(
        (*REPLY, END), made.candidate_ids[len(PROMPT) :], made.teacher_candidate_logprobs[len(PROMPT) :], strict=True
    ):
        assert ids == (token, OTHERS[0])  # one fewer than the alternatives
        assert logprobs == pytest.approx((HALF, QUARTER, QUARTER))  # the last: an eighth, and what was not named
    assert made.metadata[TEACHER_TEMPERATURE] == 1.0


@pytest.mark.parametrize("server", ["vllm", "openai"])
def test_the_most_likely_tokens_are_known_whether_or_not_a_server_counts_the_sampled_one(server):
    """vLLM puts an unlikely sampled token in the place of the last alternative; OpenAI names the most likely ones alone."""
    likely = {named(1): HALF, named(2): QUARTER}
    alternatives = {named(9): math.log(0.01), **likely} if server == "vllm" else {**likely, named(3): EIGHTH}
    ids, logprobs = candidates_at(entry(named(9), math.log(0.01), **alternatives), 9, IDS, 2)
    assert ids == (1, 2) and logprobs == pytest.approx((HALF, QUARTER, QUARTER))


def test_a_sampled_token_among_the_most_likely_is_one_of_them():
    ids, logprobs = candidates_at(entry(named(2), QUARTER, **{named(1): HALF, named(3): EIGHTH}), 2, IDS, 2)
    assert ids == (1, 2) and logprobs == pytest.approx((HALF, QUARTER, QUARTER))


def test_a_rest_below_the_rounding_of_the_likely_ones_is_a_small_number_and_no_error():
    _, logprobs = candidates_at(entry(named(1), 0.0, **{named(2): -30.0}), 1, IDS, 2)
    assert logprobs == pytest.approx((0.0, -30.0, math.log(1e-6)))


@pytest.mark.parametrize(
    ("reason", "logprob", "others"),
    [
        ("too_few_alternatives", HALF, {}),
        ("cut_distribution", HALF, {named(2): -9999.0}),
        ("cut_distribution", HALF, {named(2): float("nan")}),
        ("no_distribution", HALF, {named(2): 0.0}),
        ("unknown_token", HALF, {named(100_000): QUARTER}),
        ("ambiguous_token", HALF, {"no token at all": QUARTER}),
    ],
)
def test_what_is_no_distribution_over_known_tokens_is_left_out_with_a_label(reason, logprob, others):
    with pytest.raises(Unusable) as caught:
        candidates_at(entry(named(1), logprob, **others), 1, IDS, 2)
    assert caught.value.reason == reason


def written(token_id: int) -> str:
    return TOKENIZER.decode([token_id], skip_special_tokens=False)


def test_tokens_that_are_only_text_are_found_where_the_text_is_one_tokens(reader):
    texts = answer([*REPLY, END], write=written, choice={"token_ids": None}, raw={"prompt_token_ids": None})
    assert reader.attempt(PROBLEM, asked(), texts) == reader.attempt(PROBLEM, asked(), answer([*REPLY, END]))


def refused(reader: ColumnReader, response: Response) -> str:
    with pytest.raises(Unusable) as caught:
        reader.attempt(PROBLEM, asked(), response)
    return caught.value.reason


def test_half_a_character_has_no_text_of_its_own(reader):
    """Bytes of a character's middle are all written alike, so nobody knows which one is meant."""
    halves = TOKENIZER.encode("é", add_special_tokens=False)
    assert len(halves) == 2
    texts = answer([*halves, END], write=written, choice={"token_ids": None})
    assert refused(reader, texts) == "ambiguous_token"
    assert reader.attempt(PROBLEM, asked(), answer([*halves, END])).response == "é"


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown_prompt", {"raw": {"prompt_token_ids": None}, "prompt_tokens": 7}),
        ("unknown_prompt", {"raw": {"prompt_token_ids": None}, "tokens_counted_by_server": False}),
        ("prompt_differs", {"raw": {"prompt_token_ids": PROMPT[:4]}}),
        ("unknown_token", {"raw": {"prompt_token_ids": [*PROMPT, -1]}}),
        ("text_differs", {"text": "It is 5."}),
        ("tokens_missing", {"choice": {"token_ids": REPLY}}),
        ("tokens_missing", {"logprobs": ()}),
        ("malformed_logprobs", {"logprobs": ({"token": "a"},) * (len(REPLY) + 1)}),
        ("malformed_logprobs", {"logprobs": (None,) * (len(REPLY) + 1)}),
        ("malformed_logprobs", {"choice": {"token_ids": 5}}),
        ("tokens_differ", {"choice": {"token_ids": [*REPLY[:-1], OTHERS[0], END]}}),
    ],
)
def test_an_answer_that_is_not_exactly_known_is_left_out_with_a_label(reader, reason, changes):
    assert refused(reader, answer([*REPLY, END], **changes)) == reason


def test_an_answer_whose_end_has_no_token_would_teach_nobody_to_end(reader):
    assert refused(reader, answer(REPLY)) == "no_end_of_turn"
    cut_off = reader.attempt(PROBLEM, asked(), answer(REPLY, finish_reason="length", failure="length"))
    assert cut_off.finish_reason == "length" and cut_off.token_ids == (*PROMPT, *REPLY)


def test_an_answer_may_be_cut_off_within_a_character(reader):
    half = TOKENIZER.encode("é", add_special_tokens=False)[:1]
    cut_off = answer([*REPLY, *half], finish_reason="length", failure="length", text="It is 4.")
    assert reader.attempt(PROBLEM, asked(), cut_off).token_ids[-1:] == tuple(half)


def test_reasoning_and_answer_are_the_text_of_their_tokens(reader):
    said = TOKENIZER.encode("<think>\nOkay.\n</think>\n\nIt is 4.", add_special_tokens=False)
    apart = answer([*said, END], text="It is 4.", reasoning="\nOkay.\n")
    made = reader.attempt(PROBLEM, asked(), apart)
    assert made.response == "<think>\nOkay.\n</think>\n\nIt is 4." and "reasoning" not in made.metadata
    assert refused(reader, replace(apart, reasoning="Hm.")) == "text_differs"


def test_an_answer_that_failed_keeps_its_own_label(reader):
    timed_out = replace(answer([END], failure="time_out", logprobs=None), raw=None)
    made = reader.attempt(PROBLEM, asked(), timed_out)
    assert made.metadata["failure"] == "time_out" and made.candidate_ids is None


def test_ids_of_another_tokenizer_are_not_the_text(tmp_path):
    words = (
        "another corpus with merges of its own, such as none of the other",
        "why should vocabularies agree about anything",
        "zyx",
    )
    other = byte_bpe_tokenizer(words, len(TOKENIZER))
    other.save_pretrained(tmp_path)
    reader = ColumnReader(TeacherColumns(tokenizer=str(tmp_path)))
    assert refused(reader, answer([*REPLY, END])) in ("prompt_differs", "text_differs")


def test_a_tokenizer_that_is_not_there_is_named_by_its_key(tmp_path):
    with pytest.raises(InputError, match=r"generate.teacher_columns.tokenizer: there is no folder"):
        ColumnReader(TeacherColumns(tokenizer=str(tmp_path / "none")))


def test_a_vocabulary_must_leave_some_tokens_to_the_rest(reader):
    with pytest.raises(InputError, match="sampling.top_logprobs: keeps"):
        reader.attempt(PROBLEM, asked(top_logprobs=len(TOKENIZER) + 1), answer([*REPLY, END]))


WITH_LOGPROBS = {"logprobs": True, "top_logprobs": 20}


@pytest.mark.parametrize(
    ("message", "columns", "sampling", "overrides"),
    [
        ("set sampling.logprobs=true", {}, {}, {}),
        ("sampling.top_logprobs to 2 or more", {}, {"logprobs": True, "top_logprobs": 1}, {}),
        ("the same top_logprobs", {}, WITH_LOGPROBS, {"p": {"logprobs": True, "top_logprobs": 5}}),
        ("give a sampling.temperature", {"logprobs_mode": "processed"}, WITH_LOGPROBS | {"temperature": None}, {}),
        ("sampling has top_p", {"logprobs_mode": "processed"}, WITH_LOGPROBS | {"top_p": 0.9}, {}),
        ("sampling has top_k", {"logprobs_mode": "processed"}, WITH_LOGPROBS | {"extra": {"top_k": 50}}, {}),
    ],
)
def test_log_probs_that_will_not_come_or_are_no_softmaxs_are_refused_at_load(message, columns, sampling, overrides):
    with pytest.raises(InputError, match=message):
        parse(CurationRecipe, curation(columns, sampling, overrides))


def test_sampling_may_be_anything_where_log_probs_are_the_models_own():
    cold = WITH_LOGPROBS | {"temperature": 0.6, "top_p": 0.95, "extra": {"top_k": 50}}
    assert parse(CurationRecipe, curation({}, cold, {})).generate.teacher_columns.logprobs_mode == "raw"


def test_columns_of_the_sampling_distribution_are_of_its_temperature(folder):
    processed = ColumnReader(TeacherColumns(tokenizer=str(folder), logprobs_mode="processed"))
    made = processed.attempt(PROBLEM, asked(temperature=0.6), answer([*REPLY, END]))
    assert made.metadata[TEACHER_TEMPERATURE] == 0.6


def curation(columns: dict[str, Any], sampling: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    teacher = {"name": "openai", "model": "m", "endpoints": [{"base_url": "http://localhost:1/v1"}]}
    return {
        "name": "c",
        "problems": [{"name": "arithmetic"}],
        "generate": {
            "teacher": teacher,
            "sampling": sampling,
            "sampling_overrides": overrides,
            "teacher_columns": {"tokenizer": "folder", **columns},
        },
    }
