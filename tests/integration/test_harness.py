"""An exported student in lm-evaluation-harness: its real command line, on a task of ours, offline."""

import json
import os
import subprocess
import sys

import pytest
import yaml

import rl_distill
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.records import read_groups

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")

PROBLEMS = [group.problem for group in Arithmetic(split="heldout", levels=(1,), num_problems=6).groups()]
MAX_TOKENS = 24


def task(folder):
    """A generation task on the same problems, answers read from the box."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": one.prompt, "answer": one.answer}) + "\n" for one in PROBLEMS))
    task = {
        "task": "tiny_arithmetic",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["<|im_end|>"], "max_gen_toks": MAX_TOKENS, "do_sample": False},
        "filter_list": [
            {
                "name": "boxed",
                "filter": [{"function": "regex", "regex_pattern": r"boxed\{\s*(\d+)"}, {"function": "take_first"}],
            }
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "tiny_arithmetic.yaml").write_text(yaml.safe_dump(task))


def test_the_harness_loads_an_exported_student_and_hears_what_our_engine_hears(tmp_path):
    tokenizer = arithmetic_tokenizer()
    model = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=96, initializer_range=0.3)
    save_pretrained(model.build(tokenizer), tokenizer, tmp_path / "student")
    (tmp_path / "tasks").mkdir()
    task(tmp_path / "tasks")
    options = {
        "--model": "hf",
        "--model_args": f"pretrained={tmp_path / 'student'},dtype=float32",
        "--tasks": "tiny_arithmetic",
        "--include_path": str(tmp_path / "tasks"),
        "--device": "cpu",
        "--batch_size": "6",
        "--output_path": str(tmp_path / "out"),
    }
    command = [sys.executable, "-m", "lm_eval", *(text for pair in options.items() for text in pair)]
    done = subprocess.run(
        [*command, "--apply_chat_template", "--log_samples"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    theirs = {row["doc"]["prompt"]: row["resps"][0][0] for row in map(json.loads, samples.read_text().splitlines())}

    assert any(theirs.values())

    own = tmp_path / "own.yaml"
    own.write_text(
        f"name: own\nversion: 1\nabout: a\nsource: s\nlicense: l\nnum_samples: 1\ngrader: {{name: accuracy}}\n"
        f"sampling: {{temperature: 0, max_tokens: {MAX_TOKENS}}}\n"
        f"problems: {{name: arithmetic, split: heldout, levels: [1], num_problems: {len(PROBLEMS)}}}\n"
    )
    report = rl_distill.evaluate(tmp_path / "student", [own], output=tmp_path / "ours", say=lambda line: None)
    ours = {one.problem.prompt: one.trajectories[0].response for one in read_groups(report.folder / "samples" / "own.jsonl")}
    assert {prompt: text.strip() for prompt, text in theirs.items()} == {prompt: text.strip() for prompt, text in ours.items()}
    (result,) = (tmp_path / "out").rglob("results_*.json")
    exact_match = json.loads(result.read_text())["results"]["tiny_arithmetic"]["exact_match,boxed"]
    assert exact_match == pytest.approx(report.scores["own"].accuracy.mean)
