"""A private Ray cluster for a module's tests, and the processes that its learners share: starting them is what takes time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rl_distill.cluster.crew import Crew
from rl_distill.cluster.learner_fleet import Ranks
from rl_distill.cluster.placement import Place
from rl_distill.cluster.session import Session
from rl_distill.cluster.settings import LearnerPlaces, RayCluster, WorkerPlaces


def anywhere(role: str, number: int) -> Place:
    """No reservation: tests share two cores."""
    return {"num_cpus": 0}


def cluster(*, ranks: int = 1, zero_stage: int = 0, workers: int = 1, bucket_mib: int = 256) -> RayCluster:
    return RayCluster(
        learner=LearnerPlaces(ranks=ranks, zero_stage=zero_stage),
        engine=WorkerPlaces(workers=workers),
        bucket_mib=bucket_mib,
        patience_seconds=300.0,
        object_store_mib=200,
    )


def crew(**layout: Any) -> Crew:
    """Of a `cluster`; it keeps no logs."""
    return Crew(cluster(**layout), anywhere)


@contextmanager
def session() -> Iterator[None]:
    opened = Session(cluster())
    try:
        yield
    finally:
        opened.close()


@contextmanager
def ranks(count: int) -> Iterator[Ranks]:
    """Processes of a learner; give them a stage of ZeRO by replacing their settings."""
    opened = Ranks(crew(ranks=count))
    try:
        yield opened
    finally:
        opened.close()


class Listener:
    """An engine worker that writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def receive(self, backend: str, call: str, arguments: Any) -> None:
        self.heard.append((backend, call, arguments))

    def all(self) -> list[Any]:
        return self.heard
