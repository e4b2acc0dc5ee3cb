"""Real calls over HTTP to a server that misbehaves as it is told to."""

import json

import pytest
from chat_server import chat_server
from teacher_calls import asked, teacher_at

from rl_distill.curation.failures import RetryPolicy
from rl_distill.curation.generate import Unfinished
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.errors import InputError

MISBEHAVIOR = {
    "hang": ("time_out", 3, "no answer within 0.3 s"),
    "drip": ("time_out", 3, "no answer within 0.3 s"),
    "garbage": ("transport", 3, "the answer is no JSON: '<html>it works</html>'"),
    "unlike": ("transport", 3, "the answer is no chat completion"),
    "nothing": ("transport", 3, "the answer is no JSON: (nothing)"),
    "deep": ("transport", 3, "the answer is no JSON: '[[[["),
    "close": ("transport", 3, "disconnected"),
    "cut": ("transport", 3, "closed connection"),
    "500": ("transport", 3, "HTTP 500: oops"),
    "empty": ("empty", 3, "no text (finish reason 'stop')"),
    "odd_end": ("schema", 3, "finish reason 'abort'"),
    "400": ("permanent", 1, "HTTP 400: bad"),
    "422": ("permanent", 1, "HTTP 422: odd"),
    "length": ("length", 1, "cut off at max_tokens"),
    "filtered": ("content_filter", 1, "withheld"),
}


@pytest.mark.parametrize("behavior", MISBEHAVIOR)
def test_what_goes_wrong_is_typed_said_in_one_line_and_asked_again_only_if_that_can_help(server, curate, behavior):
    failure, num_calls, words = MISBEHAVIOR[behavior]
    question = f"typed {behavior}: {behavior}"
    patience = 0.3 if failure == "time_out" else 30.0  # a busy machine must not look like a server that hangs
    teacher = teacher_at(server.base_url, request_timeout=patience)
    made = curate(teacher, asked([question] if failure == "time_out" else [question, "well"]), min_success_rate=0)
    bad, *rest = made.responses
    assert (bad.failure, len(bad.attempts)) == (failure, num_calls)
    assert words in bad.detail and "\n" not in bad.detail
    assert [attempt.failure for attempt in bad.attempts] == [failure] * num_calls
    assert sum(call["question"] == question for call in server.calls()) == num_calls
    assert all(good.failure is None and good.text.startswith("well ") for good in rest)


@pytest.mark.parametrize("behavior", ["429", "500", "cut", "empty", "garbage", "odd_end"])
def test_a_failure_that_passes_leaves_a_good_answer_that_remembers_it(server, curate, behavior):
    (response,) = curate(teacher_at(server.base_url), asked([f"passes {behavior}: {behavior}, ok"])).responses
    assert response.failure is None and response.text
    assert [attempt.failure is None for attempt in response.attempts] == [False, True]
    assert response.attempts[0].seconds >= 0 and response.attempts[0].endpoint in server.base_url


def test_a_rate_limit_is_not_a_rows_fault(server, curate):
    (response,) = curate(teacher_at(server.base_url), asked(["patience: 429, 429, 429, 429, 429, ok"])).responses
    assert response.failure is None
    assert [attempt.failure for attempt in response.attempts] == ["rate_limit"] * 5 + [None]


@pytest.mark.parametrize("behavior", ["401", "403", "404", "quota", "other_model"])
def test_an_endpoint_that_would_refuse_everything_is_asked_once(curate, behavior):
    with chat_server() as own, pytest.raises(Unfinished) as caught:
        questions = [f"{number}: {behavior}" for number in range(20)]
        try:
            curate(teacher_at(own.base_url, concurrency=1), asked(questions))
        finally:
            assert len(own.calls()) == 1
    assert "no endpoint of the teacher can be asked any more" in str(caught.value) and "\n" not in str(caught.value)


