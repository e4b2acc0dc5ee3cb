"""An engine in this process as a teacher: the real one, with a tiny model."""

from typing import Any

import pytest
import torch
from teacher_calls import asked
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl_distill.curation.engine_teacher import EngineTeacher
from rl_distill.curation.teacher import TeacherSampling
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig

QUESTIONS = [f"{number} + 2 = ?" for number in range(1, 7)]
SAMPLING = TeacherSampling(max_tokens=6, logprobs=True)


def teacher(**settings: Any) -> EngineTeacher:
    tokenizer = arithmetic_tokenizer()
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(**shape, vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2)
    )
    engine = HfEngine(model, tokenizer, HfEngineConfig(**{"device": "cpu", "shard_size": 4} | settings), name="large")
    return EngineTeacher(engine, tokenizer, model="large", revision="1", engine_class="hf")


def test_answers_are_the_engines_with_log_probs_and_token_ids(curate):
    requests = asked(QUESTIONS, num_samples=2, sampling=SAMPLING)
    responses = curate(teacher(), requests).responses
    assert [response.row_key for response in responses] == [request.row_key for request in requests]
    for response in responses:
        sampled = response.raw["token_ids"][response.raw["num_prompt_tokens"] :]
        assert [token["token_id"] for token in response.logprobs] == sampled
        assert all(token["logprob"] <= 0 for token in response.logprobs)
        assert (response.model, response.completion_tokens) == ("large", len(sampled))
        assert response.failure in ("length", None) and (response.failure == "length") == (response.finish_reason == "length")


def test_a_run_that_goes_on_samples_the_shards_of_an_undisturbed_one(curate, tmp_path):
    requests = asked(QUESTIONS, num_samples=2, sampling=SAMPLING)
    whole = curate(teacher(), requests)
    (path,) = whole.generated.store.path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))  # killed in the middle of the second shard
    again = curate(teacher(), requests)
    timeless = [[(one.text, one.logprobs, one.raw) for one in made.responses] for made in (whole, again)]
    assert timeless[0] == timeless[1]
    assert len(path.read_bytes().splitlines()) == 12  # no row twice


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"schema": {}}, "schema"),
        ({"sampling": TeacherSampling(logprobs=True, top_logprobs=2)}, "sampling.top_logprobs"),
        ({"sampling": TeacherSampling(extra={"top_k": 2})}, "sampling.extra"),
        ({"sampling": TeacherSampling(temperature=None)}, "sampling.temperature"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(curate, settings, field):
    with pytest.raises(InputError) as caught:
        curate(teacher(), asked(QUESTIONS, **settings))
    assert caught.value.field == field


def test_a_larger_limit_is_for_the_rows_that_need_it(curate):
    sampling = TeacherSampling(max_tokens=3, longer_max_tokens=12)
    responses = curate(teacher(), asked(QUESTIONS, num_samples=2, sampling=sampling)).responses
    assert {response.max_tokens for response in responses if response.failure == "length"} <= {12}
    assert any(response.max_tokens == 12 for response in responses)
