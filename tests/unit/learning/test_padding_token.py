"""Where a tokenizer has no pad token EOS pads: a sampled EOS is learnt all the same."""

import torch

from rl_distill.algorithms.sft import Sft
from rl_distill.batch import PolicyOutput, collate
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.micro_steps import accumulate
from rl_distill.learning.step_plan import plan_step
from rl_distill.models.loading import Architecture, load_model, save_pretrained
from rl_distill.models.logprobs import policy_output
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Sample, Trajectory

TOKENIZER = arithmetic_tokenizer()
PAD, EOS = TOKENIZER.pad_token_id, TOKENIZER.eos_token_id
# two turns and one: EOS is predicted at both ends, and read in the middle of the longer row
ROWS = ((5, 6, EOS, 7, 8, 9, EOS), (5, 6, 7, EOS))


def sample(token_ids) -> Sample:
    sampled = (False, *(True,) * (len(token_ids) - 1))
    return Sample(
        trajectory=Trajectory(problem_id="p", messages=(), token_ids=token_ids, sampled=sampled, model="m", origin="teacher")
    )


SAMPLES = [sample(token_ids) for token_ids in ROWS]


def gradients(model, pad_id: int) -> dict[str, torch.Tensor]:
    def forward(batch) -> PolicyOutput:
        return policy_output(model, batch.token_ids, batch.attention_mask, batch.loss_mask)

    model.zero_grad()
    ((share,),) = plan_step(SAMPLES, [LossTerm(algorithm=Sft())], num_processes=1, max_tokens=10_000)
    accumulate(share, forward, pad_id=pad_id, max_tokens=10_000)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_masks_come_from_lengths_and_not_from_ids():
    batch, other = (collate(SAMPLES, pad_id=pad, sources=("",)) for pad in (EOS, PAD))
    assert torch.equal(batch.loss_mask, other.loss_mask) and torch.equal(batch.attention_mask, other.attention_mask)
    assert batch.token_ids[1].tolist() == [*ROWS[1], EOS, EOS, EOS]
    assert batch.loss_mask[1].tolist() == [False, True, True, True, False, False, False]


def test_which_token_pads_changes_no_gradient_also_where_the_model_was_saved_with_eos_as_its_padding(tmp_path):
    built = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, max_context=32).build(TOKENIZER)
    expected = None
    for model_pads, batch_pads in ((PAD, PAD), (PAD, EOS), (EOS, EOS)):
        built.config.pad_token_id = model_pads
        save_pretrained(built, TOKENIZER, tmp_path / f"{model_pads}")
        found = gradients(load_model(str(tmp_path / f"{model_pads}")), batch_pads)
        expected = expected or found
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert expected["model.embed_tokens.weight"][EOS].abs().sum() > 0
