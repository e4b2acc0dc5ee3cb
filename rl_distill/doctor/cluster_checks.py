"""Checks that start something: Ray, and one step of DeepSpeed on it."""

import time

from rl_distill.cluster.installation import check_cluster_libraries, installed
from rl_distill.doctor.findings import Check, Finding, note, ok
from rl_distill.doctor.subject import Subject
from rl_distill.errors import InputError


def ray(subject: Subject) -> Finding:
    """Join the recipe's cluster or start one, and have one task run there."""
    try:
        check_cluster_libraries()
    except InputError as error:
        if subject.runs_on_ray:
            raise
        return note(f"cluster.name=ray does not work: {error.problem.partition('but ')[2]}; {error.remedy.partition(',')[0]}")
    from rl_distill.cluster.probe import answer_once

    started = time.perf_counter()
    subject.connect()
    connected = time.perf_counter()
    answer_once()
    answered = time.perf_counter()
    did = f"joined {subject.settings.address}" if subject.settings.address else "started a cluster"
    return ok(f"{installed('ray')} {did} in {connected - started:.1f} s and ran a task in {answered - connected:.1f} s")


def deepspeed(subject: Subject) -> Finding:
    from rl_distill.cluster.probe import zero_step

    seconds = zero_step()
    return ok(f"{installed('deepspeed')} took a step of ZeRO 1 in a process of the cluster ({seconds:.1f} s with its start)")


CLUSTER_CHECKS = (
    Check(name="ray", look=ray, thorough=True),
    Check(name="deepspeed", look=deepspeed, needs=("ray",), thorough=True),
)
