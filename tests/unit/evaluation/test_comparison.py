import json

import pytest
import yaml

from rl_distill import compare
from rl_distill.errors import InputError
from rl_distill.evaluation.comparison import sentence
from rl_distill.evaluation.intervals import Interval
from rl_distill.evaluation.paired import PairedDifference, paired_difference

TERMS = {
    "version": 1,
    "prompt": {"system": None, "instruction": "Think."},
    "sampling": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 8, "stop_tokens": []},
    "grader": {"name": "accuracy"},
    "problems_hash": "0" * 64,
}


def evaluated(folder, accuracies, *, name="aime24", engine="hf", **changes):
    folder.mkdir()
    one = {**TERMS, **changes, "problem_accuracy": accuracies, "num_problems": len(accuracies)}
    result = {"engine": {"name": engine}, "seed": 0, "environment": {}, "benchmarks": {name: one}}
    (folder / "evaluation.json").write_text(json.dumps(result))
    return folder


def accuracies(*values):
    return {f"p{number}": value for number, value in enumerate(values)}


def stage(run, name, rows, **changes):
    """A finished stage of a run, as training leaves it; `rows` are (problem, prompt, verdicts)."""
    evaluation = {"verifiers": [{"name": "accuracy", "workers": 2}], "sampling": {"temperature": 1.0}, "num_samples": 2}
    recipe = {
        "stages": [{"name": name}],
        "student": {"prompt": {"system": None, "instruction": ""}},
        "evaluation": evaluation | changes,
        "engine": {"name": "hf"},
        "seed": 0,
    }
    folder = run / "stages" / name
    folder.mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    lines = [
        {"problem": one, "prompt": prompt, "answer": "4", "verdict": verdict} for one, prompt, given in rows for verdict in given
    ]
    (folder / "evaluation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_a_clear_difference_is_said_in_words_with_its_sign(tmp_path):
    one = evaluated(tmp_path / "one", accuracies(*[0.25] * 30))
    other = evaluated(tmp_path / "other", accuracies(*[0.75] * 25, *[0.25] * 5))
    report = compare(one, other)
    found = report.comparisons["aime24"]
    assert (found.first, found.second) == (0.25, pytest.approx(0.6667, abs=1e-4))
    assert (found.paired.wins, found.paired.losses, found.paired.ties) == (25, 0, 5)
    assert found.sentence.startswith(f"aime24: {other} is better by 0.42 ({other} - {one}: +0.42, ")
    assert (
        compare(other, one)
        .comparisons["aime24"]
        .sentence.startswith(f"aime24: {other} is better by 0.42 ({one} - {other}: -0.42")
    )


def test_a_benchmark_that_cannot_separate_them_says_what_it_could_resolve():
    differences = [0.25, -0.25, 0.25, 0.0, 0.0, 0.0] * 5
    said = sentence("aime24", "a", "b", 30, paired_difference(differences))
    assert said == (
        "aime24 cannot separate them (p = 0.3008): 30 problems resolve differences of about 0.09 or more; "
        "measured +0.04 (-0.02 to +0.10)"
    )


def paired(p_value, low, high):
    return PairedDifference(
        difference=Interval(0.2, low, high), p_value=p_value, exact=True, detectable=0.1, wins=1, losses=0, ties=0
    )


def test_the_sentence_follows_the_p_value_and_says_where_the_interval_does_not():
    assert sentence("one", "a", "b", 30, paired(0.0312, 0.1, 0.3)) == (
        "one: b is better by 0.20 (b - a: +0.20, +0.10 to +0.30; p = 0.0312)"
    )
    assert sentence("one", "a", "b", 30, paired(0.0312, -0.1, 0.3)) == (
        "one: b is better by 0.20 (b - a: +0.20, -0.10 to +0.30; p = 0.0312), though the interval holds 0: this is the border"
    )
    assert sentence("one", "a", "b", 30, paired(0.04996, 0.1, 0.3)) == (
        "one cannot separate them (p = 0.0500): 30 problems resolve differences of about 0.10 or more; "
        "measured +0.20 (+0.10 to +0.30), though the interval leaves 0 out: this is the border"
    )


def test_problems_that_are_too_few_for_any_difference_are_not_said_to_resolve_one():
    said = sentence("one", "a", "b", 5, paired_difference([1.0] * 5))
    assert said == (
        "one cannot separate them (p = 0.0625): 5 problems are too few for any difference to have p < 0.05; "
        "measured +1.00 (+0.10 to +1.00), though the interval leaves 0 out: this is the border"
    )


def test_a_problem_that_one_side_could_not_judge_is_left_out_of_both(tmp_path):
    one = evaluated(tmp_path / "one", accuracies(0.0, 1.0, 1.0))
    other = evaluated(tmp_path / "other", {"p0": 1.0, "p1": 1.0})
    report = compare(one, other)
    assert report.comparisons["aime24"].num_problems == 2 and report.comparisons["aime24"].first == 0.5
    assert report.notes == ("aime24: 1 problems left out, where one has no judged attempt",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problems_hash": "1" * 64}, "different problem sets"),
        ({"version": 2}, r"different versions of the benchmark \(version is 1 in the first and 2 in the second\)"),
        ({"prompt": {"system": None, "instruction": "Go."}}, r"different prompt versions \(prompt.instruction is 'Think.'"),
        ({"grader": {"name": "multiple_choice"}}, "different graders"),
        ({"sampling": {**TERMS["sampling"], "temperature": 1.0}}, r"different sampling \(sampling.temperature is 0.6"),
    ],
)
def test_what_was_not_measured_alike_is_refused_by_name(changes, message, tmp_path):
    one, other = evaluated(tmp_path / "one", accuracies(1.0)), evaluated(tmp_path / "other", accuracies(1.0), **changes)
    with pytest.raises(InputError, match=f"benchmark 'aime24': was measured on {message}"):
        compare(one, other)


