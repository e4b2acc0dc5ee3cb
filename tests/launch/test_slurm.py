"""The Slurm script, with stand-ins for srun and scontrol: two nodes, a time limit, and what each exit code leads to."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from network_namespaces import NetworkHost, two_hosts, why_not
from tiny_runs import RecipeFile, rolled_out, write_recipe

from rl_distill.cli import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "launch" / "slurm.sbatch"
STAND_INS = Path(__file__).parent / "slurm_stand_in"
HANGS_SECONDS = 240.0  # whatever takes so long waits for ever


class Job(NamedTuple):
    """A job of the stand-in, whose files are in a folder, and the processes that were its script."""

    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[str]]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """As Slurm does it: a copy of the script, in the folder that the job was submitted from."""
        copy = self.folder / "slurm_script"
        shutil.copy(SCRIPT, copy)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
        process = subprocess.Popen(
            ["bash", str(copy), *map(str, arguments)],
            cwd=ROOT,
            env=environment | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def requeued(self) -> bool:
        return "requeue 17" in self.calls()


@pytest.fixture
def job_on(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes a job on nodes with names: `job_on("a", "b", VARIABLE="value")`. No process outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def make(*nodes: str, **environment: str) -> Job:
        ours = {"PATH": f"{STAND_INS}:{os.environ['PATH']}", "STAND_IN_FOLDER": str(tmp_path), "SLURM_SUBMIT_DIR": str(ROOT)}
        slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": ",".join(nodes), "SLURM_CPUS_PER_TASK": "2"}
        return Job(tmp_path, ours | slurm | environment, processes)

    yield make
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for_a_step(job: subprocess.Popen[str], recipe: RecipeFile) -> None:
    metrics = recipe.run_dir / "metrics.jsonl"
    deadline = time.monotonic() + HANGS_SECONDS
    while job.poll() is None and not (metrics.exists() and '"stage": "grpo"' in metrics.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.poll() is None, job.communicate()


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[NetworkHost, NetworkHost]]:
    if reason := why_not():
        pytest.skip(reason)
    with two_hosts() as found:
        yield found


def test_a_job_that_meets_its_time_limit_queues_itself_again_and_ends_with_the_numbers_of_one_process(hosts, job_on, tmp_path):
    engine = {"shard_size": 2}
    local = write_recipe(tmp_path, rolled_out(steps=16), engine=engine)
    assert main(["train", str(local.path), f"run_dir={tmp_path / 'local'}"]) == 0

    recipe = local.change(cluster={"name": "ray", "placement": "spread"})
    names = {host.address: host.name for host in hosts}
    job = job_on(*names, STAND_IN_HOSTS=" ".join(f"{node}={name}" for node, name in names.items()))
    first = job.start(recipe.path)
    wait_for_a_step(first, recipe)
    daemons = [host.processes("raylet/raylet") for host in hosts]
    assert [len(pids) for pids in daemons] == [1, 1], "each node must have a Ray node"
    for (pid,) in daemons:
        assert b"RAY_AUTH_MODE=token" in Path(f"/proc/{pid}/environ").read_bytes(), "the nodes are on a network of others"
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=HANGS_SECONDS)
    assert "stopped by SIGTERM after step" in said and job.requeued(), said
    assert not any(host.pids() for host in hosts), "the job's nodes must be free"

    said, _ = job.start(recipe.path).communicate(timeout=HANGS_SECONDS)
    assert "grpo: continues after step" in said, said
    assert (recipe.run_dir / "summary.json").exists() and job.calls().count("requeue 17") == 1
    for name in ("final/model.safetensors", "trajectories/rollouts.jsonl"):
        assert (recipe.run_dir / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name


FAKE_PARTS = {
    "ray_environment.sh": """
        case "$*" in
        *address.py*) echo 10.0.0.1:6379 ;;
        *wait_for_nodes.py*) until [ "$(find "$STAND_IN_FOLDER" -name "ready.*" | wc -l)" = "$4" ]; do sleep 0.05; done ;;
        *) trap 'exit "$CODE_WHEN_STOPPED"' TERM
           touch "$STAND_IN_FOLDER/driving"
           while [ -z "${CODE:-}" ]; do sleep 0.05; done
           exit "$CODE" ;;
        esac""",
    "node.sh": """
        trap 'echo "$1 ends" >>"$STAND_IN_FOLDER/calls"; exit 0' TERM
        touch "$STAND_IN_FOLDER/ready.$$"
        while :; do sleep 0.05; done""",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One in which nodes only wait to be ended, and the driver ends with $CODE, or with $CODE_WHEN_STOPPED when it is told to."""
    folder = tmp_path / "repository" / "scripts" / "launch"
    folder.mkdir(parents=True)
    for name, text in FAKE_PARTS.items():
        (folder / name).write_text(text)
    return tmp_path / "repository"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_ends_by_itself_has_the_runs_exit_code_and_is_not_queued_again(code, repository, job_on):
    job = job_on("a", "b", "c", RL_DISTILL_ROOT=str(repository), CODE=str(code))
    process = job.start("recipe.yaml", "seed=3")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    calls = job.calls()
    assert not job.requeued() and calls.count("worker ends") == 2 and calls.count("head ends") == 1
    launch = f"bash {repository}/scripts/launch"
    assert calls[0] == f"srun a {launch}/ray_environment.sh python {repository}/scripts/launch/address.py --port --peer b"
    for node in ("b", "c"):
        assert f"srun {node} {launch}/node.sh worker 10.0.0.1:6379 --num-cpus=2" in calls
    driver = "rl-distill train recipe.yaml seed=3 cluster.name=ray cluster.address=10.0.0.1:6379"
    assert f"srun a {launch}/ray_environment.sh {driver}" in calls


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, True), (2, False)])
def test_at_the_time_limit_only_a_run_that_was_stopped_is_queued_again(code, requeued, repository, job_on):
    job = job_on("a", RL_DISTILL_ROOT=str(repository), CODE_WHEN_STOPPED=str(code))
    assert end_by_signal(job) == (0 if requeued else code)
    assert job.requeued() == requeued and "head ends" in job.calls()


