import json
from pathlib import Path

import pytest
from recorded_answers import Said

from rl_distill.analysis.samples import check_same_problems, length, read_samples
from rl_distill.errors import InputError

ROW = {"problem": "p1", "prompt": "2 + 2 = ?", "answer": "4", "response": "<think> 2 </think> 4", "verdict": "correct"}


def run_folder(folder: Path, *stages: str) -> Path:
    for stage in stages:
        (folder / "stages" / stage).mkdir(parents=True)
        line = json.dumps(ROW | {"finish_reason": "stop", "tokens": 7})
        (folder / "stages" / stage / "evaluation.jsonl").write_text(f"{line}\n{line}\n")
    return folder


def test_a_stage_of_a_run_is_read(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "base", "sft")
    samples = read_samples(f"{run}:sft")
    assert samples.prompts == {"p1": "2 + 2 = ?"}
    assert [(one.text, one.status, one.num_tokens, one.finished) for one in samples.responses] == [
        ("<think> 2 </think> 4", "correct", 7, True)
    ] * 2
    assert list(samples.files) == [str(run / "stages" / "sft" / "evaluation.jsonl")]


def test_groups_are_read_from_a_file_a_folder_and_an_evaluation(groups_file, tmp_path: Path) -> None:
    path = groups_file("math", {"a": [Said("wait so", "wrong"), Said("", "unverifiable", tokens=1)]})
    (tmp_path / "eval" / "samples").mkdir(parents=True)
    (tmp_path / "eval" / "samples" / "math.jsonl").write_bytes(path.read_bytes())
    for source in (path, tmp_path / "eval", f"{tmp_path / 'eval'}:math", tmp_path / "eval" / "samples"):
        samples = read_samples(str(source))
        assert [(one.text, one.status, one.num_tokens) for one in samples.responses] == [
            ("wait so", "wrong", 2),
            ("", "unverifiable", 1),
        ]


def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "base", "sft")
    for source, said in [
        (f"{run}:redi", "give base or sft"),
        (str(run), "several stages"),
        (str(tmp_path / "none"), "there is no"),
        (str(tmp_path), "holds no recorded answers"),
    ]:
        with pytest.raises(InputError, match=said):
            read_samples(source)


GROUP = {"problem": {"id": "a", "prompt": "?", "answer": None, "source": "s"}, "trajectories": []}
ATTEMPT = {"problem_id": "a", "messages": [{"role": "assistant", "content": "4"}], "model": "m", "origin": "policy"}
WHOLE = ROW | {"finish_reason": "stop", "tokens": 7}


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({}, "'problem' is missing"),
        ([1], "it is a list, not an object"),
        ("not json", "it is not JSON from character 1 on"),
        (json.dumps(GROUP)[:20], "it is not JSON from character "),
        (b"\xff", "it is not UTF-8"),
        ({"problem": {"id": "a"}}, "'trajectories' is missing"),
        ({"problem": {"id": "a"}, "trajectories": []}, "'problem.answer' is missing"),
        (GROUP | {"problem": GROUP["problem"] | {"kind": 1}}, "'problem.kind' is no key of it"),
        (GROUP | {"trajectories": 3}, "'trajectories' is a number, not a list"),
        (GROUP | {"trajectories": [ATTEMPT | {"messages": "4"}]}, "'trajectories[0].messages' is a text, not a list"),
        (
            GROUP | {"trajectories": [ATTEMPT | {"messages": [{"role": "user"}]}]},
            "'trajectories[0].messages[0].content' is missing",
        ),
        (GROUP | {"trajectories": [ATTEMPT | {"messages": [{"role": "assistant", "content": 4}]}]}, "a response is no text"),
        (GROUP | {"trajectories": [ATTEMPT | {"sampled": [True]}]}, "sampled: has 1 entries for the 0 tokens"),
        ({"problem": "a", "response": "b"}, "'prompt' is missing"),
        (WHOLE | {"verdict": "maybe"}, "a verdict is 'maybe', not one of correct, wrong, unverifiable"),
        (WHOLE | {"response": None}, "a response is no text"),
        (WHOLE | {"tokens": None}, "a value is not of its kind"),
        (WHOLE | {"prompt": 3}, "id and prompt of the problem are not both texts"),
    ],
)
def test_a_line_that_is_no_record_is_refused_by_its_number_with_what_is_wrong(plain, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    line = plain if isinstance(plain, bytes) else (plain if isinstance(plain, str) else json.dumps(plain)).encode()
    path.write_bytes(b"\n" + line + b"\n")
    with pytest.raises(InputError) as refusal:
        read_samples(str(path))
    text = str(refusal.value)
    assert text.startswith(f"{path}:2: holds no graded attempts ({said}") and "give JSON lines of groups" in text, text
    assert not [word for word in ("Error", "line 1 column", "expected") if word in text]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="holds no responses"):
        read_samples(str(tmp_path / "empty.jsonl"))


def test_sets_on_different_problems_or_prompts_are_refused_by_name(groups_file) -> None:
    first = read_samples(str(groups_file("first", {"a": [Said("x")], "b": [Said("x")]})))
    fewer = read_samples(str(groups_file("fewer", {"a": [Said("x")]})))
    other = read_samples(str(groups_file("other", {"a": [Said("x")], "b": [Said("x")]}, prompt="now {}")))
    for pair, said in [((first, fewer), "lacks 1 .* 'b'"), ((fewer, first), "lacks 1 .* 'b'"), ((first, other), "'a'")]:
        with pytest.raises(InputError, match=said):
            check_same_problems(*pair)
    check_same_problems(first, first)


def test_without_recorded_tokens_lengths_are_words(groups_file, recorded) -> None:
    assert read_samples(str(groups_file("a", {"a": [Said("x y")]}))).unit == "tokens"
    assert length(recorded("wait for it", tokens=None), "words") == 3


def test_rollouts_of_several_stages_are_told_apart(groups_file, tmp_path: Path) -> None:
    lines = [
        json.dumps({"stage": stage, "step": 0, **json.loads(groups_file(stage, {"a": [Said("x")]}, prompt=stage).read_text())})
        for stage in ("grpo", "exgrpo")
    ]
    (tmp_path / "rollouts.jsonl").write_text("\n".join(lines) + "\n")
    assert read_samples(str(tmp_path / "rollouts.jsonl")).prompts == {"grpo/a": "grpo", "exgrpo/a": "exgrpo"}
