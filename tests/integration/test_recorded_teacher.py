"""From a real server's top-k log-probs to a student: curated with one command, learnt from with another, without the teacher."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from refusals import refused
from tiny_qwen import qwen_tokenizer
from tiny_runs import CONSTANT_RATE, RecipeFile, taught
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm_server import thinking_folder, vllm_server

from rl_distill.batch import Candidates
from rl_distill.learning.scorer import ModelScorer, ScorerConfig
from rl_distill.models.loading import load_model, save_pretrained
from rl_distill.records import read_groups
from rl_distill.rollout.vllm_config import installed_vllm
from rl_distill.text import encode_conversation
from rl_distill.tracking import read_metrics
from rl_distill.trajectory import Message, Trajectory

pytest.importorskip("uvicorn")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh"),
]
KEPT, CLOSE = 6, 1e-4  # tokens at each place; log-probs of vLLM and of transformers in float32
PROBLEMS = [{"id": f"p{number}", "prompt": f"What is {number} + 2?", "answer": str(number + 2)} for number in range(1, 7)]
WITH_IDS = {"return_token_ids": True, "return_tokens_as_token_ids": True}


def answering(folder: Path) -> Path:
    """A model that was shown the answers, so that many of its samples are right and end by themselves."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = []
    for problem in PROBLEMS:
        reply = f"<think>\nOkay, 2 + 2.\n</think>\n\nIt is \\boxed{{{problem['answer']}}}."
        rows.append(encode_conversation(tokenizer, [Message("user", problem["prompt"]), Message("assistant", reply)]))
    width = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in rows])
    learnt = torch.tensor([[*sampled, *[False] * (width - len(sampled))] for _, sampled in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(tokens).logits[:, :-1][learnt[:, 1:]], tokens[:, 1:][learnt[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_pretrained(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answering(thinking_folder(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher's architecture and tokenizer, and random weights."""
    return thinking_folder(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(folder, tmp_path_factory.mktemp("log") / "server.txt") as address:
        yield address


def curation(tmp_path: Path, url: str, tokenizer: Path, **sampling: Any) -> tuple[Path, Path]:
    """A recipe's path, and where it publishes."""
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    tree = {
        "name": "columns",
        "folder": str(tmp_path / "curated"),
        "problems": [{"name": "jsonl", "path": str(problems)}],
        "dedup": None,
        "generate": {
            "teacher": {"name": "openai", "model": "tiny", "endpoints": [{"base_url": url, "concurrency": 4}]},
            "num_samples": 4,
            "sampling": {"max_tokens": 60, "logprobs": True, "top_logprobs": KEPT + 1, "extra": WITH_IDS} | sampling,
            "teacher_columns": {"tokenizer": str(tokenizer)},
            "limits": {"min_success_rate": 0.0},
        },
        "pairs": None,
    }
    path = tmp_path / "curation.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path, tmp_path / "curated" / "data"


def attempts_of(path: Path) -> list[Trajectory]:
    return [attempt for group in read_groups(path) for attempt in group.trajectories]


def beside_the_teacher(folder: Path, attempts: list[Trajectory]) -> list[Trajectory]:
    """The same attempts with the columns of the model in this process."""
    model, tokenizer = load_model(str(folder)), AutoTokenizer.from_pretrained(folder)
    config = ScorerConfig(
        pad_id=tokenizer.pad_token_id,
        temperature=1.0,
        max_tokens=4096,
        chunk_tokens=512,
        precision="float32",
        column="teacher_logprobs",
        candidates=Candidates(count=KEPT),
        vocabulary=len(tokenizer),
    )
    return ModelScorer(model, config).annotate(attempts)


@pytest.mark.parametrize("sampling", [{"temperature": 1.0}, {"temperature": 1.5, "top_p": 0.99}])
def test_a_servers_columns_are_those_of_the_teacher_in_this_process(url, folder, cli, tmp_path, sampling):
    """At any temperature of the sampling, with sampled tokens that are not among the most likely ones, ends included."""
    path, data = curation(tmp_path, url, folder, **sampling)
    assert cli("curate", path)[0] == 0
    served = attempts_of(data / "attempts.jsonl")
    scored = beside_the_teacher(folder, served)
    outside = 0
    for attempt, expected in zip(served, scored, strict=True):
        assert (attempt.token_ids, attempt.sampled) == (expected.token_ids, expected.sampled)
        for place, mine in enumerate(attempt.sampled):
            ids, logprobs = attempt.candidate_ids[place], attempt.teacher_candidate_logprobs[place]
            wanted = dict(zip(expected.candidate_ids[place], expected.teacher_candidate_logprobs[place][:-1], strict=True))
            assert len(ids) == len(logprobs[:-1]) == (KEPT if mine else 0)
            if not mine:
                continue
            outside += attempt.token_ids[place] not in ids
            assert list(logprobs[:-1]) == pytest.approx(sorted(wanted.values(), reverse=True), abs=CLOSE)
            assert all(
                logprob == pytest.approx(wanted[token], abs=CLOSE)
                for token, logprob in zip(ids, logprobs, strict=False)
                if token in wanted
            )
            assert len(set(ids) & set(wanted)) >= KEPT - 1, "of two that are equally likely either may come last"
            assert math.exp(logprobs[-1]) == pytest.approx(math.exp(expected.teacher_candidate_logprobs[place][-1]), abs=1e-5)
    ended = [attempt for attempt in served if attempt.finish_reason == "stop"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert ended and all(
        attempt.token_ids[-1] in tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]) for attempt in ended
    )
    assert outside, "some token was sampled that is not among the most likely"


def learner(student: Path, data: Path, tmp_path: Path, name: str, **changes: Any) -> RecipeFile:
    source = {"name": "dataset", "problems": {"name": "records", "path": str(data / "sft.jsonl")}, "groups_per_step": 4}
    algorithm = {"name": "kd", "num_candidates": KEPT}
    stage = taught("kd", algorithm=algorithm, source=source, steps=1, learner={**CONSTANT_RATE, "warmup_steps": 0})
    recipe = {"name": name, "run_dir": str(tmp_path / name), "student": {"model": str(student)}, "stages": [stage]}
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe | {"tracking": {"console": "quiet"}} | changes))
    return RecipeFile(path, tmp_path / name)


def test_a_step_on_the_published_columns_is_the_step_beside_the_teacher(url, folder, student, cli, tmp_path):
    path, data = curation(tmp_path, url, folder)
    assert cli("curate", path)[0] == 0
    lines = {}
    for name, teacher in (("recorded", "recorded"), ("scored", str(folder))):
        recipe = learner(student, data, tmp_path, name, teacher=teacher)
        assert cli("train", recipe.path)[0] == 0
        lines[name] = next(line for line in read_metrics(recipe.run_dir / "metrics.jsonl") if line["stage"] == "kd")
    recorded, scored = lines["recorded"], lines["scored"]
    assert "distillation/teacher_tokens" in scored and "distillation/teacher_tokens" not in recorded
    assert recorded["loss"] > 0.1
    for name in ("loss", "gradient/norm", "distillation/divergence", "distillation/candidate_mass"):
        assert recorded[name] == pytest.approx(scored[name], rel=1e-5), name


def test_data_for_another_tokenizer_or_of_fewer_tokens_is_refused_before_training(url, folder, student, cli, tmp_path):
    path, data = curation(tmp_path, url, folder)
    assert cli("curate", path)[0] == 0
    other = tmp_path / "other"
    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens(["</think>", "<think>"])  # the same tokens under each other's ids
    save_pretrained(load_model(str(student)), tokenizer, other)
    said = refused(cli("train", learner(other, data, tmp_path, "other_run", teacher="recorded").path))
    assert "of a teacher with another vocabulary" in said or "not its text in the student's tokenizer" in said
    many = learner(student, data, tmp_path, "many", teacher="recorded")
    said = refused(cli("train", many.path, f"stages.kd.algorithm.num_candidates={KEPT + 1}"))
    assert "stages.kd.algorithm.num_candidates: is 7" in said and "set it to 6" in said


def test_text_alone_is_refused_with_what_to_ask_for_where_it_does_not_name_tokens(url, folder, cli, tmp_path):
    path, _ = curation(tmp_path, url, folder, extra={})
    code, _, err = cli("curate", path)
    assert code == 2 and "none of 24 answers has columns, the first for ambiguous_token" in err
    assert "return_tokens_as_token_ids: true" in err


def test_more_alternatives_than_the_server_gives_are_refused_by_its_own_words(url, folder, cli, tmp_path):
    path, _ = curation(tmp_path, url, folder, top_logprobs=21)
    code, _, err = cli("curate", path, "generate.limits.min_success_rate=0.9")
    assert code == 1 and "greater than max allowed: 20" in err
