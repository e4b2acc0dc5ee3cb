"""OpenR1-Math-Raw: REDI's selection, on rows with the raw set's columns, one for each filter."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from rl_distill.algorithms import Redi, Sft
from rl_distill.errors import InputError
from rl_distill.problems.openr1_math import OpenR1Math


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def row(llama: Any, math: Any, **changes: Any) -> dict[str, Any]:
    """A row of the raw set with one generation for each label of the Llama verifier."""
    generations = [f"<think>\nattempt {place}\n</think>\n\n\\boxed{{{place}}}" for place in range(len(llama))]
    correctness = {"llama_verification": llama, "math_verify": math, "math_verify_reparsed_answer": math}
    kept = {"problem": "How much?", "solution": "so", "answer": "1", "problem_is_valid": "Yes", "source": "olympiads"}
    return {**kept, "generations": generations, "correctness": correctness, **changes}


ROWS = {
    "one right": row([True], [True]),
    "one wrong": row([False], [False]),
    "right second": row([False, True, True], [True, True, True]),
    "right first": row([True, True, False], [True, False, False]),
    "verifiers differ": row([True, False], [False, True]),
    "spelt otherwise": row([True], [True], problem_is_valid=" yES "),
    "invalid": row([True], [True], problem_is_valid="Incomplete"),
    "validity unknown": row([True], [True], problem_is_valid=None),
    "school": row([True, True], [True, False], source="cn_k12"),
    "no problem": row([True], [True], problem=" "),
    "no generations": row([], []),
    "labels missing": row([True, True], [True]),
    "labels null": row([True], None),
    "label null": row([True, None], [True, True]),
}
NAMES = list(ROWS)
KEPT = {"one right", "one wrong", "right second", "right first", "verifiers differ", "spelt otherwise", "label null"}
SFT = {"one right": 0, "right second": 1, "right first": 0, "spelt otherwise": 0, "label null": 0}
PAIRS = {"right second": (1, 0), "right first": (0, 1), "label null": (0, 1)}


def raw(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "raw.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows or ROWS.values()))
    return str(path)


def name(group: Any) -> str:
    return NAMES[int(group.problem.id.removeprefix("openr1-math-"))]


def places(group: Any) -> tuple[int, ...]:
    return tuple(int(attempt.response[-2]) for attempt in group.trajectories)


def test_rows_that_a_filter_drops_are_in_no_part_and_the_others_keep_every_attempt(tmp_path: Path) -> None:
    groups = OpenR1Math(path=raw(tmp_path)).groups()
    assert {name(group) for group in groups} == KEPT and len(groups) == len(KEPT)
    assert all(places(group) == tuple(range(len(group.trajectories))) for group in groups)


def test_an_attempt_is_correct_if_both_verifiers_say_so_and_else_wrong(tmp_path: Path) -> None:
    found = {name(group): [attempt.status for attempt in group.trajectories] for group in OpenR1Math(path=raw(tmp_path)).groups()}
    assert found["right second"] == ["wrong", "correct", "correct"]
    assert found["right first"] == ["correct", "wrong", "wrong"]
    assert found["verifiers differ"] == ["wrong", "wrong"]
    assert found["label null"] == ["correct", "wrong"]


def test_sft_takes_the_first_correct_attempt_of_every_problem_that_has_one(tmp_path: Path) -> None:
    groups = OpenR1Math(part="sft", path=raw(tmp_path)).groups()
    assert {name(group): places(group) for group in groups} == {problem: (place,) for problem, place in SFT.items()}
    assert all(len(Sft().samples(group)) == 1 for group in groups)


def test_pairs_are_the_first_correct_and_the_first_wrong_attempt(tmp_path: Path) -> None:
    groups = OpenR1Math(part="pairs", path=raw(tmp_path)).groups()
    assert {name(group): places(group) for group in groups} == PAIRS
    for group in groups:
        chosen, rejected = Redi().samples(group)
        assert (chosen.trajectory, rejected.trajectory) == group.trajectories
        assert (chosen.trajectory.status, rejected.trajectory.status) == ("correct", "wrong")


def test_the_chosen_attempt_of_a_pair_is_the_one_that_sft_imitates(tmp_path: Path) -> None:
    path = raw(tmp_path)
    imitated = {group.problem.id: group.trajectories[0] for group in OpenR1Math(part="sft", path=path).groups()}
    assert all(imitated[group.problem.id] == group.trajectories[0] for group in OpenR1Math(part="pairs", path=path).groups())


def test_the_order_is_that_of_the_raw_set_shuffled_by_datasets_with_seed_42(tmp_path: Path) -> None:
    rows = [row([True], [True], problem=f"number {index}", source="cn_k12" if index % 3 else "aops") for index in range(60)]
    shuffled = datasets.Dataset.from_list(rows).shuffle(seed=42)
    expected = [one["problem"] for one in shuffled if one["source"] != "cn_k12"]
    groups = OpenR1Math(part="sft", path=raw(tmp_path, *rows)).groups()
    assert [group.problem.prompt for group in groups] == expected
    assert [group.problem.prompt for group in OpenR1Math(num_problems=7, path=raw(tmp_path, *rows)).groups()] == expected[:7]


def test_a_problem_is_a_plain_question_and_the_reply_the_whole_output_with_its_thinking(tmp_path: Path) -> None:
    (group,) = OpenR1Math(path=raw(tmp_path, row([True], [True], answer="7"))).groups()
    (attempt,) = group.trajectories
    assert [(turn.role, turn.content) for turn in attempt.messages] == [
        ("user", "How much?"),
        ("assistant", "<think>\nattempt 0\n</think>\n\n\\boxed{0}"),
    ]
    assert (group.problem.answer, group.problem.metadata) == ("7", {"source": "olympiads"})
    assert (attempt.origin, attempt.model) == ("teacher", "deepseek-r1")


def test_attempts_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    groups = OpenR1Math(path=raw(tmp_path, row([True], [True]), row([True], [True], generations=[None]))).groups()
    broken = next(index for index in range(2) if groups.picks[index].row == 1)
    assert groups[1 - broken].problem.id == "openr1-math-0"
    with pytest.raises(InputError, match=r"raw.jsonl row 2, generation 1: is None"):
        groups[broken]
    assert [group.problem.id for group in groups[1 - broken : 2 - broken]] == ["openr1-math-0"]


def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names_and_holds_the_same_data(tmp_path: Path) -> None:
    rows = [row([True], [True], problem=f"number {index}") for index in range(5)]
    digests, prompts = set(), set()
    for name, cuts in {"whole": (0, 5), "cut": (0, 2, 5)}.items():
        folder = tmp_path / name / "data"
        folder.mkdir(parents=True)
        for index, (low, high) in enumerate(zip(cuts, cuts[1:], strict=False)):
            datasets.Dataset.from_list(rows[low:high]).to_parquet(folder / f"train-{index:05d}.parquet")
        problems = OpenR1Math(path=str(folder.parent))
        digests.add(problems.data_digest())
        prompts.add(tuple(group.problem.prompt for group in problems.groups()))
    assert len(digests) == len(prompts) == 1


def test_the_folder_of_the_set_in_the_data_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DISTILL_DATA", str(tmp_path))
    with pytest.raises(InputError, match="open-r1/OpenR1-Math-Raw.*cannot be loaded from the hub"):
        OpenR1Math().groups()
    (tmp_path / "OpenR1-Math-Raw").mkdir()
    datasets.Dataset.from_list([row([True], [True])]).to_parquet(tmp_path / "OpenR1-Math-Raw" / "train.parquet")
    assert len(OpenR1Math().groups()) == 1


@pytest.mark.parametrize(
    "changes",
    [{"problem": "How many?"}, {"generations": ["<think>\nattempt 1\n</think>\n\n\\boxed{0}"]}, {"answer": "2"}, {"source": "x"}],
)
def test_other_data_has_another_digest(tmp_path: Path, changes: dict[str, Any]) -> None:
    before = OpenR1Math(path=raw(tmp_path, row([True], [True]))).data_digest()
    assert OpenR1Math(path=raw(tmp_path, row([True], [True], **changes))).data_digest() != before
    assert OpenR1Math(part="pairs", path=raw(tmp_path, row([True], [True]))).data_digest() == before


def test_other_labels_have_another_digest(tmp_path: Path) -> None:
    before = OpenR1Math(path=raw(tmp_path, row([True], [True]))).data_digest()
    assert OpenR1Math(path=raw(tmp_path, row([True], [False]))).data_digest() != before


def test_a_missing_column_and_a_missing_file_are_input_errors(tmp_path: Path) -> None:
    earlier = {key: value for key, value in row([True], [True]).items() if key != "correctness"}
    with pytest.raises(InputError, match=r"raw.jsonl: has no column 'correctness'; it has problem, "):
        OpenR1Math(path=raw(tmp_path, {**earlier, "correctness_math_verify": [True]})).groups()
    with pytest.raises(InputError, match="path: there is no file"):
        OpenR1Math(path=str(tmp_path / "nowhere.jsonl")).groups()
    with pytest.raises(InputError, match="no folder with Parquet files"):
        OpenR1Math(path=str(tmp_path)).groups()
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="path: .*bad.parquet' cannot be read"):
        OpenR1Math(path=str(tmp_path / "bad.parquet")).groups()


def test_a_selection_without_a_problem_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'openr1_math': the set is empty"):
        OpenR1Math(part="pairs", path=raw(tmp_path, row([True], [True]))).groups()
