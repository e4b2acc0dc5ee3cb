"""Evaluations that lost a part or were garbled: one line each, from `evaluate` that continues and from `compare`."""

import json
import shutil
from random import Random

import pytest

import rl_distill
from rl_distill.errors import InputError
from rl_distill.evaluation.evaluation_folder import SCHEMA
from rl_distill.evaluation.measured import read_measured
from rl_distill.evaluation.stored_result import StoredBenchmark, StoredResult
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer

RESULT, SETTINGS, SAMPLES = "evaluation.json", "settings.json", "samples/arithmetic.jsonl"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model, and a function that evaluates it on 6 problems, 2 attempts each, in shards of 2 problems."""
    folder = tmp_path_factory.mktemp("damaged")
    tokenizer = arithmetic_tokenizer()
    save_pretrained(Architecture(hidden_size=16, num_layers=1, max_context=96).build(tokenizer), tokenizer, folder / "model")

    def evaluate(output, seed=0, say=lambda line: None):
        overrides = ["engine.shard_size=4", "sampling.max_tokens=8"]
        asked = {"num_samples": 2, "num_problems": 6, "output": output, "overrides": overrides, "seed": seed}
        return rl_distill.evaluate(folder / "model", ["arithmetic"], say=say, **asked)

    evaluate(folder / "whole")
    evaluate(folder / "other", seed=1)
    return folder, evaluate


@pytest.fixture
def damaged(finished, tmp_path):
    """(a copy of the evaluation to damage, evaluate, another evaluation)"""
    shutil.copytree(finished[0] / "whole", tmp_path / "copy")
    return tmp_path / "copy", finished[1], finished[0] / "other"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json*"))}


def refused(call):
    """The line of an InputError."""
    with pytest.raises(InputError) as found:
        call()
    assert "\n" not in str(found.value)
    return str(found.value)


def edited(change):
    """Damages a JSON file by changing what it holds."""

    def damage(path):
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))

    return damage


def scored(change):
    return edited(lambda plain: change(plain["benchmarks"]["arithmetic"]))


RESULT_DAMAGES = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:200]), "is damaged ("),
    "empty": (lambda path: path.write_text(""), "is damaged ("),
    "not UTF-8": (lambda path: path.write_bytes(b'{"\xff": 1}'), "is damaged ("),
    "nested": (lambda path: path.write_text("[" * 100_000), "is damaged ("),
    "a list": (lambda path: path.write_text("[]"), "is damaged (it holds a list)"),
    "no seed": (edited(lambda plain: plain.pop("seed")), "is damaged (seed: Field required)"),
    "a text for a number": (scored(lambda one: one.update(num_samples="2")), "benchmarks.arithmetic.num_samples"),
    "not a number": (scored(lambda one: one["accuracy"].update(mean=float("nan"))), "benchmarks.arithmetic.accuracy.mean"),
    "above 1": (scored(lambda one: one["problem_accuracy"].update({next(iter(one["problem_accuracy"])): 1.5})), "less than or"),
    "a lost problem": (scored(lambda one: one["problem_accuracy"].popitem()), "5 problems have an accuracy, and num_judged is 6"),
    "no problems": (scored(lambda one: one.update(problem_accuracy={}, num_judged=0)), "num_judged"),
    "another mean": (scored(lambda one: one["accuracy"].update(mean=0.987)), "accuracy.mean is not the mean of problem_accuracy"),
    "no settings": (scored(lambda one: one.pop("sampling")), "is damaged (benchmarks.arithmetic.sampling: Field required)"),
    "another schema": (edited(lambda plain: plain.update(schema_version=2)), "has schema version 2, and this rl_distill reads 1"),
    "no schema": (edited(lambda plain: plain.pop("schema_version")), "is damaged (schema_version: Field required)"),
}


@pytest.mark.parametrize(("damage", "message"), RESULT_DAMAGES.values(), ids=RESULT_DAMAGES)
def test_a_damaged_result_is_refused_by_both_commands_and_made_again_without_it(damage, message, damaged):
    folder, evaluate, other = damaged
    whole = contents(folder)
    damage(folder / RESULT)
    before = contents(folder)
    for call in (lambda: evaluate(folder), lambda: rl_distill.compare(folder, other), lambda: rl_distill.compare(other, folder)):
        text = refused(call)
        assert message in text and str(folder / RESULT) in text and "remove it and evaluate the same benchmarks again" in text
    assert contents(folder) == before
    (folder / RESULT).unlink()
    said = []
    evaluate(folder, say=said.append)
    assert said == ["arithmetic: 6 of 6 problems were asked before"] and contents(folder) == whole


def test_what_is_looked_over_is_what_the_schema_has():
    schema = json.loads(SCHEMA.read_text())
    assert set(StoredResult.__dataclass_fields__) == set(schema["required"])
    assert set(StoredBenchmark.__dataclass_fields__) == set(
        schema["properties"]["benchmarks"]["additionalProperties"]["required"]
    )


def test_a_result_with_any_byte_flipped_or_cut_anywhere_is_refused_or_has_the_same_accuracies(damaged):
    folder, _, _ = damaged
    whole, random = (folder / RESULT).read_bytes(), Random(0)
    accuracies = read_measured(str(folder)).benchmarks["arithmetic"].accuracy
    refusals = 0
    for _ in range(300):
        place = random.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << random.randrange(8)]) + whole[place + 1 :]
        (folder / RESULT).write_bytes(flipped if random.random() < 0.7 else whole[:place])
        try:
            found = read_measured(str(folder)).benchmarks
        except InputError:
            refusals += 1
        else:
            assert all(sorted(one.accuracy.values()) == sorted(accuracies.values()) for one in found.values())
    assert refusals > 150


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "settings.json: is damaged ("),
        (lambda path: path.write_text(""), "settings.json: is damaged ("),
        (lambda path: path.write_text("3"), "settings.json: is damaged (it holds a int)"),
        (edited(lambda plain: plain.pop("benchmarks")), "settings.json: is damaged (it says nothing of 'benchmarks')"),
        (edited(lambda plain: plain["benchmarks"].clear()), "settings.json: is damaged (it says nothing of 'benchmarks')"),
        (edited(lambda plain: plain["benchmarks"].update(arithmetic={})), "is damaged (it says nothing of 'arithmetic')"),
        (edited(lambda plain: plain.update(model={})), "settings.json: is damaged (it says nothing of 'model')"),
        (lambda path: path.unlink(), "is damaged (settings.json is missing, which says what was asked)"),
    ],
)
def test_damaged_settings_are_refused_and_nothing_is_asked(damage, message, damaged):
    folder, evaluate, other = damaged
    damage(folder / SETTINGS)
    before = contents(folder)
    assert message in refused(lambda: evaluate(folder))
    assert contents(folder) == before
    assert rl_distill.compare(folder, other).comparisons["arithmetic"].num_problems == 6  # the result stands


def line_changed(number, change):
    """Damages one line, counted from 1, of a file of JSON lines."""

    def damage(path):
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = change(lines[number - 1])
        path.write_bytes(b"".join(lines))

    return damage


def without_an_attempt(line):
    plain = json.loads(line)
    plain["trajectories"].pop()
    return json.dumps(plain).encode() + b"\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (line_changed(2, lambda line: line[:50] + b"\n"), "samples/arithmetic.jsonl, line 2: is damaged"),
        (line_changed(3, lambda line: b"\xff\xfe\n"), "line 3: is damaged"),
        (line_changed(3, lambda line: b'{"problem": {}, "trajectories": [3]}\n'), "line 3: is damaged"),
        (line_changed(4, without_an_attempt), "line 4: does not hold 2 graded attempts at"),
        (
            line_changed(1, lambda line: line.replace(b'"status": "wrong"', b'"status": "wrnog"', 1)),
            "line 1: does not hold 2 graded",
        ),
        (line_changed(1, lambda line: b""), "line 1: does not hold 2 graded attempts at"),
        (lambda path: path.write_bytes(path.read_bytes() * 2), "line 7: is one more than the 6 problems"),
    ],
)
def test_garbled_samples_are_refused_by_their_line_and_nothing_is_asked(damage, message, damaged):
    folder, evaluate, _ = damaged
    damage(folder / SAMPLES)
    before = contents(folder)
    assert message in refused(lambda: evaluate(folder))
    assert contents(folder) == before


@pytest.mark.parametrize("left", [0, 2, 4])
def test_lost_samples_of_a_finished_evaluation_are_asked_again_with_a_word_and_only_with_its_settings(left, damaged):
    folder, evaluate, _ = damaged
    whole, path = contents(folder), folder / SAMPLES
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:left])) if left else path.unlink()
    assert "other settings (seed is 0 there and 1 here)" in refused(lambda: evaluate(folder, seed=1))
    said = []
    evaluate(folder, say=said.append)
    assert said[0] == f"arithmetic: was finished, and lost {6 - left} of its 6 problems since: they are asked again"
    assert contents(folder) == whole


def test_a_file_that_a_kill_left_half_written_is_in_nobodys_way(finished, tmp_path):
    (tmp_path / "new" / "samples").mkdir(parents=True)
    (tmp_path / "new" / ".settings.json.tmp").write_text('{"mod')
    assert finished[1](tmp_path / "new").scores["arithmetic"].num_problems == 6
