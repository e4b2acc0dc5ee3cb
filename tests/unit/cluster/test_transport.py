"""The way of weights from learner to engines is refused in one line where it cannot be gone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from refusals import last_line, refused
from tiny_runs import rolled_out, taught

from rl_distill.cluster.machine import this_machine
from rl_distill.cluster.memory import ModelSize
from rl_distill.cluster.settings import LearnerPlaces, RayCluster, WorkerPlaces
from rl_distill.errors import InputError
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.training.preflight import check_devices, check_engine, ineffective_keys, student_skeleton

WRONG = {
    "nccl on one GPU": ({"transport": "nccl", "colocate": True}, "set colocate to false, or use ipc"),
    "ipc between GPUs": ({"transport": "ipc"}, "set colocate to true, or use nccl"),
    "ipc without a partner": (
        {"transport": "ipc", "colocate": True, "learner": {"ranks": 2}},
        "there are 2 ranks and 1 workers; set learner.ranks and engine.workers to the same number",
    ),
    "nccl without GPUs": ({"transport": "nccl", "learner": {"gpus": 0}}, "learner.gpus is 0; leave it out"),
    "nccl with parts of GPUs": ({"transport": "nccl", "engine": {"gpus": 1.5}}, "engine.gpus is 1.5; leave it out"),
    "ipc over several GPUs": ({"transport": "ipc", "colocate": True, "engine": {"gpus": 2}}, "engine.gpus is 2; leave it out"),
    "by post": ({"transport": "post"}, "transport"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_transport_that_does_not_fit_the_places_is_refused(name: str, tiny_recipe: Any, cli: Callable[..., Any]) -> None:
    settings, remedy = WRONG[name]
    recipe = tiny_recipe(rolled_out(), cluster={"name": "ray", **settings}, engine={"name": "vllm"})
    said = refused(last_line(cli("train", recipe.path)))
    assert said.startswith("cluster") and remedy in said


@pytest.fixture
def nccl(tiny_recipe: Any) -> Any:
    return tiny_recipe(rolled_out(), cluster={"name": "ray", "transport": "nccl"})


def test_a_transport_into_vllm_is_refused_for_another_engine(nccl: Any, cli: Callable[..., Any]) -> None:
    nccl.change(engine={"name": "hf"})
    said = refused(last_line(cli("train", nccl.path)))
    assert said.startswith("cluster.transport: is 'nccl', which leads into vLLM, and engine.name is 'hf'")


def test_ipc_is_refused_for_an_engine_of_several_gpus(tiny_recipe: Any) -> None:
    pytest.importorskip("vllm")
    written = tiny_recipe(rolled_out(), cluster={"name": "ray", "transport": "ipc", "colocate": True})
    recipe = load_recipe(written.change(engine={"name": "vllm", "tensor_parallel": 2}).path)
    with pytest.raises(InputError, match=r"cluster.colocate: is true, .* engine.tensor_parallel is 2"):
        check_engine(recipe, student_skeleton(recipe.student, arithmetic_tokenizer()))


def test_a_transport_between_gpus_is_refused_where_there_are_none(nccl: Any) -> None:
    recipe, machine = load_recipe(nccl.change(engine={"name": "vllm"}).path), this_machine()
    size = ModelSize(trained=1, frozen=0, weight_bytes=4)
    check_devices(recipe, [replace(machine, device_bytes=(2**34,))], size)
    with pytest.raises(InputError, match="cluster.transport: is 'nccl', which goes from GPU to GPU, and the cluster has none"):
        check_devices(recipe, [replace(machine, device_bytes=())], size)


def test_a_transport_without_anything_to_bring_has_no_effect_and_says_so(nccl: Any) -> None:
    said = ["cluster.transport: has no effect, for nothing is sampled"]
    machines = [replace(this_machine(), device_bytes=(2**34,))]
    assert list(ineffective_keys(load_recipe(nccl.path), machines)) == []
    assert list(ineffective_keys(load_recipe(nccl.change(stages=[taught()]).path), machines)) == said


def test_a_transport_that_fits_the_places_is_taken() -> None:
    nccl = RayCluster(transport="nccl", learner=LearnerPlaces(ranks=4), engine=WorkerPlaces(workers=2, gpus=2))
    ipc = RayCluster(transport="ipc", colocate=True, learner=LearnerPlaces(ranks=2, gpus=1), engine=WorkerPlaces(workers=2))
    assert (nccl.transport, ipc.transport) == ("nccl", "ipc")