def test_another_models_answer_is_kept_and_named(tmp_path, curate):
    with chat_server() as own, pytest.raises(Unfinished, match="the answer is of model 'other' and not of 'tiny'"):
        curate(teacher_at(own.base_url), asked(["q: other_model"]))
    lines = [json.loads(line) for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert [line["response"]["raw"]["model"] for line in lines] == ["other"]


def test_what_one_endpoint_cannot_answer_is_asked_at_the_other(curate):
    with chat_server(model="other") as wrong, chat_server() as right:
        made = curate(teacher_at(wrong.base_url, right.base_url, concurrency=2), asked([str(number) for number in range(40)]))
        assert [response.failure for response in made.responses] == [None] * 40
        lost = [call["question"] for call in wrong.calls()]
        assert 1 <= len(lost) <= 2 and set(lost) <= {call["question"] for call in right.calls()}
    attempts = [attempt.failure for attempt in made.responses[int(lost[0])].attempts]
    assert attempts == ["permanent", None]


def test_a_dead_endpoint_is_given_up_and_the_others_do_its_work(curate):
    with chat_server() as dead, chat_server() as working:
        dead.process.kill()
        dead.process.wait()
        retry = RetryPolicy(max_attempts=9, first_pause=0.01, max_pause=0.02, max_pauses=3)
        made = curate(teacher_at(dead.base_url, working.base_url, retry=retry), asked([str(n) for n in range(30)]), retry=retry)
        assert {response.failure for response in made.responses} == {None}
        assert len({call["question"] for call in working.calls()}) == 30


def test_each_endpoint_keeps_its_own_concurrency(curate):
    with chat_server(seconds=0.02) as one, chat_server(seconds=0.02) as other:
        curate(teacher_at(one.base_url, other.base_url, concurrency=3), asked([str(number) for number in range(60)]))
        for server in (one, other):
            calls = server.calls()
            assert len(calls) >= 10 and max(call["under_way"] for call in calls) <= 3


def test_requests_are_spaced_so_that_the_servers_limit_is_never_met(curate):
    with chat_server(per_window=21, window=1.0) as server:
        teacher = teacher_at(server.base_url, requests_per_minute=20 * 60 * 0.5)
        made = curate(teacher, asked([str(number) for number in range(30)]))
        assert {len(response.attempts) for response in made.responses} == {1}


def test_a_cut_off_answer_is_asked_for_once_more_with_a_larger_limit_if_there_is_one(server, curate):
    sampling = TeacherSampling(max_tokens=20, longer_max_tokens=50)
    enough, never = curate(
        teacher_at(server.base_url), asked(["longer: needs50", "never: needs500"], sampling=sampling)
    ).responses
    assert (enough.failure, enough.max_tokens, [one.failure for one in enough.attempts]) == (None, 50, ["length", None])
    assert (never.failure, never.max_tokens, len(never.attempts)) == ("length", 50, 2) and never.text
    limits = [call["body"]["max_tokens"] for call in server.calls() if call["question"] == "never: needs500"]
    assert limits == [20, 50]


def test_what_came_to_nothing_is_not_asked_with_the_same_seed_again(server, curate):
    curate(teacher_at(server.base_url), asked(["seeds: empty, empty, ok"]))
    seeds = [call["body"]["seed"] for call in server.calls() if call["question"].startswith("seeds")]
    assert len(set(seeds)) == 3


def test_everything_asked_for_is_sent_and_nothing_else(server, curate):
    sampling = TeacherSampling(
        temperature=0.6, top_p=0.9, max_tokens=7, stop=("\n",), logprobs=True, top_logprobs=3, extra={"top_k": 5}
    )
    (request,) = requests = asked(["sent"], sampling=sampling, system_prompt="Be brief.")
    (response,) = curate(teacher_at(server.base_url), requests).responses
    (body,) = [call["body"] for call in server.calls() if call["question"] == "sent"]
    assert body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "sent"}],
        "temperature": 0.6,
        "top_p": 0.9,
        "max_tokens": 7,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 3,
        "top_k": 5,
        "seed": request.seed & (2**31 - 1),
    }
    likely = [{"token": token, "logprob": -0.5 - place} for place, token in enumerate("abc")]
    assert response.logprobs == ({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": likely},)


def test_log_probs_that_were_asked_for_and_do_not_come_are_an_error(curate):
    with chat_server() as own, pytest.raises(Unfinished, match="the server gives no log-probs; drop sampling.logprobs"):
        curate(teacher_at(own.base_url), asked(["q: no_logprobs"], sampling=TeacherSampling(logprobs=True)))


def test_fewer_alternatives_than_were_asked_for_are_an_error_at_the_first_answer(curate):
    wanted = TeacherSampling(logprobs=True, top_logprobs=3)
    with (
        chat_server() as own,
        pytest.raises(
            Unfinished, match="the server gives 1 alternatives for a token instead of the 3 that sampling.top_logprobs"
        ),
    ):
        curate(teacher_at(own.base_url), asked(["q: few_logprobs", "r: few_logprobs"], sampling=wanted))


def test_reasoning_stands_apart_and_the_whole_answer_is_kept(server, curate):
    (response,) = curate(teacher_at(server.base_url), asked(["why: reasoning"])).responses
    assert response.reasoning == "hm" and response.text.startswith("why")
    assert response.raw["choices"][0]["message"]["reasoning_content"] == "hm"
    assert (response.prompt_tokens, response.completion_tokens, response.tokens_counted_by_server) == (10, 5, True)


def test_tokens_that_the_server_does_not_count_are_bounded_from_above(server, curate):
    (response,) = curate(teacher_at(server.base_url), asked(["count: no_usage"])).responses
    assert not response.tokens_counted_by_server
    assert response.prompt_tokens >= len("count: no_usage") and response.completion_tokens >= len(response.text)


def test_an_answer_that_does_not_fit_its_schema_is_asked_for_again(server, curate):
    schema = {"type": "object", "properties": {"correct": {"type": "boolean"}}, "required": ["correct"]}
    (response,) = curate(teacher_at(server.base_url), asked(["judge: ok, json"], schema=schema)).responses
    assert json.loads(response.text) == {"correct": True}
    assert [attempt.failure for attempt in response.attempts] == ["schema", None]


def test_a_key_is_sent_and_stands_in_no_file_even_if_the_server_quotes_it(tmp_path, monkeypatch, curate):
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    with chat_server() as own, pytest.raises(Unfinished) as caught:
        try:
            curate(teacher_at(own.base_url, api_key_env="TEACHER_KEY"), asked(["q: quoting"]))
        finally:
            assert own.calls()[0]["key"] == "bearer sk-very-secret"
    assert "incorrect key: bearer [key]" in str(caught.value)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any("sk-very-secret" in text for text in written)


def test_a_key_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(InputError, match="names 'TEACHER_KEY', which is not set"):
        teacher_at("http://localhost:1/v1", api_key_env="TEACHER_KEY")


def test_an_address_that_is_none_is_named():
    with pytest.raises(InputError, match=r"endpoints\[0\].base_url: 'localhost:8000' is no address"):
        teacher_at("localhost:8000")


def test_keys_of_the_request_cannot_be_smuggled_in(server, curate):
    with pytest.raises(InputError, match="holds 'n'"):
        curate(teacher_at(server.base_url), asked(["q"], sampling=TeacherSampling(extra={"n": 4})))


def test_answers_that_repeat_another_sample_are_counted_and_said(server, curate):
    made = curate(teacher_at(server.base_url), asked(["again: same", "fresh"], num_samples=4))
    assert made.generated.num_repeated == 3
    assert any(note.startswith("3 answers have the words of another sample") for note in made.notes)
