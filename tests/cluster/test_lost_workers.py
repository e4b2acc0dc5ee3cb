"""Workers of a fleet that die or fall silent: others take over what they had in hand, and nothing in the numbers tells of it."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import ray_processes
import torch
from deadly_worker import DEADLY
from graded_groups import samples_of

from rl_distill.algorithms.sft import Sft
from rl_distill.cluster import engine_fleet, machine
from rl_distill.cluster.crew import Crew
from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.scorer_fleet import ScorerFleet, ScorerProcesses
from rl_distill.cluster.weight_store import StoredTensors, put
from rl_distill.errors import WorkerLost
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.loss_term import LossTerm
from rl_distill.learning.scorer import ScorerConfig
from rl_distill.models.digest import named_weights, weight_digests
from rl_distill.models.loading import Architecture, load_model, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.models.weights import WeightUpdate
from rl_distill.rollout.engine import Request, Sampling, load_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.trajectory import Trajectory

TOKENIZER = arithmetic_tokenizer()
SHAPE = Architecture(hidden_size=32, intermediate_size=64, num_layers=2, max_context=400, initializer_range=0.2)
CONFIG = HfEngineConfig(shard_size=3, max_concurrent=3, device="cpu")
REQUESTS = [
    Request(problem_id=str(seed), messages=(), token_ids=(5, 9, 4), sampling=Sampling(max_tokens=60, stop_tokens=()), seed=seed)
    for seed in range(12)
]
LONG = [replace(request, sampling=Sampling(max_tokens=380, stop_tokens=())) for request in REQUESTS]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_processes.session():
        yield


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("student")
    save_pretrained(SHAPE.build(TOKENIZER), TOKENIZER, folder)
    return str(folder)


@pytest.fixture(scope="module")
def update(student: str) -> WeightUpdate:
    draw = torch.Generator().manual_seed(1)
    tensors = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in named_weights(load_model(student)).items()
    }
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return WeightUpdate(version=1, tensors=tensors, digests=weight_digests(tensors), num_bytes=num_bytes)


@pytest.fixture(scope="module")
def expected(student: str, update: WeightUpdate) -> dict[str, list[Trajectory]]:
    """What an undisturbed engine in this process samples with the update."""
    engine = HfEngine(load_model(student), TOKENIZER, CONFIG, name="s")
    load_checked(engine, update)
    return {"short": engine.generate(REQUESTS), "long": engine.generate(LONG)}


class Said(list[str]):
    """The lines that a crew has said, and the folder of its run."""

    folder: Path


@pytest.fixture
def said(tmp_path: Path) -> Said:
    lines = Said()
    lines.folder = tmp_path
    return lines


@pytest.fixture
def fleet(student: str, said: Said) -> Iterator[Callable[..., EngineFleet]]:
    opened = []

    def build(workers: int = 2, **settings: float) -> EngineFleet:
        asked = replace(ray_processes.cluster(workers=workers), **settings)
        crew = Crew(asked, ray_processes.anywhere, folder=said.folder, say=said.append)
        opened.append(EngineFleet(student, TOKENIZER, CONFIG, crew, name="s"))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def strike(worker: engine_fleet.Worker, how: signal.Signals = signal.SIGKILL) -> int:
    assert worker.who is not None
    os.kill(worker.who.pid, how)
    return worker.who.pid


def test_a_worker_that_dies_idle_is_replaced_by_one_with_the_weights_of_the_others(fleet, update, expected, said):
    engines = fleet()
    load_checked(engines, update)
    pid = strike(engines.pool.workers[0])
    assert engines.generate(REQUESTS) == expected["short"]
    assert [line.partition(f"(pid {pid} on ")[0] for line in said] == ["sampling: engine worker 0 "]
    listed = json.loads((said.folder / "workers.json").read_text())
    assert [(row["role"], row["rank"]) for row in listed] == [("engine", 1), ("engine", 0)]
    assert pid not in {row["pid"] for row in listed}
    assert {tuple(found.items()) for found in engines.pool.all("look", lambda actor: actor.load_weights.remote(update))} == {
        tuple(update.digests.items())
    }


def test_what_a_worker_had_in_hand_is_sampled_again_to_the_bit(fleet, update, expected):
    engines = fleet()
    load_checked(engines, update)
    for worker in engines.pool.workers:
        threading.Timer(0.2 + 0.2 * worker.number, strike, [worker]).start()
    assert engines.generate(LONG) == expected["long"]


def test_a_worker_that_dies_while_weights_come_is_replaced_by_one_that_has_them(fleet, update, expected):
    engines = fleet()
    worker = engines.pool.workers[1]
    strike(worker, signal.SIGSTOP)  # so that it dies with the weights on their way to it
    threading.Timer(0.5, strike, [worker]).start()
    load_checked(engines, update)
    assert engines.generate(REQUESTS) == expected["short"]


def test_a_silent_worker_is_looked_at_and_replaced(fleet, update, expected, said):
    engines = fleet()
    load_checked(engines, update)
    engines.crew.settings = replace(engines.crew.settings, patience_seconds=15.0)
    strike(engines.pool.workers[1], signal.SIGSTOP)
    assert engines.generate(REQUESTS) == expected["short"]
    line = said[0]
    assert "no answer within 15 s (cluster.patience_seconds) from engine worker 1 (pid" in line
    stacks = (said.folder / "logs" / "stacks.txt").read_text()
    assert "what every worker was doing" in line and "logs/stacks.txt" in line
    assert "engine worker 1 (pid" in stacks and ": stopped\n" in stacks
    assert 'File "' in stacks, "the worker that lives shows its stack"


def test_work_that_no_worker_survives_ends_the_run_and_not_the_night(fleet, said, monkeypatch):
    from deadly_worker import DeadlyWorker

    monkeypatch.setattr(engine_fleet, "EngineWorker", DeadlyWorker)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    engines = fleet(1, retries=1)
    assert len(engines.generate(REQUESTS[:2])) == 2
    with pytest.raises(WorkerLost, match=r"2 workers were lost over the same work \(cluster.retries\)") as lost:
        engines.generate([replace(REQUESTS[0], problem_id=DEADLY)])
    assert engines.ended and lost.value.log == said.folder / "logs" / "engine-0.log"


def test_a_worker_that_dies_as_it_starts_is_replaced(fleet, update, expected, said, monkeypatch):
    from deadly_worker import BORN, StillbornWorker

    born = said.folder / "born"
    born.mkdir()
    monkeypatch.setattr(engine_fleet, "EngineWorker", StillbornWorker)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv(BORN, str(born))
    engines = fleet(1)
    load_checked(engines, update)
    assert engines.generate(REQUESTS) == expected["short"]
    assert len(list(born.iterdir())) == 2 and "takes its place" in said[0]


def test_a_worker_on_a_host_that_joined_with_another_version_has_no_part_in_the_run(fleet, expected, update, said, monkeypatch):
    engines = fleet()
    load_checked(engines, update)
    ours = machine.versions_here()
    monkeypatch.setattr(machine, "versions_here", lambda: ours | {"torch": "0.0.1"})  # of the driver: all new ones differ from it
    strike(engines.pool.workers[0])
    assert engines.generate(REQUESTS) == expected["short"]
    assert f"torch is {ours['torch']} on host" in said[0] and "install the same versions on all hosts" in said[0]
    assert "the 1 other engine workers go on without it" in said[0]


def test_a_scorer_that_dies_is_replaced_by_one_with_the_reference(student, said):
    crew = Crew(ray_processes.cluster(), ray_processes.anywhere, folder=said.folder, say=said.append)
    processes = ScorerProcesses(crew)
    config = ScorerConfig(pad_id=TOKENIZER.pad_token_id, temperature=1.0, max_tokens=64, chunk_tokens=64, precision="float32")
    scorer = ScorerFleet(lambda: load_model(student), config, processes)
    attempts = [sample.trajectory for sample in samples_of(Sft())]
    before = scorer.annotate(attempts)
    strike(processes.pool.workers[0])
    assert scorer.annotate(attempts) == before and len(said) == 1
    scorer.close()
    processes.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_lost_is_named_and_all_start_anew(how, said):
    """In the middle of a step the other rank is caught in a collective; what it complains of is not what is told."""
    asked = replace(ray_processes.cluster(ranks=2), patience_seconds=40.0)
    ranks = Ranks(Crew(asked, ray_processes.anywhere, folder=said.folder, say=said.append))
    spec = LearnerSpec(
        make_model=lambda: SHAPE.build(TOKENIZER),
        tokenizer=TOKENIZER,
        terms=(LossTerm(algorithm=Sft()),),
        config=LearnerConfig(schedule="constant", warmup_steps=0),
        total_steps=None,
        publish_dtype=torch.float32,
    )
    samples = samples_of(Sft())
    learner = LearnerFleet(spec, ranks)
    first = learner.step(samples).metrics
    strike(ranks.workers[1], how)
    started = time.monotonic()
    with pytest.raises(WorkerLost, match=r"learner step 2: .*learner rank 1 \(pid") as lost:
        learner.step(samples)
    if how == signal.SIGKILL:
        assert time.monotonic() - started < asked.patience_seconds / 2, "death is noticed, not waited out"
        assert [worker.number for worker in lost.value.workers] == [1]
    with pytest.raises(WorkerLost, match="saving: the learner's ranks were ended"):
        learner.save(said.folder)
    learner.close()
    again = LearnerFleet(spec, ranks)
    assert again.step(samples).metrics == first
    again.close()
    ranks.close()


def test_a_worker_for_which_the_weights_are_lost_waits_for_the_next_ones(fleet, update, expected, said):
    """They belong to the process that has put them into the store: a learner rank that is gone too."""
    engines = fleet()

    class Source:
        def tensors(self, tensors: dict[str, torch.Tensor]) -> StoredTensors:
            return StoredTensors([put(dict(tensors))], dict.fromkeys(tensors, 0))

    source = ray.remote(num_cpus=0)(Source).remote()
    load_checked(engines, replace(update, tensors=ray.get(source.tensors.remote(update.tensors))))
    ray.kill(source)
    strike(engines.pool.workers[0])
    assert engines.generate(REQUESTS) == expected["short"]
    assert engines.num_workers == 1 and "the 1 other engine workers go on without it" in said[0]
    deadline = time.monotonic() + 60
    while engines.num_workers == 1 and time.monotonic() < deadline:
        load_checked(engines, update)
    assert engines.num_workers == 2 and "has found a place again" in said[-1]
    assert engines.generate(REQUESTS) == expected["short"]
