"""What must hold when one step has several sources, on a real (tiny) model: each is normalised on its own totals."""

from dataclasses import replace

import pytest
import torch
from mixed_step import PAIRS, ROLLOUTS, gradient

from rl_distill.algorithms import ALGORITHMS
from rl_distill.algorithms.redi import Redi
from rl_distill.algorithms.sft import Sft
from rl_distill.learning.loss_term import LossTerm


def alone(term: LossTerm, samples):
    return gradient([replace(one, source="") for one in samples], term.algorithm)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_gradient_is_the_weighted_sum_of_the_sources_own(name, weight):
    """So neither source's totals, units or number of rows reach the other."""
    samples = ROLLOUTS if name not in ("redi", "dpo", "simpo") else [replace(one, source="") for one in PAIRS]
    term = LossTerm(source="teacher", algorithm=Redi(positive_coef=0, negative_coef=0.8), weight=weight)
    mixed, metrics = gradient([*samples, *PAIRS], ALGORITHMS[name](), [term])
    (own, own_metrics), (other, other_metrics) = gradient(samples, ALGORITHMS[name]()), alone(term, PAIRS)
    torch.testing.assert_close(mixed, own + weight * other, rtol=1e-4, atol=1e-6)
    assert metrics["loss"] == pytest.approx(own_metrics["loss"] + weight * other_metrics["loss"], abs=1e-6)
    assert metrics["beside/teacher/loss"] == pytest.approx(other_metrics["loss"], abs=1e-6)
    assert metrics["beside/teacher/credit/negative"] == pytest.approx(0.8, abs=1e-5)


def test_shares_of_the_gradient_are_those_of_the_norms_and_agreement_is_the_cosine():
    term = LossTerm(source="teacher", algorithm=Redi(), weight=0.5)
    _, metrics = gradient([*ROLLOUTS, *PAIRS], None, [term])
    own, other = gradient(ROLLOUTS)[0], 0.5 * alone(term, PAIRS)[0]
    total = own.norm() + other.norm()
    assert metrics["gradient/share/main"] == pytest.approx((own.norm() / total).item(), rel=1e-4)
    assert metrics["gradient/share/teacher"] == pytest.approx((other.norm() / total).item(), rel=1e-4)
    cosine = torch.cosine_similarity(own, other, dim=0).item()
    assert metrics["gradient/agreement"] == pytest.approx(cosine, abs=1e-4)


def test_micro_batches_do_not_change_a_mixed_step():
    term = LossTerm(source="teacher", algorithm=Redi())
    whole, metrics = gradient([*ROLLOUTS, *PAIRS], None, [term])
    cut, cut_metrics = gradient([*ROLLOUTS, *PAIRS], None, [term], micro_batch_tokens=1)
    torch.testing.assert_close(whole, cut, rtol=1e-4, atol=1e-6)
    assert cut_metrics["beside/teacher/learner/micro_batches"] == 2
    assert metrics["gradient/share/teacher"] == pytest.approx(cut_metrics["gradient/share/teacher"], rel=1e-4)


def test_a_step_in_which_one_source_has_nothing_is_the_others_step():
    term = LossTerm(source="teacher", algorithm=Redi())
    torch.testing.assert_close(gradient(ROLLOUTS, None, [term])[0], gradient(ROLLOUTS)[0])
    only = gradient(PAIRS, None, [term])
    torch.testing.assert_close(only[0], alone(term, PAIRS)[0])
    assert only[1]["gradient/share/teacher"] == 1.0 and only[1]["gradient/share/main"] == 0.0


def test_a_single_source_measures_no_shares():
    assert not [path for path in gradient(ROLLOUTS)[1] if path.startswith("gradient/")]


def test_a_sample_of_an_unknown_source_is_refused_and_not_left_out():
    with pytest.raises(ValueError, match="source: a step has samples, and each comes from one of ''"):
        gradient([*ROLLOUTS, *PAIRS], Sft())
