"""Attempts graded by processes on the hosts of a Ray cluster: what curation shares out."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.roll_call import cluster_machines
from rl_distill.cluster.session import Session, answer
from rl_distill.cluster.settings import RayCluster, RowCluster, WorkerPlaces
from rl_distill.rewards.base import Attempt, Verifier
from rl_distill.trajectory import Verdict

RETRIES = 3  # of a part whose process or host is lost


def graded(settings: RowCluster, verifier: Verifier, attempts: Sequence[Attempt]) -> list[Verdict]:
    """The verdict on each attempt, in order, whoever found it.

    Raises:
        InputError: the cluster does not answer, or its hosts have other versions.
        WorkerLost: the same part was lost again and again.
    """
    cluster = RayCluster(address=settings.address, engine=WorkerPlaces(workers=settings.workers))
    session = Session(cluster)
    try:
        cluster_machines(cluster)
        parts = [attempts[start : start + settings.rows] for start in range(0, len(attempts), settings.rows)]
        return [verdict for found in _in_order(settings, verifier, parts) for verdict in found]
    finally:
        session.close()


def _in_order(settings: RowCluster, verifier: Verifier, parts: Sequence[Sequence[Attempt]]) -> Iterator[list[Verdict]]:
    """What is found for each part; no more parts are out than workers can hold."""
    task = ray.remote(num_cpus=1, max_retries=RETRIES, runtime_env=runtime_env(threads=1))(_verdicts)
    out: list[Any] = []
    for part in parts:
        if len(out) == 2 * settings.workers:
            yield answer(out.pop(0), what="grading")
        out.append(task.remote(verifier, part))
    while out:
        yield answer(out.pop(0), what="grading")


def _verdicts(verifier: Verifier, attempts: Sequence[Attempt]) -> list[Verdict]:
    return verifier.verdicts(attempts)
