"""Scripts that start clusters: sound, agreed about the environment, and clear about wrong calls."""

import ast
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from network_namespaces import two_hosts, why_not

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
STAND_INS = Path(__file__).parent / "slurm_stand_in"
SCRIPTS = [*sorted(LAUNCH.glob("*.sh")), LAUNCH / "slurm.sbatch", *sorted(STAND_INS.iterdir())]
FOR_RAY = ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with nothing of Ray, Slurm or ours in its environment but what is given."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "RL_DISTILL_"))}
    return subprocess.run(list(map(str, command)), env=ours | environment, capture_output=True, text=True, timeout=60)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_a_script(script):
    assert run("bash", "-n", script).stderr == ""


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    assert run("shellcheck", "--external-sources", "--source-path", ROOT, script).stdout == ""


def test_every_host_has_the_environment_that_the_driver_gives_itself():
    """What session.py sets before it imports Ray is what ray_environment.sh sets where `ray start` is called."""
    tree = ast.parse((ROOT / "rl_distill" / "cluster" / "session.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.setdefault"]
    drivers = {ast.literal_eval(call.args[0]): ast.literal_eval(call.args[1]) for call in calls}
    hosts = run("bash", LAUNCH / "ray_environment.sh", "env").stdout.splitlines()
    assert set(drivers) == set(FOR_RAY)
    assert {line for line in hosts if line.startswith("RAY_")} == {f"{name}={value}" for name, value in drivers.items()}

    job = documents("ray_job.yaml")[1]["spec"]["rayClusterSpec"]
    pods = {entry["name"]: entry["value"] for entry in containers(job)[0]["env"] if entry["name"].startswith("RAY_")}
    assert pods == {name: value for name, value in drivers.items() if name != "RAY_AUTH_MODE"}, "KubeRay sets the mode itself"


@pytest.mark.parametrize("given", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_who_has_a_token_uses_it(given):
    said = run("bash", LAUNCH / "ray_environment.sh", "env", **{given: "secret"}).stdout
    assert "RAY_AUTH_MODE=token" in said.splitlines()
    chosen = run("bash", LAUNCH / "ray_environment.sh", "env", RAY_AUTH_MODE="disabled", **{given: "secret"}).stdout
    assert "RAY_AUTH_MODE=disabled" in chosen.splitlines()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("node.sh", "node.sh: say head, or worker HOST:PORT"),
        ("node.sh worker", "node.sh: say where the head is: worker HOST:PORT"),
        ("node.sh worker http://head:6379", "node.sh: 'http://head:6379' is no HOST:PORT"),
        ("node.sh head 6379", "node.sh: '6379' is no HOST:PORT"),
        ("submit_job.sh head:8265 /recipe.yaml", "submit_job.sh: say where the dashboard is: http://HEAD:8265"),
        ("submit_job.sh http://head:8265 recipe.yaml", "submit_job.sh: say what to train, with its full path"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(command, said):
    name, *arguments = command.split()
    outcome = run("bash", LAUNCH / name, *arguments)
    assert outcome.returncode == 2 and outcome.stderr.startswith(said) and outcome.stderr.count("\n") == 1


def test_an_environment_that_is_not_there_is_refused():
    outcome = run("bash", LAUNCH / "ray_environment.sh", "true", RL_DISTILL_VENV="/nowhere")
    assert outcome.returncode == 2 and outcome.stderr.startswith("launch: /nowhere has no rl-distill")


def test_a_job_is_handed_to_the_dashboard_with_the_address_of_the_cluster_that_it_runs_on(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("ray", "rl-distill"):
        (tmp_path / "bin" / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    recipe, override = "/shared/recipe.yaml", "run_dir=/shared/a run"
    called = run("bash", LAUNCH / "submit_job.sh", "http://head:8265", recipe, override, RL_DISTILL_VENV=str(tmp_path))
    entrypoint = ["rl-distill", "train", recipe, override, "cluster.name=ray", "cluster.address=auto"]
    options = ["--address", "http://head:8265", "--runtime-env", str(LAUNCH / "runtime_env.yaml")]
    assert called.stdout.splitlines() == ["job", "submit", *options, "--", *entrypoint]
    (runtime_env,) = documents("runtime_env.yaml")
    assert runtime_env == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "300"}}


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_host_has_the_address_by_which_its_peer_reaches_it():
    python = shutil.which("python")
    with two_hosts() as (one, other):
        address = lambda *arguments, **environment: run(*one.command(python, LAUNCH / "address.py", *arguments), **environment)  # noqa: E731
        assert address("--peer", other.address).stdout == f"{one.address}\n"
        host, _, port = address("--peer", other.address, "--port").stdout.strip().rpartition(":")
        assert host == one.address and 0 < int(port) < 2**16
        assert address(RL_DISTILL_INTERFACE="lo").stdout == "127.0.0.1\n"
        lost = address("--peer", "10.99.0.1")
        assert lost.returncode == 2 and lost.stderr.startswith(
            "address: there is no way to other hosts; set RL_DISTILL_INTERFACE"
        )
        wrong = address(RL_DISTILL_INTERFACE="eth7")
        assert wrong.returncode == 2 and "no network interface 'eth7'" in wrong.stderr and one.interface in wrong.stderr


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the pods of a RayCluster: the head's, then those of its worker groups."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]
