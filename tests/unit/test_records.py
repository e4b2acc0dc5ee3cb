import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rl_distill.errors import InputError
from rl_distill.records import group_from_dict, group_to_dict, read_groups
from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict

texts = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | numbers | texts, lambda inner: st.lists(inner, max_size=3))
verdicts = st.builds(Verdict, status=st.sampled_from(["correct", "wrong", "unverifiable"]), method=texts, detail=texts)
scores = st.builds(
    Score, value=st.none() | numbers, verdict=st.none() | verdicts, parts=st.dictionaries(texts, st.none() | numbers, max_size=3)
)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    length = draw(st.integers(0, 6))

    def column(values):
        return draw(st.none() | st.tuples(*[values] * length))

    return Trajectory(
        problem_id=draw(texts),
        messages=tuple(draw(st.lists(st.builds(Message, role=texts, content=texts), max_size=3))),
        token_ids=draw(st.tuples(*[st.integers(0, 2**31)] * length)),
        sampled=draw(st.tuples(*[st.booleans()] * length)),
        behavior_logprobs=column(numbers),
        reference_logprobs=column(numbers),
        proximal_logprobs=column(numbers),
        policy_versions=column(st.integers(0, 100)),
        teacher_logprobs=column(numbers),
        candidate_ids=column(st.just(()) | st.tuples(st.integers(0, 9), st.integers(0, 9))),
        teacher_candidate_logprobs=column(st.just(()) | st.tuples(numbers, numbers, numbers)),
        model=draw(texts),
        origin=draw(st.sampled_from(["policy", "teacher"])),
        finish_reason=draw(st.sampled_from(["stop", "length", "error"])),
        score=draw(st.none() | scores),
        seed=draw(st.none() | st.integers(0, 2**63 - 1)),
    )


problems = st.builds(
    Problem,
    id=texts,
    prompt=texts,
    answer=st.none() | texts,
    source=texts,
    metadata=st.dictionaries(texts, json_values, max_size=3),
)
groups = st.builds(Group, problem=problems, trajectories=st.lists(trajectories(), max_size=3).map(tuple))


@pytest.fixture(scope="session")
def session_file(tmp_path_factory):
    return tmp_path_factory.mktemp("groups") / "groups.jsonl"


@settings(max_examples=50, deadline=None)
@given(groups)
def test_a_group_comes_back_equal_from_json(group):
    assert group_from_dict(json.loads(json.dumps(group_to_dict(group), allow_nan=False))) == group


@settings(max_examples=30, deadline=None)
@given(found=st.lists(groups, max_size=3))
@example(found=[Group(problem=Problem(id="p", prompt="a\x85b\u2028c\rd", answer=None, source="s"))])
def test_groups_come_back_equal_from_a_file(session_file, found):
    path = session_file
    path.write_text("".join(json.dumps(group_to_dict(group), ensure_ascii=False) + "\n" for group in found), encoding="utf-8")
    assert list(read_groups(path)) == found


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"problem": {"id": "p"}}', '{"problem": {}, "trajectories": [3]}', "3", "null", "\x00"]
)
def test_a_line_that_is_no_group_is_refused_with_its_place(line, tmp_path):
    path = tmp_path / "groups.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"groups.jsonl:1: is no group \("):
        list(read_groups(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        list(read_groups(tmp_path / "no.jsonl"))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"a": "é"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match="latin.jsonl"):
        list(read_groups(tmp_path / "latin.jsonl"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON from character 2"),
        ('{"prompt": "x"}', "'problem' is missing"),
        ('{"problem": 1, "trajectories": []}', "'problem' is a number"),
    ],
)
def test_a_file_of_something_else_is_refused_by_what_it_lacks(line, said, tmp_path):
    (tmp_path / "rows.jsonl").write_text(f"{line}\n")
    with pytest.raises(InputError, match=rf"rows\.jsonl:1: is no group \(.*{said}"):
        list(read_groups(tmp_path / "rows.jsonl"))
