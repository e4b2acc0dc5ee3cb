import json
from statistics import fmean

import pytest
import yaml

from rl_distill import compare
from rl_distill.errors import InputError
from rl_distill.evaluation.comparison import sentence
from rl_distill.evaluation.intervals import Interval
from rl_distill.evaluation.paired import PairedDifference, paired_difference
from rl_distill.sealing import sealed

TERMS = {
    "version": 1,
    "prompt": {"system": None, "instruction": "Think."},
    "sampling": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 8, "stop_tokens": []},
    "grader": {"name": "accuracy"},
    "hash": "0" * 64,
    "problems_hash": "0" * 64,
    "num_samples": 4,
}
EQUAL = "the same answers by construction, so this compares nothing"
GREEDY = {**TERMS["sampling"], "temperature": 0.0}


def evaluated(folder, accuracies, *, name="aime24", engine="hf", seed=0, weights=None, template="t1", num_problems=None, **terms):
    """An evaluation's folder as `rl-distill evaluate` leaves it, of a model of its own where no weights are named."""
    folder.mkdir()
    mean = fmean(accuracies.values())
    one = {
        **TERMS,
        **terms,
        **{
            "caveats": [],
            "accuracy": {"mean": mean, "low": 0.0, "high": 1.0},
            "pass_at": {"1": mean},
            "majority_at": {"1": mean},
        },
        **{"num_problems": num_problems or len(accuracies), "num_judged": len(accuracies), "unverifiable": 0},
        **{"truncated_fraction": 0.0, "mean_tokens": 5.0, "generated_tokens": 50, "problem_accuracy": accuracies},
    }
    model = {"given": "m", "folder": "f", "weights": weights or str(folder), "vocabulary": "v", "chat_template": template}
    result = {"schema_version": 1, "model": model, "engine": {"name": engine}, "seed": seed, "environment": {}}
    (folder / "evaluation.json").write_text(json.dumps({**result, "benchmarks": {name: one}}))
    return folder


def accuracies(*values):
    return {f"p{number}": value for number, value in enumerate(values)}


def stage(run, name, rows, *, weights="w", template="t", seed=0, **changes):
    """A finished stage of a run, as training leaves it; `rows` are (problem, prompt, verdicts)."""
    evaluation = {"verifiers": [{"name": "accuracy", "workers": 2}], "sampling": {"temperature": 1.0}, "num_samples": 2}
    recipe = {
        "stages": [{"name": name}],
        "student": {"prompt": {"system": None, "instruction": ""}},
        "evaluation": evaluation | changes,
        "engine": {"name": "hf"},
        "seed": seed,
    }
    lines = [
        {"problem": one, "prompt": prompt, "answer": "4", "verdict": verdict} for one, prompt, given in rows for verdict in given
    ]
    with sealed(run / "stages" / name) as folder:
        (folder / "evaluation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "student").mkdir()
        (folder / "student" / "model.safetensors").write_text(weights)
        (folder / "student" / "chat_template.jinja").write_text(template)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
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


def test_a_notebook_shows_the_table_and_what_follows_from_it(tmp_path):
    one = evaluated(tmp_path / "one", accuracies(*[0.25] * 30))
    other = evaluated(tmp_path / "other", accuracies(*[0.75] * 25, *[0.25] * 5))
    report = compare(one, other)
    shown = report._repr_markdown_().split("\n\n")
    assert shown[1].startswith("| benchmark") and shown[2] == report.comparisons["aime24"].sentence
    assert str(report).splitlines()[-1] == shown[-1]
    row = report.frame.loc["aime24"]
    assert (row["first"], row["wins"], row["problems"]) == (0.25, 25, 30) and row["low"] < row["difference"] < row["high"]


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
    other = evaluated(tmp_path / "other", {"p0": 1.0, "p1": 1.0}, num_problems=3, seed=1)
    report = compare(one, other)
    assert report.comparisons["aime24"].num_problems == 2 and report.comparisons["aime24"].first == 0.5
    assert report.notes == (
        "aime24: 1 problems left out, where one has no judged attempt",
        "seed is 0 in the first and 1 in the second",
    )


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


@pytest.mark.parametrize(
    ("first", "second", "notes"),
    [
        ({}, {"seed": 1}, ["seed is 0 in the first and 1 in the second"]),
        ({}, {}, ["aime24: both drew with seed 0: each attempt met the same random numbers in both (paired draws)"]),
        ({}, {"engine": "vllm"}, ["engine.name is hf in the first and vllm in the second"]),
        (
            {"seed": 1, "sampling": GREEDY},
            {"seed": 1, "sampling": GREEDY},
            ["aime24: nothing is drawn at temperature 0"],
        ),
        (
            {"weights": "w"},
            {"weights": "w"},
            [f"aime24: the same model, and both drew with seed 0: {EQUAL}"],
        ),
        (
            {"weights": "w", "sampling": GREEDY},
            {"weights": "w", "seed": 7, "sampling": GREEDY},
            [
                "seed is 0 in the first and 7 in the second",
                f"aime24: the same model, and nothing is drawn at temperature 0: {EQUAL}",
            ],
        ),
        (
            {"weights": "w"},
            {"weights": "w", "num_samples": 8},
            [
                "aime24: 4 samples at each problem in the first and 8 in the second",
                "aime24: the same model, and both drew with seed 0: "
                "the first 4 answers at each problem are the same by construction",
            ],
        ),
        (
            {"weights": "w"},
            {"weights": "w", "seed": 1},
            [
                "seed is 0 in the first and 1 in the second",
                "aime24: the same model in both: what differs comes from the draws or from how it was run",
            ],
        ),
        (
            {"weights": "w"},
            {"weights": "w", "template": "t2"},
            [
                "other chat templates (t1 in the first and t2 in the second) around the same prompts",
                "aime24: both drew with seed 0: each attempt met the same random numbers in both (paired draws)",
            ],
        ),
    ],
)
def test_what_was_not_alike_and_whether_chance_was_shared_is_said(first, second, notes, tmp_path):
    one, other = (evaluated(tmp_path / name, accuracies(1.0), **given) for name, given in (("a", first), ("b", second)))
    assert list(compare(one, other).notes) == notes


def test_stages_say_templates_numbers_of_samples_and_shared_draws_too(tmp_path):
    rows = [("p", "2 + 2?", ["correct", "wrong"])]
    one = stage(tmp_path / "one", "sft", rows)
    assert compare(one, stage(tmp_path / "two", "sft", rows)).notes == (
        f"evaluation: the same model, and both drew with seed 0: {EQUAL}",
    )
    found = compare(one, stage(tmp_path / "three", "sft", rows, weights="x", template="other", num_samples=4)).notes
    assert found[0].startswith("other chat templates (") and len(found) == 3
    assert found[1:] == (
        "evaluation: 2 samples at each problem in the first and 4 in the second",
        "evaluation: both drew with seed 0: each attempt met the same random numbers in both (paired draws)",
    )


def test_an_evaluation_is_not_compared_with_itself_whatever_it_is_called(tmp_path, monkeypatch):
    one = evaluated(tmp_path / "one", accuracies(1.0))
    (tmp_path / "link").symlink_to(one)
    run = stage(tmp_path / "run", "sft", [("p", "2 + 2?", ["correct"])])
    monkeypatch.chdir(tmp_path)
    for first, second in ((one, one), (one, "one/"), (one, "link"), (run, f"{run}:sft"), ("run:sft", run)):
        with pytest.raises(InputError, match="A and B: are one and the same evaluation .*; give two different ones"):
            compare(first, second)


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


def test_a_folder_without_measurements_and_a_stage_that_is_not_there_are_refused(tmp_path):
    good = evaluated(tmp_path / "good", accuracies(1.0))
    with pytest.raises(InputError, match="nothing was measured there"):
        compare(tmp_path, good)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="has not finished a benchmark"):
        compare(good, tmp_path / "begun")
    run = stage(tmp_path / "run", "sft", [("p", "2 + 2?", ["correct"])])
    with pytest.raises(InputError, match=r"has no finished stage 'redi'; give .*run:sft"):
        compare(f"{run}:redi", run)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "does not match its checksum"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"correct", b"wrong", 1)), "does not match its checksum"),
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: (path.parent / "manifest.json").write_text("{"), "its list of checksums cannot be read"),
        (lambda path: (path.parent / "manifest.json").write_text("[]"), "its list of checksums cannot be read"),
    ],
)
def test_damaged_answers_of_a_stage_are_refused(damage, message, tmp_path):
    rows = [("p", "2 + 2?", ["correct"]), ("q", "3 + 1?", ["correct"])]
    one, other = stage(tmp_path / "one", "sft", rows), stage(tmp_path / "other", "sft", rows)
    damage(other / "stages" / "sft" / "evaluation.jsonl")
    with pytest.raises(InputError, match=f"stages/sft/evaluation.jsonl: is damaged .*{message}.*; continue the run"):
        compare(one, other)


