"""The Kubernetes job: field names of KubeRay's RayJob, volumes that are there, a recipe that resolves and fits."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl_distill.cluster.settings import RayCluster
from rl_distill.recipe import load_recipe

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
CLAIM, JOB = yaml.safe_load_all((LAUNCH / "ray_job.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]

# Of ray.io/v1 as KubeRay 1.5 defines it (ray-operator/apis/ray/v1), without `status`: what must stand there, what may.
RAY_JOB = """entrypoint | activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector
    submitterConfig managedBy deletionStrategy runtimeEnvYAML jobId submissionMode entrypointResources entrypointNumCpus
    entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend"""
RAY_CLUSTER = """headGroupSpec rayVersion | workerGroupSpecs enableInTreeAutoscaling autoscalerOptions headServiceAnnotations
    suspend managedBy gcsFaultToleranceOptions upgradeStrategy authOptions"""  # tokens need a stated version
HEAD = "rayStartParams template | serviceType headService enableIngress"
WORKERS = """groupName minReplicas maxReplicas rayStartParams template | replicas suspend numOfHosts idleTimeoutSeconds
    scaleStrategy"""


def pod(group: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A group's pod and its one container."""
    spec = group["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def entrypoint() -> list[str]:
    return shlex.split(JOB["spec"]["entrypoint"])


@pytest.mark.parametrize(
    ("found", "fields"),
    [(JOB["spec"], RAY_JOB), (CLUSTER, RAY_CLUSTER), (GROUPS[0], HEAD), *((group, WORKERS) for group in GROUPS[1:])],
)
def test_every_field_is_one_of_kuberays_and_none_that_it_requires_is_missing(found, fields):
    required, optional = (set(names.split()) for names in fields.split("|"))
    assert required <= set(found) <= required | optional


def test_it_is_a_ray_job_with_tokens_and_start_parameters_that_are_text():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert CLUSTER["authOptions"] == {"mode": "token"}
    for group in GROUPS:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert all(isinstance(entry["value"], str) for entry in pod(group)[1]["env"])
        for amounts in pod(group)[1]["resources"].values():
            assert all(isinstance(amount, str) for amount in amounts.values())
    for group in GROUPS[1:]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"], "a run has a fixed number of workers"


def test_ray_is_the_tested_version_in_one_image_for_all_pods():
    assert f"ray=={CLUSTER['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert len({pod(group)[1]["image"] for group in GROUPS}) == 1


def test_all_pods_see_the_shared_volume_that_is_claimed_and_memory_for_objects():
    assert CLAIM["kind"] == "PersistentVolumeClaim" and CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in GROUPS:
        spec, container = pod(group)
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        places = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert places["/shared"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        assert places["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        kept = {entry["name"]: entry["value"] for entry in container["env"]}
        assert all(kept[name].startswith("/shared/") for name in ("RL_DISTILL_CACHE", "HF_HOME"))


def test_the_image_holds_what_the_entrypoint_names():
    text = (LAUNCH / "Dockerfile").read_text()
    (folder,) = re.findall(r"^WORKDIR (\S+)$", text, re.MULTILINE)
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert all((ROOT / name).exists() for name in copied)
    recipe = Path(entrypoint()[2]).relative_to(folder)
    assert recipe.parts[0] in copied and (ROOT / recipe).is_file()


def test_the_entrypoint_is_a_run_that_resolves_and_that_the_workers_have_devices_for():
    program, command, path, *overrides = entrypoint()
    assert (program, command) == ("rl-distill", "train")
    recipe = load_recipe(path.replace("/opt/rl_distill", str(ROOT)), overrides)
    assert recipe.folder.is_relative_to("/shared") and isinstance(recipe.cluster, RayCluster)
    assert recipe.cluster.address == "auto", "the job runs inside the cluster"
    gpus = [group["replicas"] * int(pod(group)[1]["resources"]["limits"]["nvidia.com/gpu"]) for group in GROUPS[1:]]
    assert recipe.cluster.learner.ranks + recipe.cluster.engine.workers <= sum(gpus)
