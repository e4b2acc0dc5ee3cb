"""Whole evaluations of a model with random weights, in the micro-world."""

import json
from importlib.metadata import version
from statistics import fmean

import jsonschema
import pytest

import rl_distill
from rl_distill.errors import InputError
from rl_distill.evaluation.benchmark import load_benchmark
from rl_distill.evaluation.benchmark_score import score
from rl_distill.evaluation.evaluation_folder import SCHEMA
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.records import read_groups
from rl_distill.rewards import Accuracy
from rl_distill.rollout.hf_engine import HfEngine

HEAD = """\
name: {}
version: 1
about: a
source: s
license: l
num_samples: 1
sampling: {{max_tokens: 8}}
grader: {{name: accuracy}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    tokenizer = arithmetic_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_layers": 1, "max_context": 96}
    save_pretrained(Architecture(initializer_range=0.3, **sizes).build(tokenizer), tokenizer, folder)
    return folder


@pytest.fixture
def evaluate(model, tmp_path):
    """Evaluates 12 problems, 2 attempts each, in shards of 4 problems: (report, lines that were said)."""

    def call(*benchmarks, output="evaluated", overrides=(), stop_after=None, **changes):
        said = []

        def say(line):
            said.append(line)
            if len(said) == stop_after:
                raise KeyboardInterrupt

        report = rl_distill.evaluate(
            changes.pop("model", model),
            benchmarks or ("arithmetic",),
            output=tmp_path / output,
            overrides=["engine.shard_size=8", "sampling.max_tokens=12", *overrides],
            say=say,
            **{"num_samples": 2, "num_problems": 12} | changes,
        )
        return report, said

    return call


def written(folder):
    """Everything that was written and decides a number, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json*"))}


@pytest.fixture
def asked(monkeypatch):
    """Ids of the problems that the engine was asked for, in order."""
    found, generate = [], HfEngine.generate

    def counted(self, requests):
        found.extend(request.problem_id for request in requests)
        return generate(self, requests)

    monkeypatch.setattr(HfEngine, "generate", counted)
    return found


def test_the_result_fits_its_schema_and_follows_from_the_samples(evaluate):
    report, _ = evaluate()
    result = json.loads((report.folder / "evaluation.json").read_text())
    jsonschema.validate(result, json.loads(SCHEMA.read_text()))
    groups = list(read_groups(report.folder / "samples" / "arithmetic.jsonl"))
    assert [len(group.trajectories) for group in groups] == [2] * 12
    found = report.scores["arithmetic"]
    assert found == score(groups, Accuracy(), [1, 2])
    assert found.mean_tokens == fmean(one.num_sampled for group in groups for one in group.trajectories)
    assert result["benchmarks"]["arithmetic"]["accuracy"]["mean"] == found.accuracy.mean
    benchmark = load_benchmark("arithmetic", ["sampling.max_tokens=12"])
    assert result["benchmarks"]["arithmetic"]["hash"] == benchmark.digest(benchmark.groups(12))
    assert result["environment"]["transformers"] == version("transformers")