def test_a_job_that_may_not_be_queued_again_fails(repository, job_on):
    job = job_on("a", RL_DISTILL_ROOT=str(repository), CODE_WHEN_STOPPED="1", STAND_IN_REQUEUE_CODE="1")
    assert end_by_signal(job) == 1


@pytest.mark.parametrize(
    ("variables", "arguments", "words"),
    [
        ({}, ["recipe.yaml"], "srun a bash"),
        ({"RL_DISTILL_APPTAINER_IMAGE": "/i.sif"}, ["recipe.yaml"], "srun a apptainer exec --nv --bind {root}:{root} --pwd"),
        ({"RL_DISTILL_PYXIS_IMAGE": "/i.sqsh"}, ["recipe.yaml"], "--container-image=/i.sqsh"),
        ({"RL_DISTILL_APPTAINER_IMAGE": "/i.sif", "RL_DISTILL_PYXIS_IMAGE": "/i.sqsh"}, ["recipe.yaml"], "both set; unset one"),
        ({"RL_DISTILL_ROOT": "/nowhere"}, ["recipe.yaml"], "/nowhere is not the repository"),
        ({}, [], "say what to train"),
    ],
)
def test_the_environment_is_a_venv_or_one_container_and_wrong_calls_are_refused(
    variables, arguments, words, repository, job_on, tmp_path
):
    command = tmp_path / "bin" / "apptainer"
    command.parent.mkdir()
    command.write_text('#!/usr/bin/env bash\nwhile [ "$1" != bash ]; do shift; done; exec "$@"')
    command.chmod(0o755)
    job = job_on("a", **{"RL_DISTILL_ROOT": str(repository), "CODE": "0"} | variables)
    job.environment["PATH"] = f"{command.parent}:{job.environment['PATH']}"
    process = job.start(*arguments)
    said, _ = process.communicate(timeout=60)
    words = words.format(root=repository)
    assert any(words in line for line in [*job.calls(), *said.splitlines()]), said
    assert process.returncode == (0 if words.startswith(("srun", "--container")) else 2)


def end_by_signal(job: Job) -> int:
    """The exit code of a job that gets its signal while the driver is at work."""
    process = job.start("recipe.yaml")
    while not (job.folder / "driving").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return process.returncode
