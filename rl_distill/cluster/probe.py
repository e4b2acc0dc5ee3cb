"""Trying out a connected cluster: whether it answers, has what a run asks for, and takes a step of DeepSpeed."""

import math
import os
import time
from functools import partial

import ray
import torch

from rl_distill.algorithms.sft import Sft
from rl_distill.cluster.crew import Crew
from rl_distill.cluster.host import LearnerSpec
from rl_distill.cluster.learner_fleet import LearnerFleet, Ranks
from rl_distill.cluster.placement import Placement
from rl_distill.cluster.roll_call import ANSWER_SECONDS
from rl_distill.cluster.session import answers, num_gpus_in_cluster
from rl_distill.cluster.settings import LearnerPlaces, RayCluster
from rl_distill.errors import RunError
from rl_distill.learning.learner import LearnerConfig
from rl_distill.learning.loss_term import LossTerm
from rl_distill.models.loading import Architecture
from rl_distill.models.vocabulary import arithmetic_tokenizer
from rl_distill.trajectory import Sample, Trajectory

SMALL = Architecture(hidden_size=16, intermediate_size=32, num_layers=1, num_key_value_heads=1, max_context=16)


def object_store_bytes() -> float:
    """Of the host that has least."""
    return min(node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["Alive"])


def reserve(settings: RayCluster, *, engine_gpus: int, roles: frozenset[str]) -> str:
    """Reserve all that a run asks for, and give it back; what it was, in words.

    Raises:
        InputError: the cluster does not have it.
    """
    placement = Placement(settings, engine_gpus=engine_gpus, roles=roles)
    try:
        return placement.account()
    finally:
        placement.close()


def answer_once() -> None:
    """
    Raises:
        RunError: no process of the cluster answers.
    """
    answers([ray.remote(_pid).options(num_cpus=0).remote()], seconds=ANSWER_SECONDS, what="one task")


def zero_step() -> float:
    """Have DeepSpeed take one step of ZeRO 1 with a small model, in a process of the cluster; returns seconds.

    Raises:
        RunError: it cannot, or the loss is not finite.
    """
    started = time.perf_counter()
    settings = RayCluster(learner=LearnerPlaces(zero_stage=1), patience_seconds=ANSWER_SECONDS)
    gpus = 1.0 if num_gpus_in_cluster() else 0.0
    ranks = Ranks(Crew(settings, lambda role, rank: {"num_cpus": 0, "num_gpus": gpus}))
    try:
        tokenizer = arithmetic_tokenizer()
        spec = LearnerSpec(
            make_model=partial(SMALL.build, tokenizer),
            tokenizer=tokenizer,
            terms=(LossTerm(algorithm=Sft()),),
            config=LearnerConfig(schedule="constant", warmup_steps=0),
            total_steps=1,
            publish_dtype=torch.float32,
        )
        learner = LearnerFleet(spec, ranks)
        metrics = learner.step([Sample(trajectory=_attempt())]).metrics
        if not math.isfinite(metrics["loss"]) or metrics["learner/skipped"]:
            raise RunError(f"a step of a small model gave the loss {metrics['loss']}")
        learner.close()
    finally:
        ranks.close()
    return time.perf_counter() - started


def _pid() -> int:
    return os.getpid()


def _attempt() -> Trajectory:
    return Trajectory(
        problem_id="trial", messages=(), token_ids=(3, 4, 5, 6), sampled=(False, True, True, True), model="", origin="teacher"
    )
