"""New weights are looked at: that they arrive, that versions never fall, and that the engine computes with them."""

import copy

import pytest
from torch import nn

from rl_distill.algorithms.sft import Sft
from rl_distill.errors import RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.training.weight_sync import SyncChecks, WeightSync, tolerance_of
from rl_distill.trajectory import Sample

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=32, intermediate_size=64, num_layers=2, max_context=96, initializer_range=0.2)
CANARY = Request(problem_id="p", messages=(), token_ids=(5, 9, 4), sampling=Sampling(temperature=0.7, max_tokens=8), seed=3)


class StaleHead(HfEngine):
    """An engine that keeps a packed copy of its output layer and does not renew it, as a library that tied embeddings mislead."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        packed = nn.Linear(32, len(TOKENIZER), bias=False)
        packed.weight.data = self._model.get_output_embeddings().weight.data.clone()
        self._model.lm_head.forward = packed.forward


def pair(engine=HfEngine, **checks):
    learner = LocalLearner(
        SHAPE.build(TOKENIZER), TOKENIZER, Sft(), LearnerConfig(learning_rate=0.05, schedule="constant", warmup_steps=0)
    )
    made = engine(copy.deepcopy(learner.model), TOKENIZER, HfEngineConfig(device="cpu"), name="s")
    settings = SyncChecks(**checks)
    return learner, WeightSync(learner, made, CANARY, settings, tolerance_of(settings, "float32", "float32"))


def train(learner: LocalLearner, sync: WeightSync) -> None:
    learner.step([Sample(trajectory=attempt) for attempt in sync.engine.generate([CANARY])])


def test_an_update_that_arrives_is_seen_to_be_what_the_engine_computes_with():
    learner, sync = pair()
    for version in range(3):
        found = sync.bring(version)
        assert found["sync/bytes"] == sum(parameter.nbytes for parameter in learner.model.parameters())
        assert sync.engine.version == version
        train(learner, sync)
    assert sync.bring(3).keys() >= {"time/publish", "time/load"}


def test_the_canary_looks_at_the_first_update_and_at_every_nth():
    learner, sync = pair(canary_every=3)
    looked = ["sync/canary_error" in sync.bring(version) for version in range(7)]
    assert looked == [True, False, False, True, False, False, True]


def test_an_engine_that_computes_with_old_weights_is_found_out_although_every_tensor_arrived():
    learner, sync = pair(StaleHead, canary_every=1)
    assert sync.bring(0)["sync/canary_error"] < 1e-4
    train(learner, sync)
    with pytest.raises(RunError, match="all tensors arrived, but the engine computes with others"):
        sync.bring(1)


def test_a_tensor_that_did_not_arrive_is_named():
    learner, sync = pair()
    sync.bring(0)
    take = sync.engine.load_weights

    def forgetful(update):
        kept = sync.engine._model.model.norm.weight.clone()
        take(update)
        sync.engine._model.model.norm.weight.data.copy_(kept)
        return weight_digests(named_weights(sync.engine._model))

    sync.engine.load_weights = forgetful
    train(learner, sync)
    with pytest.raises(RunError, match="1 of 20 tensors differ, such as 'model.norm.weight'"):
        sync.bring(1)


def test_versions_never_fall():
    _, sync = pair()
    sync.bring(4)
    sync.bring(4)
    with pytest.raises(RunError, match="weights of version 3 would replace those of version 4"):
        sync.bring(3)


@pytest.mark.parametrize(
    ("given", "dtype", "precision", "expected"),
    [
        (None, "float32", "float32", 1e-3),
        (None, "bfloat16", "float32", 0.25),
        (None, "float32", "bfloat16", 0.25),
        (0.1, "bfloat16", "bfloat16", 0.1),
    ],
)
def test_the_tolerance_is_that_of_the_coarser_side_unless_the_recipe_has_one(given, dtype, precision, expected):
    assert tolerance_of(SyncChecks(canary_tolerance=given), dtype, precision) == expected
