"""A model whose forward pass answers with log-probs: those of its own logits, whatever adapters it has."""

from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="accelerate is in the trl extra")
pytest.importorskip("peft", reason="peft is in the trl extra")

import peft
from transformers import GPT2Config, GPT2LMHeadModel
from trl_door import TOKENIZER, pair_rows, small_model

from rl_distill.batch import Batch, collate
from rl_distill.integrations.learnable_groups import groups_of
from rl_distill.integrations.policy_model import answer_logprobs, check_precision, frozen_copy, logprobs_of, policy_model
from rl_distill.rollout.collector import Prompter
from rl_distill.text import PromptFormat
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Sample

ADAPTERS = {
    "none": None,
    "lora": peft.LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], init_lora_weights=False, task_type="CAUSAL_LM"),
    "dora": peft.LoraConfig(r=2, target_modules=["v_proj"], use_dora=True, init_lora_weights=False, task_type="CAUSAL_LM"),
    "ia3": peft.IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    "own head": peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
}


def batch() -> Batch:
    prompter = Prompter(tokenizer=TOKENIZER, format=PromptFormat(), max_context=96)
    groups = Tokenized(groups_of(pair_rows(3), "rows"), prompter, field="rows")
    samples = [Sample(trajectory=attempt) for index in range(3) for attempt in groups[index].trajectories]
    return collate(samples, pad_id=TOKENIZER.pad_token_id, sources=("",))


def adapted(name: str) -> Any:
    """A model whose adapters are not at their neutral start."""
    model = policy_model(small_model(), ADAPTERS[name])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_log_probs_are_those_of_the_models_logits(name: str) -> None:
    model, rows = adapted(name), batch()
    logits = model(input_ids=rows.token_ids, attention_mask=rows.attention_mask).logits
    expected = logits.log_softmax(-1)[:, :-1].gather(-1, rows.token_ids[:, 1:, None])[..., 0]
    answer_logprobs(model)
    found = logprobs_of(model, rows, chunk_tokens=5)
    wanted = rows.loss_mask[:, 1:]
    torch.testing.assert_close(found.logprobs[:, 1:][wanted], expected[wanted], atol=1e-5, rtol=0)
    found.logprobs.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_dropout_of_the_model_is_switched_off_and_that_of_adapters_stays() -> None:
    settings = GPT2Config(vocab_size=len(TOKENIZER), n_positions=96, n_embd=16, n_layer=1, n_head=2, attn_pdrop=0.1)
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], lora_dropout=0.3, task_type="CAUSAL_LM", fan_in_fan_out=True)
    for model in (
        policy_model(GPT2LMHeadModel(settings), config),
        policy_model(peft.get_peft_model(GPT2LMHeadModel(settings), config)),
    ):
        rates = {name: part.p for name, part in model.named_modules() if isinstance(part, torch.nn.Dropout)}
        assert len(rates) > 3
        assert all(rate == (0.3 if "lora_dropout" in name else 0.0) for name, rate in rates.items())


def test_a_frozen_copy_stays_as_it_was() -> None:
    model, rows = adapted("lora"), batch()
    copy = frozen_copy(model)
    before = copy(input_ids=rows.token_ids).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    assert torch.equal(copy(input_ids=rows.token_ids).logits, before)
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_frozen_weights_may_be_coarse_and_trained_ones_may_not() -> None:
    model = policy_model(small_model().to(torch.bfloat16), ADAPTERS["lora"])
    check_precision(model.parameters())
    with pytest.raises(Exception, match="small updates vanish; load it with dtype=torch.float32"):
        check_precision(small_model().to(torch.bfloat16).parameters())