def test_without_a_benchmark_in_common_both_lists_are_shown(tmp_path):
    one, other = evaluated(tmp_path / "one", accuracies(1.0)), evaluated(tmp_path / "other", accuracies(1.0), name="gsm8k")
    with pytest.raises(InputError, match="no benchmark in common.*aime24.*gsm8k"):
        compare(one, other)
    with pytest.raises(InputError, match="was not measured on 'math500'; it has aime24"):
        compare(one, other, ["math500"])


def test_another_engine_is_said_and_not_refused(tmp_path):
    one = evaluated(tmp_path / "one", accuracies(1.0))
    other = evaluated(tmp_path / "other", accuracies(1.0), engine="vllm")
    assert "engine.name is hf in the first and vllm in the second" in compare(one, other).notes


def test_stages_of_runs_are_compared_by_what_they_recorded(tmp_path):
    rows = [("p", "2 + 2?", ["correct", "wrong"]), ("q", "3 + 1?", ["unverifiable", "correct"])]
    one = stage(tmp_path / "one", "sft", rows)
    other = stage(tmp_path / "other", "redi", [(name, prompt, ["correct", "correct"]) for name, prompt, _ in rows])
    found = compare(f"{one}:sft", other).comparisons["evaluation"]
    assert (found.first, found.second, found.paired.wins, found.paired.ties) == (0.75, 1.0, 1, 1)


def test_stages_that_were_measured_otherwise_are_refused(tmp_path):
    rows = [("p", "2 + 2?", ["correct"])]
    one = stage(tmp_path / "one", "sft", rows)
    with pytest.raises(InputError, match=r"different problem sets"):
        compare(f"{one}:sft", stage(tmp_path / "two", "sft", [("p", "2 + 3?", ["correct"])]))
    with pytest.raises(InputError, match=r"different sampling \(sampling.temperature"):
        compare(f"{one}:sft", stage(tmp_path / "three", "sft", rows, sampling={"temperature": 0.5}))


def test_a_folder_without_measurements_a_damaged_one_and_a_stage_that_is_not_there_are_refused(tmp_path):
    good = evaluated(tmp_path / "good", accuracies(1.0))
    with pytest.raises(InputError, match="nothing was measured there"):
        compare(tmp_path, good)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="has not finished a benchmark"):
        compare(good, tmp_path / "begun")
    (good / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        compare(good, good)
    run = stage(tmp_path / "run", "sft", [("p", "2 + 2?", ["correct"])])
    with pytest.raises(InputError, match=r"has no finished stage 'redi'; give .*run:sft"):
        compare(f"{run}:redi", run)