@pytest.mark.parametrize("text", ["", "[1]", "stages: [", "stages: []", "\xff", "stages: [{name: sft}]\nengine: {}\nseed: 0\n"])
def test_a_damaged_recipe_of_a_run_is_refused(text, tmp_path):
    run = stage(tmp_path / "run", "sft", [("p", "2 + 2?", ["correct"])])
    (run / "recipe.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="recipe.yaml: is damaged .*; restore it"):
        compare(run, evaluated(tmp_path / "good", accuracies(1.0)))


def named_base(folder, rows, model, *, later=True):
    """A run whose base student the recipe names: its weights and its template lie elsewhere."""
    stage(folder, "base", rows)
    with sealed(folder / "stages" / "base") as working:
        lines = [{"problem": one, "prompt": prompt, "answer": "4", "verdict": given} for one, prompt, given in rows]
        (working / "evaluation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if later:
        stage(folder, "sft", [(one, prompt, [given]) for one, prompt, given in rows])
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["student"]["model"] = model
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return f"{folder}:base"


def test_a_base_that_the_recipe_names_has_the_template_of_the_stages_after_it(tmp_path):
    rows = [("p", "2 + 2?", "wrong")]
    base = named_base(tmp_path / "one", rows, "some/model")
    assert not [note for note in compare(base, f"{tmp_path / 'one'}:sft").notes if "template" in note or "same model" in note]
    other = named_base(tmp_path / "two", rows, "other/model")
    assert not [note for note in compare(base, other).notes if "same model" in note]
    assert [note for note in compare(base, named_base(tmp_path / "three", rows, "some/model")).notes if "the same model" in note]


def test_a_template_that_nobody_recorded_is_unknown_and_is_not_said_to_differ(tmp_path):
    rows = [("p", "2 + 2?", "wrong")]
    base = named_base(tmp_path / "one", rows, "some/model", later=False)
    notes = compare(base, stage(tmp_path / "two", "sft", [("p", "2 + 2?", ["wrong"])])).notes
    assert "the chat template of the first is unknown: its student was named and not saved with the run" in notes
    assert not [note for note in notes if "other chat templates" in note]
