"""The least memory of a run: by hand for each ZeRO stage, and refused only where it cannot fit."""

from dataclasses import replace

import pytest

from rl_distill.cluster.machine import Machine
from rl_distill.cluster.memory import GIB, ModelSize, check_memory, in_words, rank_memory
from rl_distill.cluster.settings import LearnerPlaces, RayCluster, WorkerPlaces
from rl_distill.errors import InputError

SIZE = ModelSize(trained=GIB, frozen=0, weight_bytes=2)  # 2**30 weights, so that a float32 copy is 4 GiB
ADAPTERS = ModelSize(trained=GIB // 64, frozen=GIB, weight_bytes=2)


def machine(memory_gib: float, *device_gib: float) -> Machine:
    return Machine(
        host="h", versions={}, cores=1, memory_bytes=int(memory_gib * GIB), device_bytes=tuple(int(d * GIB) for d in device_gib)
    )


@pytest.mark.parametrize(
    ("stage", "ranks", "offload", "device", "host"),
    [
        (0, 1, "none", 16, 0),  # weights, gradients, two moments
        (0, 4, "none", 16, 0),
        (1, 4, "none", 4 + 4 + 3, 0),  # a quarter of a copy and of two moments
        (2, 4, "none", 4 + 1 + 3, 0),
        (3, 4, "none", 1 + 1 + 3, 0),
        (2, 4, "optimizer", 4 + 1, 3),
        (3, 4, "optimizer", 1 + 1, 3),
        (3, 4, "parameters", 1, 1 + 3),
    ],
)
def test_a_rank_holds_what_its_stage_leaves_it(stage, ranks, offload, device, host):
    found = rank_memory(SIZE, LearnerPlaces(ranks=ranks, zero_stage=stage, offload=offload))
    assert (found.device / GIB, found.host / GIB) == (device, host)


def test_adapters_have_gradients_and_moments_and_frozen_weights_have_none():
    found = rank_memory(ADAPTERS, LearnerPlaces())
    assert found.device / GIB == 4 + 4 / 64 + 4 / 64 + 8 / 64


def refusal(settings: RayCluster, *machines: Machine, roles=("learner",), size: ModelSize = SIZE) -> str | None:
    try:
        check_memory(settings, size, machines, frozenset(roles))
    except InputError as error:
        return str(error)
    return None


def test_on_cpus_all_processes_share_the_memory_of_all_hosts():
    two = RayCluster(learner=LearnerPlaces(ranks=2))
    assert refusal(two, machine(16), machine(16)) is None
    message = refusal(two, machine(16), machine(15.9))
    assert message == (
        "cluster.learner: needs 32.0 GiB of host memory with what samples and scores (1.07 billion weights, ZeRO 0, 2 ranks), "
        "and there are 31.9 GiB; use a higher zero_stage with more ranks, a smaller student, or adapters (student.lora)"
    )


@pytest.mark.parametrize(("roles", "needed"), [(("learner",), 16), (("learner", "engine"), 22), (("learner", "scorer"), 24)])
def test_engines_and_scorers_count_where_the_run_has_them(roles, needed):
    settings = RayCluster(engine=WorkerPlaces(workers=3), scorer=WorkerPlaces(workers=2))
    assert refusal(settings, machine(needed), roles=roles) is None
    assert refusal(settings, machine(needed - 0.1), roles=roles) is not None


@pytest.mark.parametrize("devices", [(), (64,)])
def test_processes_take_memory_before_they_hold_a_model(devices):
    small = ModelSize(trained=1, frozen=0, weight_bytes=4)
    asked = RayCluster(learner=LearnerPlaces(ranks=60), engine=WorkerPlaces(workers=40), scorer=WorkerPlaces(workers=900))
    roles = ("learner", "engine")
    assert refusal(asked, machine(30, *devices), roles=roles, size=small) is None
    assert refusal(asked, machine(29, *devices), roles=roles, size=small) == (
        "cluster: asks for 100 processes (learner 60, engine 40), which take 29.3 GiB before they hold a model, and there are "
        "29.0 GiB; lower learner.ranks, engine.workers or scorer.workers, or join a larger cluster by its address"
    )


def test_a_rank_must_fit_on_the_largest_device():
    settings = RayCluster(learner=LearnerPlaces(ranks=4, zero_stage=2))
    assert refusal(settings, machine(64, 4, 8)) is None
    message = refusal(settings, machine(64, 7.9, 7.9))
    assert message is not None and message.startswith(
        "cluster.learner: needs 8.0 GiB of device memory in each rank (1.07 billion"
    )
    assert " and there are 7.9 GiB; " in message


def test_what_is_off_loaded_must_fit_into_the_memory_of_the_hosts():
    settings = RayCluster(learner=LearnerPlaces(ranks=4, zero_stage=3, offload="optimizer"))
    assert refusal(settings, machine(12, 80)) is None
    message = refusal(settings, machine(11.9, 80))
    assert message is not None and message.startswith("cluster.learner.offload: optimizer keeps 12.0 GiB in host memory (1.07 b")
    assert " and there are 11.9 GiB; use more ranks on more hosts, " in message


def test_amounts_are_said_in_a_unit_that_shows_them():
    assert (in_words(3 * 2**20), in_words(GIB / 5), in_words(40 * GIB)) == ("3.0 MiB", "0.2 GiB", "40.0 GiB")


def test_a_scorer_holds_a_teacher_of_its_own_size():
    settings, roles = RayCluster(scorer=WorkerPlaces(workers=2)), ("learner", "scorer")
    assert refusal(settings, machine(24), roles=roles) is None  # a learner of 16 GiB and two references of 4
    assert refusal(settings, machine(24), roles=roles, size=replace(SIZE, scoring=GIB // 2)) is None
    assert "needs 32.0 GiB" in str(refusal(settings, machine(24), roles=roles, size=replace(SIZE, scoring=2 * GIB)))
