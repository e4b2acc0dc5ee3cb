"""Weights from a learner to engines, against a plain copy and what Ray's object store itself can carry.

    python scripts/bench/weight_sync.py [--json FILE] [--mib 256] [--workers 1] [--repeats 9]

Both are measured in one run, between processes of one cluster. The peer is the least that must happen: one process puts the same
arrays into the store, each reader gets them and copies them into memory that it already has. Our own way gathers, digests and
publishes in the learner, and loads, digests and compares in each worker. Then the same in one process, without sending, and a
plain copy from array to array.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import ray
import torch
from turns import at_least_one, json_file, machine, write

from rl_distill.algorithms import ALGORITHMS
from rl_distill.cluster.crew import Crew
from rl_distill.cluster.engine_fleet import EngineFleet
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.placement import Place
from rl_distill.cluster.session import Session
from rl_distill.cluster.settings import RayCluster, WorkerPlaces
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.local_learner import LocalLearner
from rl_distill.learning.loss_term import LossTerm
from rl_distill.markdown_table import markdown
from rl_distill.models.loading import Architecture, save_pretrained
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.rollout.engine import load_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig


class Holder:
    """A process that holds arrays: the peer's sender and receiver."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self.arrays = [np.ones(shape, dtype=np.float32) for shape in shapes]

    def put(self) -> list[ray.ObjectRef]:
        return [ray.put(self.arrays)]

    def take(self, refs: list[ray.ObjectRef]) -> None:
        for mine, given in zip(self.arrays, ray.get(refs[0]), strict=True):
            np.copyto(mine, given)


def anywhere(role: str, number: int) -> Place:
    return {"num_cpus": 0}


def seconds(repeats: int, action) -> float:
    """The median time; the first, which touches the store's pages, is not counted."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=at_least_one, default=256, help="size of the weights in float32")
    parser.add_argument("--workers", type=at_least_one, default=1, help="engine workers")
    parser.add_argument("--repeats", type=at_least_one, default=9)
    parser.add_argument("--json", type=json_file, help="file to write")
    given = parser.parse_args()

    tokenizer = arithmetic_tokenizer()
    layers = max(1, round(given.mib * 2**20 / (4 * (4 * 512**2 + 3 * 512 * 2048))))
    shape = Architecture(hidden_size=512, intermediate_size=2048, num_layers=layers, num_heads=8, num_key_value_heads=8)
    settings = RayCluster(engine=WorkerPlaces(workers=given.workers), object_store_mib=4 * given.mib + 200)
    session = Session(settings)
    try:
        with tempfile.TemporaryDirectory() as folder:
            save_pretrained(shape.build(tokenizer), tokenizer, Path(folder))
            engine = EngineFleet(folder, tokenizer, HfEngineConfig(max_concurrent=2), Crew(settings, anywhere), name="bench")
        ranks = Ranks(Crew(settings, anywhere))
        spec = LearnerSpec(
            make_model=partial(shape.build, tokenizer),
            tokenizer=tokenizer,
            terms=[LossTerm(algorithm=ALGORITHMS["sft"]())],
            config=LearnerConfig(schedule="constant", warmup_steps=0),
            total_steps=None,
            publish_dtype=torch.float32,
        )
        learner = LearnerFleet(spec, ranks)
        update = learner.publish(0)
        ours = seconds(given.repeats, lambda: load_checked(engine, learner.publish(0)))

        shapes = [tuple(tensor.shape) for tensor in update.tensors.values()]
        sender, *receivers = [ray.remote(Holder).options(num_cpus=0).remote(shapes) for _ in range(1 + given.workers)]
        theirs = seconds(given.repeats, lambda: broadcast(sender, receivers))
        arrays = [np.ones(shape, dtype=np.float32) for shape in shapes]
        into = [np.empty_like(array) for array in arrays]
        plain = seconds(given.repeats, lambda: [np.copyto(*pair) for pair in zip(into, arrays, strict=True)])
        own = LocalLearner(
            shape.build(tokenizer), tokenizer, ALGORITHMS["sft"](), LearnerConfig(schedule="constant", warmup_steps=0)
        )
        beside = HfEngine(shape.build(tokenizer), tokenizer, HfEngineConfig(max_concurrent=2), name="beside")
        inside = seconds(given.repeats, lambda: load_checked(beside, own.publish(0)))
        size = update.num_bytes
        told = f"{len(update.tensors)} tensors, {given.workers} engine workers, median of {given.repeats}"
        print(f"{size / 2**20:.0f} MiB in {told}")
        taken = {
            "over Ray: publish, load, digests": ours,
            "object store alone": theirs,
            "in one process: publish, load, digests": inside,
            "a plain copy": plain,
        }
        rate = {way: size / spent / 2**30 for way, spent in taken.items()}
        rows = [(way, f"{spent:.3f}", f"{rate[way]:.2f}", f"{plain / spent:.2f}") for way, spent in taken.items()]
        print(markdown(("way", "s", "GiB/s", "of a plain copy"), rows))
        write(
            given.json, {"machine": machine(torch.get_num_threads()), "bytes": size, "workers": given.workers, "seconds": taken}
        )
    finally:
        session.close()


def broadcast(sender, receivers) -> None:
    """Once into the store, and to everybody at the same time."""
    refs = ray.get(sender.put.remote())
    ray.get([receiver.take.remote(refs) for receiver in receivers])


if __name__ == "__main__":
    main()
