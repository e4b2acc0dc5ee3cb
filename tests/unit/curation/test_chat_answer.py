"""Bodies of successful HTTP answers that no server should send, and that some send."""

import json

import pytest
from teacher_calls import asked

from rl_distill.curation.chat_answer import answer_from_body, json_answer
from rl_distill.curation.failures import TeacherFailure
from rl_distill.curation.store import ResponseStore

HALF = "\N{REPLACEMENT CHARACTER}"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def body(content="4", **changes):
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop", "index": 0}
    choice |= changes.pop("choice", {})
    return json.dumps({"id": "c-1", "model": "tiny", "choices": [choice], "usage": USAGE} | changes).encode()


@pytest.fixture
def read():
    return lambda sent: answer_from_body(sent, *asked(["2 + 2?"]), model="tiny", max_tokens=20)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param(body("4 \ud83d"), f"4 {HALF}", id="half a character"),
        pytest.param(body("4 \udfff").replace(rb"\udfff", b"\xed\xbf\xbf"), f"4 {HALF}", id="half a character in bytes"),
        pytest.param(body(choice={"mean_logprob": float("nan")}), "4", id="not a number"),
        pytest.param(body().replace(b'"index": 0', b'"index": 1e999'), "4", id="a number that is too large"),
        pytest.param(body(choice={"logprobs": {"content": 5}}), "4", id="log-probs that are none"),
        pytest.param(body([{"type": "text", "text": None}, {"type": "text", "text": "4"}]), "4", id="a part without text"),
    ],
)
def test_what_cannot_be_written_in_an_answer_is_replaced_and_the_answer_stored(read, tmp_path, sent, text):
    response = read(sent)
    assert (response.failure, response.text, response.prompt_tokens) == (None, text, 10)
    with ResponseStore(tmp_path, {}) as store:
        store.add("row", response)
    with ResponseStore(tmp_path, {}) as store:
        assert store.get("row") == response


@pytest.mark.parametrize("count", [10**400, -1, 2.0, None])
def test_a_count_of_tokens_that_cannot_be_is_none(read, count):
    response = read(body(usage=USAGE | {"prompt_tokens": count}))
    assert not response.tokens_counted_by_server and 0 < response.prompt_tokens < 1000


@pytest.mark.parametrize("content", [{"text": "4"}, 4, True])
def test_content_that_is_no_text_is_no_answer(read, content):
    with pytest.raises(TeacherFailure, match="no chat completion"):
        read(body(content))


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', '\n```\n{"a": 1}```\n'])
def test_a_block_of_markdown_around_json_is_no_part_of_it(text):
    assert json_answer(text) == {"a": 1}


@pytest.mark.parametrize("text", ['see: ```json\n{"a": 1}\n```', "``` json", "```json\nprose\n```", "", "[" * 100_000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):
        json_answer(text)