def test_the_schema_refuses_a_result_with_something_else_in_it(evaluate):
    report, _ = evaluate()
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    result = json.loads((report.folder / "evaluation.json").read_text())
    for wrong in ({**result, "more": 1}, {**result, "seed": "0"}, {**result, "benchmarks": {"a": {}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_samples_hold_token_ids_and_no_log_probs(evaluate):
    report, _ = evaluate()
    for group in read_groups(report.folder / "samples" / "arithmetic.jsonl"):
        for attempt in group.trajectories:
            assert attempt.token_ids and attempt.behavior_logprobs is None is attempt.policy_versions


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(evaluate):
    first, second = (evaluate(output=name)[0].folder for name in ("first", "second"))
    assert written(first) == written(second)
    other = evaluate(output="other", seed=1)[0].folder
    assert written(first)["samples/arithmetic.jsonl"] != written(other)["samples/arithmetic.jsonl"]


def test_every_attempt_has_a_seed_of_its_own(evaluate):
    report, _ = evaluate()
    groups = read_groups(report.folder / "samples" / "arithmetic.jsonl")
    seeds = [attempt.seed for group in groups for attempt in group.trajectories]
    assert len(set(seeds)) == len(seeds) == 24


@pytest.mark.parametrize("shards", [1, 2])
def test_a_stopped_evaluation_goes_on_without_asking_anything_twice_and_ends_with_the_same_bytes(shards, evaluate, asked):
    whole = evaluate(output="whole")[0].folder
    del asked[:]
    with pytest.raises(KeyboardInterrupt):
        evaluate(output="stopped", stop_after=shards)
    folder = evaluate(output="stopped")[0].folder
    assert len(asked) == len(set(asked)) * 2 == 24
    assert written(folder) == written(whole)


def test_a_finished_evaluation_is_read_without_an_engine(evaluate, asked):
    first, _ = evaluate()
    del asked[:]
    again, said = evaluate(ks=[2])
    assert not asked and said == ["arithmetic: 12 of 12 problems were asked before"]
    assert (
        again.scores["arithmetic"].pass_at.keys() == {2}
        and again.scores["arithmetic"].accuracy == first.scores["arithmetic"].accuracy
    )


def test_a_shard_that_was_cut_short_is_asked_again_as_a_whole(evaluate, asked):
    whole = written(evaluate(output="whole")[0].folder)
    folder = evaluate(output="cut")[0].folder
    samples = folder / "samples" / "arithmetic.jsonl"
    lines = samples.read_bytes().splitlines(keepends=True)
    samples.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    del asked[:]
    assert written(evaluate(output="cut")[0].folder) == whole
    assert len(asked) == 16  # four problems were whole; eight are asked, twice each


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"num_samples": 4}, "benchmarks.arithmetic.num_samples is 2 there and 4 here"),
        ({"num_problems": 8}, "benchmarks.arithmetic.problems_hash"),
        ({"overrides": ["sampling.temperature=0.5"]}, "benchmarks.arithmetic.sampling.temperature is 1.0 there and 0.5 here"),
        ({"overrides": ["engine.shard_size=4"]}, "engine.shard_size is 8 there and 4 here"),
        ({"overrides": ["grader.deadline=9.0"]}, "benchmarks.arithmetic.grader.deadline"),
    ],
)
def test_other_settings_are_refused_by_the_key_that_differs(changes, key, evaluate):
    before = written(evaluate()[0].folder)
    with pytest.raises(InputError, match=f"holds an evaluation with other settings .{key}"):
        evaluate(**changes)
    folder = evaluate()[0].folder
    assert written(folder) == before


def test_another_model_is_refused_and_the_same_one_elsewhere_is_not(evaluate, model, tmp_path):
    evaluate()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    evaluate(model=copy)
    tokenizer = arithmetic_tokenizer()
    save_pretrained(Architecture(seed=1, hidden_size=16, num_layers=1).build(tokenizer), tokenizer, copy)
    with pytest.raises(InputError, match="model.weights is"):
        evaluate(model=copy)


def test_a_second_benchmark_joins_the_first_in_its_folder(evaluate, tmp_path):
    own = tmp_path / "chains.yaml"
    own.write_text(HEAD.format("chains") + "problems: {name: arithmetic, split: heldout, levels: [4], num_problems: 20}\n")
    evaluate()
    report, _ = evaluate(own)
    result = json.loads((report.folder / "evaluation.json").read_text())
    assert set(result["benchmarks"]) == {"arithmetic", "chains"} and set(report.scores) == {"chains"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "--samples: is 0"),
        ({"num_problems": 0}, "--problems: is 0"),
        ({"num_problems": 301}, "--problems: is 301, and benchmark 'arithmetic' has 300"),
        ({"ks": [3]}, r"--k: 3 is not in 1\.\.2"),
        ({"engine": "vlm"}, "--engine: is 'vlm'; choose one of hf, vllm"),
        ({"overrides": ["engine.shardsize=4"]}, "did you mean 'shard_size'"),
        ({"overrides": ["sampling.max_tokens=90"]}, "exceeds the student's context of 96"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(changes, message, evaluate, tmp_path):
    with pytest.raises(InputError, match=message):
        evaluate(**changes)
    assert not (tmp_path / "evaluated").exists()


def test_a_benchmark_named_twice_and_none_at_all_are_refused(evaluate, model):
    with pytest.raises(InputError, match="'arithmetic' is there twice"):
        evaluate("arithmetic", "arithmetic")
    with pytest.raises(InputError, match="--benchmarks: names none"):
        rl_distill.evaluate(model, [])


def test_problems_that_the_vocabulary_cannot_read_are_refused_before_sampling(evaluate, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"id": 1, "prompt": "¿Cuánto es 2 + 2?", "answer": "4"}) + "\n")
    own = tmp_path / "own.yaml"
    own.write_text(HEAD.format("own") + f"problems: {{name: jsonl, path: {data}}}\n")
    with pytest.raises(InputError, match="cannot be tokenised"):
        evaluate(own, num_problems=1)


def test_a_folder_of_somebody_else_is_left_alone(evaluate, tmp_path):
    folder = tmp_path / "evaluated"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds no evaluation .'thesis.tex' is there"):
        evaluate()
    assert [path.name for path in folder.iterdir() if path.is_file() and path.name != ".lock"] == ["thesis.tex"]
