"""Two Ray nodes with addresses of their own, learner ranks and engines over both: the numbers of one host, and a lost host."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from network_namespaces import NetworkHost, two_hosts, why_not
from ray_node import ray_node
from safetensors.torch import load_file
from tiny_runs import RecipeFile, rolled_out, write_recipe

from rl_distill.cli import main

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

WORKERS = ("ray::LearnerWorker", "ray::EngineWorker")
SPREAD = {
    "name": "ray",
    "placement": "spread",
    "learner": {"ranks": 2},
    "engine": {"workers": 2},
    "patience_seconds": 30,
}
# The head notices within seconds that a host does not answer; left alone it takes a minute.
ALERT = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
HANGS_SECONDS = 400.0  # whatever takes so long waits for ever


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[NetworkHost, NetworkHost, str]]:
    """Two hosts with a Ray node each, and the address of the cluster, whose head is the first."""
    with (
        two_hosts() as (one, other),
        ray_node(host=one, num_cpus=4, **ALERT) as head,
        ray_node(head, host=other, num_cpus=4),
    ):
        yield one, other, head


class Undisturbed(NamedTuple):
    """A run that nothing happened to: where, and the workers that each host had while it trained."""

    folder: Path
    workers: tuple[dict[str, int], dict[str, int]]


def write(folder: Path) -> RecipeFile:
    return write_recipe(folder, rolled_out(steps=16), engine={"shard_size": 2}, cluster=SPREAD)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    recipe = write(tmp_path_factory.mktemp("local")).change(cluster={"name": "local"})
    assert main(["train", str(recipe.path)]) == 0
    return recipe.run_dir


@pytest.fixture(scope="module")
def undisturbed(hosts, local, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    one, other, head = hosts
    recipe = write(tmp_path_factory.mktemp("undisturbed"))
    driver = start(one, head, recipe)
    train_until_a_step_is_done(driver, recipe)
    count = lambda host: {title: len(host.processes(title)) for title in WORKERS}  # noqa: E731
    workers = count(one), count(other)
    out, err = driver.communicate(timeout=HANGS_SECONDS)
    assert (driver.returncode, err) == (0, ""), out
    return Undisturbed(recipe.run_dir, workers)


def start(host: NetworkHost, head: str, recipe: RecipeFile) -> subprocess.Popen[str]:
    """The driver, on a host."""
    command = host.command(sys.executable, "-m", "rl_distill", "train", recipe.path, f"cluster.address={head}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def train_until_a_step_is_done(driver: subprocess.Popen[str], recipe: RecipeFile) -> None:
    metrics = recipe.run_dir / "metrics.jsonl"
    begun = lambda: metrics.exists() and '"stage": "grpo"' in metrics.read_text()  # noqa: E731
    wait_for(lambda: driver.poll() is not None or begun(), "the first step")
    assert driver.poll() is None, driver.communicate()


def learnt(folder: Path) -> list[str]:
    """The ledger but for the base student, which the first run makes and the others take from the cache."""
    return [line for line in (folder / "ledger.jsonl").read_text().splitlines() if json.loads(line)["stage"] != "base"]


def test_a_run_is_spread_over_both_hosts(undisturbed):
    assert undisturbed.workers == (dict.fromkeys(WORKERS, 1), dict.fromkeys(WORKERS, 1))
    schedule = (undisturbed.folder / "schedule.jsonl").read_text().splitlines()
    assert {json.loads(line)["worker"] for line in schedule} == {0, 1}, "the engines of both must have sampled"


def test_a_run_over_two_hosts_has_the_numbers_of_one_process(undisturbed, local):
    one, other = (load_file(folder / "final" / "model.safetensors") for folder in (local, undisturbed.folder))
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-5
    assert learnt(local) == learnt(undisturbed.folder)


def test_when_a_host_is_cut_off_the_run_finishes_on_the_other_with_the_same_bits(hosts, undisturbed, tmp_path):
    one, other, head = hosts
    recipe = write(tmp_path)
    driver = start(one, head, recipe)
    train_until_a_step_is_done(driver, recipe)
    other.cut_off()
    out, err = driver.communicate(timeout=HANGS_SECONDS)
    assert "stage grpo goes on from its last checkpoint" in out, err
    assert (driver.returncode, err) == (0, ""), "the host that is left has room for all of it"
    wait_for(lambda: not [pid for title in WORKERS for pid in one.processes(title)], "the workers beside the driver to end")
    assert learnt(recipe.run_dir) == learnt(undisturbed.folder)
    for name in ("final/model.safetensors", "trajectories/rollouts.jsonl"):
        assert (recipe.run_dir / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name
    other.rejoin()
    wait_for(lambda: not other.pids(), "the lost host to end what it still runs, now that it hears that it was given up")
