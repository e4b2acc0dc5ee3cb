"""What answers depend on changes their address, and nothing else does."""

from dataclasses import replace

import pytest
from teacher_calls import asked, teacher_at

from rl_distill.curation.fingerprint import fingerprint, row_fingerprint, run_settings
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.errors import InputError
from rl_distill.trajectory import Message

URL = "http://localhost:1/v1"
CHANGED_SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 9,
    "longer_max_tokens": 9999,
    "stop": ("x",),
    "logprobs": True,
    "top_logprobs": 2,
    "extra": {"top_k": 1},
}
CHANGED_TEACHER = {"model": "n", "revision": "2", "endpoint_class": "vllm", "answers_as": "m-2026"}


def settings(*, teacher: dict | None = None, **changes) -> dict:
    wanted = {"template": "{problem}", "sampling": TeacherSampling(), "seed": 0, "system_prompt": None, "schema": None} | changes
    made = teacher_at(URL)
    known = dict(made.identity()) | (teacher or {})
    made.identity = lambda: known
    return run_settings(made, **wanted)


@pytest.mark.parametrize("change", [*CHANGED_SAMPLING, *CHANGED_TEACHER, "template", "seed", "system_prompt", "schema"])
def test_everything_that_answers_depend_on_is_in_the_fingerprint(change):
    if change in CHANGED_SAMPLING:
        new = replace(
            TeacherSampling(), **({"logprobs": True} if change == "top_logprobs" else {}), **{change: CHANGED_SAMPLING[change]}
        )
        other = settings(sampling=new)
    elif change in CHANGED_TEACHER:
        other = settings(teacher={change: CHANGED_TEACHER[change]})
    else:
        other = settings(**{change: {"template": "Q: {problem}", "seed": 1, "system_prompt": "", "schema": {}}[change]})
    assert fingerprint(other) != fingerprint(settings())


def test_no_sampling_parameter_is_left_out_of_this_test():
    assert set(CHANGED_SAMPLING) == set(TeacherSampling.__dataclass_fields__)


def test_addresses_and_limits_are_not_in_the_fingerprint():
    one = run_settings(teacher_at(URL), template="t", sampling=TeacherSampling(), seed=0)
    other = run_settings(
        teacher_at("http://elsewhere/v1", URL, requests_per_minute=5), template="t", sampling=TeacherSampling(), seed=0
    )
    assert fingerprint(one) == fingerprint(other)


def test_the_order_of_keys_does_not_matter():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_row_is_what_it_asks_and_not_where_it_stands():
    rows = {request.row_key: row_fingerprint(request) for request in asked(["a", "b"], num_samples=2)}
    turned = {request.row_key: row_fingerprint(request) for request in asked(["b", "new", "a"], num_samples=2)}
    assert len(set(rows.values())) == 4 and {key: turned[key] for key in rows} == rows


@pytest.mark.parametrize(
    "change",
    [
        {"system_prompt": "x"},
        {"seed": 1},
        {"schema": {}},
        {"messages": (Message("user", "c"),)},
        {"sampling": TeacherSampling(max_tokens=3)},
    ],
)
def test_what_a_row_sends_is_in_its_fingerprint(change):
    (request,) = asked(["a"])
    assert row_fingerprint(replace(request, **change)) != row_fingerprint(request)


def test_rows_may_have_sampling_of_their_own():
    short = TeacherSampling(max_tokens=3)
    one, other = asked(["a", "b"], overrides={"p1": short})
    assert (one.sampling.max_tokens, other.sampling) == (20, short)


def test_two_problems_with_one_question_are_refused():
    with pytest.raises(InputError, match="'p0' and 'p1' ask the same question"):
        asked(["a", "a"])
