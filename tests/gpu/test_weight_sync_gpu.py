"""DeepSpeed learner, vLLM engine and every way of weights between them, on real GPUs; needs the extra `vllm`.

The shapes are those of Qwen2.5's 0.5B and 1.5B, the weights random. One GPU is enough for all but NCCL, which needs two.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from graded_groups import samples_of
from qwen_sizes import SHAPES, qwen_of_size

from rl_distill.algorithms.sft import Sft
from rl_distill.cluster.crew import Crew
from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.placement import Placement
from rl_distill.cluster.session import Session
from rl_distill.cluster.settings import LearnerPlaces, RayCluster, WorkerPlaces
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.loss_term import LossTerm
from rl_distill.models.loading import load_model, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import Request, Sampling, load_checked
from rl_distill.rollout.vllm_config import VllmEngineConfig
from rl_distill.training.weight_sync import TOLERANCE, SyncChecks, WeightSync

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
pytest.importorskip("vllm")

TOKENIZER = arithmetic_tokenizer()
ENGINE = VllmEngineConfig(dtype="bfloat16", gpu_memory_fraction=0.3, enforce_eager=True, shard_size=16)
CONFIG = LearnerConfig(learning_rate=1e-3, schedule="constant", warmup_steps=0, precision="bfloat16")
CANARY = Request(problem_id="p", messages=(), token_ids=tuple(range(3, 40)), sampling=Sampling(max_tokens=16), seed=3)
SAMPLES = samples_of(Sft())


def several_gpus(count: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(torch.cuda.device_count() < count, reason=f"needs {count} GPUs")


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    opened = Session(RayCluster(object_store_mib=8192))
    yield
    opened.close()


@pytest.fixture(scope="module", params=list(SHAPES))
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    save_pretrained(qwen_of_size(request.param), TOKENIZER, folder)
    return folder


class Pair:
    """Learner ranks and engine workers where a recipe's `cluster` would put them."""

    def __init__(self, student: Path, settings: RayCluster) -> None:
        self.student = student
        self.placement = Placement(settings, engine_gpus=1, roles=frozenset({"learner", "engine"}))
        crew = Crew(settings, self.placement.place)
        self.ranks = Ranks(crew)
        self.engines = EngineFleet(str(student), TOKENIZER, ENGINE, crew, name="s")

    def learner(self, transport: str, stage: int) -> LearnerFleet:
        places = replace(self.ranks.settings.learner, zero_stage=stage)
        self.ranks.settings = replace(self.ranks.settings, transport=transport, learner=places)
        spec = LearnerSpec(
            make_model=partial(load_model, str(self.student)),
            tokenizer=TOKENIZER,
            terms=(LossTerm(algorithm=Sft()),),
            config=CONFIG,
            total_steps=None,
            publish_dtype=torch.bfloat16,
        )
        return LearnerFleet(spec, self.ranks)

    def close(self) -> None:
        self.engines.close()
        self.ranks.close()
        self.placement.close()


def settings(transport: str, *, ranks: int = 1, workers: int = 1, colocate: bool = False) -> RayCluster:
    return RayCluster(
        transport=transport,
        colocate=colocate,
        learner=LearnerPlaces(ranks=ranks),
        engine=WorkerPlaces(workers=workers),
        patience_seconds=300.0,
    )


def assert_synchronized(pair: Pair, transport: str, stage: int) -> None:
    """Digests of all tensors and a look at what all workers compute; memory of an update alone; one while they sample."""
    learner = pair.learner(transport, stage)
    sync = WeightSync(learner, pair.engines, CANARY, SyncChecks(canary_every=1), TOLERANCE["bfloat16"])
    seen = []
    for version in (1, 2):
        assert learner.step(SAMPLES).metrics["update/norm"] > 0
        print(f"{pair.student.name} {transport} ZeRO {stage}: {sync.bring(version)}")
        seen.append([attempt.behavior_logprobs for attempt in pair.engines.canaries(CANARY)])
    assert seen[0] != seen[1]

    peaks = Peaks(pair.ranks)
    load_checked(pair.engines, learner.publish(2))
    assert peaks.grown() <= 2.5 * max(pair.ranks.settings.bucket_mib * 2**20, peaks.largest), "more than a bucket was whole"

    shard = [replace(CANARY, sampling=Sampling(max_tokens=256), seed=seed) for seed in range(ENGINE.shard_size)]
    tickets = [pair.engines.submit(shard) for _ in range(4)]
    sync.bring(3)
    for ticket in tickets:
        for attempt in pair.engines.collect(ticket).trajectories:
            versions = [version for version, own in zip(attempt.policy_versions, attempt.sampled, strict=True) if own]
            assert versions == sorted(versions) and set(versions) <= {2, 3}
    learner.close()


class Peaks:
    """Memory of the ranks' devices from here on. A gathered bucket, its copies as they travel and what IPC shows of them are
    two buckets; a bucket is of one tensor where that is larger.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._before = self._ask(lambda rank: __import__("torch").cuda.memory_allocated())
        self._ask(lambda rank: __import__("torch").cuda.reset_peak_memory_stats())
        weights = lambda rank: max(rank.learner.outgoing.sizes.values())  # noqa: E731
        self.largest = max(self._ask(weights))

    def grown(self) -> int:
        peaks = self._ask(lambda rank: __import__("torch").cuda.max_memory_allocated())
        return max(peak - before for peak, before in zip(peaks, self._before, strict=True))

    def _ask(self, look: Any) -> list[Any]:
        return self._ranks.all("memory", lambda worker: worker.__ray_call__.remote(look))


@pytest.fixture(scope="module")
def shared_gpu(student: Path) -> Iterator[Pair]:
    pair = Pair(student, settings("object_store", colocate=True))
    yield pair
    pair.close()


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("transport", ["object_store", "ipc"])
def test_on_one_gpu_the_engine_computes_with_what_the_learner_has(shared_gpu: Pair, transport: str, stage: int) -> None:
    assert_synchronized(shared_gpu, transport, stage)


@several_gpus(2)
@pytest.mark.parametrize("stage", [0, 3])
def test_nccl_between_two_gpus(student: Path, stage: int) -> None:
    pair = Pair(student, settings("nccl"))
    assert_synchronized(pair, "nccl", stage)
    pair.close()


@several_gpus(4)
def test_nccl_from_two_sharded_ranks_to_two_engines(student: Path) -> None:
    pair = Pair(student, settings("nccl", ranks=2, workers=2))
    assert_synchronized(pair, "nccl", 3)
    pair.close()


@several_gpus(2)
def test_ipc_from_two_sharded_ranks_each_to_the_engine_on_its_gpu(student: Path) -> None:
    pair = Pair(student, settings("ipc", ranks=2, workers=2, colocate=True))
    assert_synchronized(pair, "ipc", 3)
    pair.close()
