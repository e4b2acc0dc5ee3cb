"""Commands as trials of Ray Tune: side by side within the resources of a machine or a cluster, each in a process of its own.

A trial starts its command and waits for it, so that a job which dies, fills its memory or uses Ray itself takes nothing with it.
"""

import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy

from rl_distill.cluster.machine import this_machine
from rl_distill.cluster.process_setup import runtime_env
from rl_distill.cluster.session import Session, num_gpus_in_cluster
from rl_distill.cluster.settings import RayCluster
from rl_distill.errors import InputError

# Tune's own handler of Ctrl-C, its files of each trial's results, its choice of a working folder.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its tables on the console, which `verbose` does not turn off
os.environ.setdefault("RAY_worker_niceness", "0")  # a job is no background work

import ray
from ray import tune
from ray.tune.search import Searcher

LOOK_SECONDS = 0.5  # between two looks at a job
SAVE_SECONDS = 600.0  # that a job has to end after it was asked to
RESTARTS = 2  # of a job whose host is lost
SCRATCH = ".tune-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    command  with the folder it runs in; ends after SIGTERM, and goes on from there when it is started again
    log      takes what it prints
    makes    folders that it makes where they are not there yet, and that other jobs use
    """

    name: str
    command: tuple[str, ...]
    folder: str
    log: str
    makes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What each job holds; `gpus` None is one where there are any."""

    cpus: float
    gpus: float | None


class JobTrials:
    """A connection to a cluster, or a cluster of this machine, for jobs.

    Args:
        address: HOST:PORT of a running cluster, or auto; None starts one here.
        folder: for Ray's own files while jobs run; all hosts see it.

    Raises:
        InputError: the address does not answer, or the cluster never has what a job holds.
    """

    def __init__(self, address: str | None, held: Held, folder: Path) -> None:
        self._folder = folder
        try:
            settings = RayCluster(address=address)
        except ValueError:
            raise InputError("--address", f"is {address!r}", "give HOST:PORT of a head node, or auto") from None
        self._session = Session(settings, folder / "ray.log", cores=this_machine().cores)
        try:
            self.held = replace(held, gpus=float(num_gpus_in_cluster() > 0) if held.gpus is None else held.gpus)
            for name, kind in (("cpus", "CPU"), ("gpus", "GPU")):
                there, asked = float(ray.cluster_resources().get(kind, 0.0)), getattr(self.held, name)
                if asked > there:
                    raise InputError(name, f"each cell holds {asked:g}, and there are {there:g}", f"set it to {there:g} or less")
        except BaseException:
            self._session.close()
            raise

    def run(
        self, jobs: Sequence[Job], *, begun: Callable[[str], None], ended: Callable[[str], None], stop: Callable[[], bool]
    ) -> None:
        """Run them all; those are ready first that need nothing which another one is making.

        Args:
            begun, ended: told the name of a job, however it ended.
            stop: once true, jobs are asked to end, and no other begins.
        """
        environment = runtime_env(threads=max(1, int(self.held.cpus)))["env_vars"]
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # who fails is told by `ended`, and says why itself
        queue = _ReadyJobs(jobs, {"environment": json.dumps(environment)})
        resources = tune.PlacementGroupFactory([{"CPU": self.held.cpus, **({"GPU": self.held.gpus} if self.held.gpus else {})}])
        with TemporaryDirectory(dir=self._folder, prefix=SCRATCH) as scratch:
            tuner = tune.Tuner(
                tune.with_resources(_CommandTrial, resources),
                tune_config=tune.TuneConfig(search_alg=queue, num_samples=len(jobs), trial_dirname_creator=_folder_of),
                run_config=tune.RunConfig(
                    name="jobs",
                    storage_path=str(Path(scratch).resolve()),
                    verbose=0,
                    stop=_StopAll(stop),
                    callbacks=[_News(begun, ended)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=RESTARTS),
                ),
            )
            tuner.fit()

    def close(self) -> None:
        self._session.close()


def drawn(keys: Mapping[str, Mapping[str, Any]], *, count: int, seed: int) -> list[dict[str, Any]]:
    """Values drawn from Tune's distributions; numbers keep three digits.

    Args:
        keys: for each key the name of a distribution (uniform, log_uniform, choice) and its values.
    """
    random = numpy.random.RandomState(seed)
    makers = {"uniform": tune.uniform, "log_uniform": tune.loguniform}
    found: list[dict[str, Any]] = []
    for _ in range(count):
        values: dict[str, Any] = {}
        for key, (kind, given) in ((key, next(iter(how.items()))) for key, how in keys.items()):
            if kind == "choice":
                values[key] = given[int(random.randint(len(given)))]
                continue
            low, high = given
            value = float(makers[kind](low, high).sample(random_state=random))
            values[key] = min(high, max(low, float(f"{value:.3g}")))
        found.append(values)
    return found


class _ReadyJobs(Searcher):
    """Suggests the first job that need not wait for what another one is making; nothing while there is none."""

    def __init__(self, jobs: Sequence[Job], common: Mapping[str, str]) -> None:
        super().__init__()
        self._waiting, self._common = list(jobs), common
        self._running: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> Any:
        if not self._waiting:
            return Searcher.FINISHED
        in_making = {folder for job in self._running.values() for folder in _unmade(job)}
        job = next((job for job in self._waiting if not in_making & _unmade(job)), None)
        if job is None:
            return None
        self._waiting.remove(job)
        self._running[trial_id] = job
        return {**asdict(job), **self._common}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self._running.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is done lies in the folders of the jobs."""

    def restore(self, checkpoint_path: str) -> None:
        """As `save`."""


def _unmade(job: Job) -> set[str]:
    return {folder for folder in job.makes if not Path(folder).is_dir()}


class _CommandTrial(tune.Trainable):
    """A job's process."""

    def setup(self, config: dict[str, Any]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        Path(config["log"]).parent.mkdir(parents=True, exist_ok=True)
        with Path(config["log"]).open("ab") as log:
            self._process = subprocess.Popen(
                config["command"],
                cwd=config["folder"],
                env=inherited | json.loads(config["environment"]),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def step(self) -> dict[str, Any]:
        with suppress(subprocess.TimeoutExpired):
            return {"done": True, "code": self._process.wait(LOOK_SECONDS)}
        return {"done": False}

    def cleanup(self) -> None:
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()


class _StopAll(tune.Stopper):
    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop()

    def __reduce__(self) -> Any:
        return _StopAll, (bool,)  # Tune keeps a copy of its settings, which nothing is stopped by


class _News(tune.Callback):
    """Tells which jobs begin and end."""

    def __init__(self, begun: Callable[[str], None], ended: Callable[[str], None]) -> None:
        self._begun, self._ended = begun, ended

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._begun(trial.config["name"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial.config["name"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial.config["name"])

    def __reduce__(self) -> Any:
        return tune.Callback, ()


def _folder_of(trial: Any) -> str:
    return str(trial.trial_id)
