"""What is told of a recipe before anything starts: the student's size, keys without effect, workers without work."""

from dataclasses import replace

import pytest
from tiny_runs import rolled_out, taught

from rl_distill.cluster.machine import Machine, this_machine
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.training.preflight import idle_workers, ineffective_keys, model_size, student_skeleton
from rl_distill.training.student import prompter


@pytest.fixture
def recipe(tiny_recipe):
    def made(*overrides: str, stages=(), **changes) -> Recipe:
        return load_recipe(tiny_recipe(*stages or [rolled_out()], **changes).path, ["cluster.name=ray", *overrides])

    return made


def keys(asked: Recipe, *machines: Machine) -> set[str]:
    return {line.partition(":")[0] for line in ineffective_keys(asked, machines or [CPU])}


CPU = replace(this_machine(), device_bytes=())
GPU = replace(CPU, device_bytes=(2**36,))
OFFLOAD = ("cluster.learner.offload=optimizer", "cluster.learner.zero_stage=2")


def test_a_block_of_plain_keys_has_an_effect_everywhere(recipe):
    assert keys(recipe()) == set()
    assert keys(recipe("cluster.engine.workers=2", "cluster.learner.ranks=2", "cluster.placement=spread"), CPU, CPU) == set()


def test_keys_for_devices_are_noted_only_where_there_are_none(recipe):
    asked = recipe(*OFFLOAD, "cluster.colocate=true")
    assert keys(asked, CPU) == {"cluster.learner.offload", "cluster.colocate"}
    assert keys(asked, GPU) == set()


def test_keys_for_parts_that_the_run_does_not_have_are_noted(recipe):
    shared = ("cluster.scorer.workers=2", "cluster.engine.threads=2")
    assert keys(recipe(*shared)) == {"cluster.scorer"}
    assert keys(recipe(*shared, stages=[taught("dpo")])) == {"cluster.engine"}
    assert keys(recipe(*shared, stages=[taught("dpo"), rolled_out()])) == set()


def test_spreading_over_one_host_is_noted(recipe):
    assert keys(recipe("cluster.placement=spread")) == {"cluster.placement"}


@pytest.mark.parametrize(
    ("workers", "size", "idle"), [(1, 512, False), (2, 512, True), (2, 3, False), (3, 3, True), (3, 2, False)]
)
def test_workers_without_a_shard_are_found(workers, size, idle, recipe):
    engine = {"name": "hf", "shard_size": size}
    assert bool(list(idle_workers(recipe(f"cluster.engine.workers={workers}", engine=engine)))) == idle  # 6 attempts a step


def test_the_size_of_a_student_is_that_of_its_weights_and_adapters(recipe):
    asked = recipe("student.model.pretraining=null")
    tokenizer = prompter(asked.student).tokenizer
    skeleton = student_skeleton(asked.student, tokenizer)
    total = sum(parameter.numel() for parameter in asked.student.model.build(tokenizer).parameters())
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    size = model_size(asked, skeleton)
    assert (size.trained, size.frozen, size.weight_bytes) == (total, 0, 4)
    adapted = recipe("student.model.pretraining=null", "student.lora.rank=2", "student.lora.target_modules=[q_proj]")
    size = model_size(adapted, student_skeleton(adapted.student, tokenizer))
    assert (size.trained, size.frozen) == (2 * (16 + 16), total)
    pretrained = recipe("student.lora.rank=2")
    assert model_size(pretrained, student_skeleton(pretrained.student, tokenizer)).trained == total
