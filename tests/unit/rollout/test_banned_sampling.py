"""Bans in the transformers engine: nothing banned is sampled, and log-probs are of what was sampled from."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from rl_distill.rollout.engine import Sampling

BANNED = ("is", "7", "yes no")


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1.5])
def test_a_banned_word_is_never_sampled_and_is_without_the_ban(temperature, engine, qwen, tokenizer, uneven_requests) -> None:
    free = engine(qwen).generate(uneven_requests(24, max_tokens=40, temperature=temperature))
    bound = engine(qwen).generate(uneven_requests(24, max_tokens=40, temperature=temperature, banned=BANNED))
    words = [set(attempt.response.split()) for attempt in free]
    assert any({"is", "7"} & some for some in words)
    for attempt in bound:
        assert not {"is", "7"} & set(attempt.response.split())
        assert "yes no" not in attempt.response


def test_a_banned_phrase_is_never_sampled_while_its_words_are(engine, qwen, uneven_requests) -> None:
    def pairs(attempts) -> Counter:
        said = [[word for word in attempt.response.split() if word.isalnum()] for attempt in attempts]
        return Counter(pair for words in said for pair in pairwise(words) if pair[0] != pair[1])

    requests = uneven_requests(36, max_tokens=40, temperature=0.7)
    before = pairs(engine(qwen).generate(requests))
    often = [" ".join(pair) for pair, _ in before.most_common(3)]
    bound = engine(qwen).generate(uneven_requests(36, max_tokens=40, temperature=0.7, banned=tuple(often)))
    assert before.most_common(3)[2][1] > 3
    for phrase in often:
        assert not any(f" {phrase} " in f" {attempt.response} " for attempt in bound)
        assert any(phrase.split()[0] in attempt.response.split() for attempt in bound)


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_log_probs_are_of_the_restricted_distribution(top_p, engine, qwen, tokenizer, uneven_requests) -> None:
    requests = uneven_requests(6, max_tokens=12, temperature=0.9, top_p=top_p, banned=("is", "7"))
    banned = [tokenizer.convert_tokens_to_ids(word) for word in ("is", "7")]
    for request, attempt in zip(requests, engine(qwen, max_concurrent=3).generate(requests), strict=True):
        ids = torch.tensor([attempt.token_ids])
        with torch.inference_mode():
            logits = qwen(input_ids=ids).logits[0].float() / 0.9
            logits[:, banned] = -torch.inf
        start = len(request.token_ids)
        for place in range(start, len(attempt.token_ids)):
            probs = logits[place - 1].softmax(-1)
            ordered = probs.sort(descending=True)
            kept = ordered.indices[: int((ordered.values.cumsum(0) < top_p - 1e-6).sum()) + 1]
            mass = probs[kept].sum()
            expected = (probs[attempt.token_ids[place]] / mass).log()
            assert attempt.behavior_logprobs[place] == pytest.approx(expected.item(), abs=2e-4)


def test_requests_with_and_without_a_ban_do_not_disturb_each_other(engine, qwen, uneven_requests) -> None:
    """In one shard, where rows move as others finish."""
    requests = uneven_requests(24, max_tokens=30)
    mixed = [
        replace(request, sampling=Sampling(max_tokens=30, banned=BANNED)) if place % 2 else request
        for place, request in enumerate(requests)
    ]
    together = engine(qwen, max_concurrent=6).generate(mixed)
    alone = engine(qwen, max_concurrent=6).generate(requests)
    assert [one.token_ids for one in together[::2]] == [one.token_ids for one in alone[::2]]
    assert all(not {"is", "7"} & set(one.response.split()) for one in together[1::2])


def test_a_ban_in_training_is_refused(tiny_recipe, cli) -> None:
    from tiny_runs import rolled_out

    stage = rolled_out()
    stage["source"]["sampling"]["banned"] = ["is"]
    code, _, said = cli("train", tiny_recipe(stage).path)
    assert code == 2 and "ratios wrong" in said and "banned" in said


def test_a_word_that_the_student_cannot_spell_is_refused_before_anything_is_trained(tiny_recipe, cli) -> None:
    from tiny_runs import taught

    sampling = {"max_tokens": 12, "banned": ["is", "wait"]}
    recipe = tiny_recipe(taught(), evaluation={"problems": {"name": "arithmetic", "num_problems": 2}, "sampling": sampling})
    code, out, said = cli("train", recipe.path)
    assert code == 2 and said.startswith("error: sampling.banned: holds 'wait'") and said.count("\n") == 1 and not out
