"""Weights & Biases, when a recipe asks for it: the only file that imports `wandb`."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.tracking.tracker import Say

LIMITS = {  # wandb's setting -> seconds; the environment variable WANDB_<SETTING>, where there is one, goes before it
    "init_timeout": 30.0,  # of trying to reach the server, before anything is trained
    "finish_timeout": 1800.0,  # of uploading at its end, else without one; what is left stays on disk, for `wandb sync`
}
FLUSH_SECONDS = 0.2  # a killed run loses no more than this of its file; by default it would be a quarter of a minute
TITLE_CHARACTERS = 63  # of an alert's title, on the server
NAME_CHARACTERS = 128  # of a run's name and of an artifact's


@config
class Wandb:
    """Where a run appears in Weights & Biases."""

    project: str = setting("rl_distill", about="project of the run", pattern=r"^[^/\\#?%:]{1,128}$")
    name: str | None = setting(None, about="of the run, and what the name of its model begins with; none is the recipe's name")
    group: str | None = setting(None, about="groups runs that belong together, such as the seeds of one experiment")
    tags: tuple[Annotated[str, Field(pattern=r"^.{1,64}$")], ...] = setting((), about="labels to filter runs by")
    mode: Literal["online", "offline"] = setting("online", about="offline writes into the run folder, for `wandb sync`")


class WandbTracker:
    """Writes a run's metrics, tables, alerts and artifacts below `folder`/wandb, and sends them unless it is offline.

    The x axis is `run/step`, given as a metric. wandb's own step counts rows and is left alone: a row whose step is below that of
    an earlier one is dropped with no more than a warning, and a run that goes on from a checkpoint repeats steps. This way
    nothing is lost; steps that were done again stand twice at their `run/step`.

    Each process of an offline run writes a folder of its own, all with the run's id and marked as resumable; `wandb sync` appends
    them to one run in the order of their start.

    Args:
        settings: project, group, tags and mode.
        folder: the run folder.
        name: how people call the run, where the settings do not say; names of its artifacts begin with it.
        run_id: the run's identity; a resumed run that gives the same one continues the same curves.
        resolved: the resolved recipe, as plain data.
        say: takes a line for the user: where the run is to be seen.

    Raises:
        InputError: wandb is not installed, its folder cannot be written, or it does not start (no login, no connection in time).
    """

    def __init__(
        self, settings: Wandb, *, folder: Path, name: str, run_id: str, resolved: Mapping[str, Any], say: Say = print
    ) -> None:
        self._wandb = _imported()
        self._folder, self._offline, self._say = folder / "wandb", settings.mode == "offline", say
        self._recipe, self._name = name, settings.name or name
        _check_writable(self._folder)
        try:
            self._run = self._wandb.init(
                project=settings.project,
                group=settings.group,
                tags=list(settings.tags),
                job_type="train",
                mode=settings.mode,
                name=_fitting(self._name),
                id=run_id,
                resume="allow",
                reinit="create_new",  # wandb would otherwise hand out a run that is open already, whatever is asked for here
                dir=str(folder),
                config=dict(resolved),
                settings=self._wandb.Settings(
                    console="off",  # the live display owns the terminal
                    silent=True,
                    disable_git=True,
                    finish_timeout_raises=True,
                    x_transaction_log_flush_interval=FLUSH_SECONDS,
                    **{key: seconds for key, seconds in LIMITS.items() if f"WANDB_{key.upper()}" not in os.environ},
                ),
            )
        except (self._wandb.Error, OSError, ValueError) as error:
            problem = f"wandb does not start ({' '.join(str(error).split())})"
            remedy = "check the connection and `wandb login`, or set tracking.wandb.mode=offline"
            raise InputError("tracking.wandb", problem, remedy) from error
        self._run.define_metric("*", step_metric="run/step")
        self._run.define_metric("evaluation/accuracy", step_metric="run/step", summary="last,max")
        if not self._offline:
            say(f"wandb: {self._run.url}")

    def begin(self, stage: str, steps: int | None) -> None:
        """Nothing to do: every line names its stage."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"stage": stage, **metrics})

    def alert(self, stage: str, step: int, name: str, text: str) -> None:
        title = f"{name}: {stage}, step {step + 1}"[:TITLE_CHARACTERS]
        self._run.alert(title=title, text=text, level=self._wandb.AlertLevel.WARN)

    def artifact(self, path: Path, kind: str, name: str) -> None:
        if name.startswith(self._recipe):
            name = self._name + name.removeprefix(self._recipe)
        artifact = self._wandb.Artifact(_fitting(re.sub(r"[^A-Za-z0-9_.-]+", "-", name)), type=kind)
        # Immutable: read from where it lies; otherwise every checkpoint would first be copied. File by file: add_dir prints.
        for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]:
            inside = file.relative_to(path if path.is_dir() else path.parent).as_posix()
            artifact.add_file(str(file), name=inside, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        table = self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        with _staging_in(self._folder):
            self._run.log({"run/step": step, name: table})

    def close(self, failed: bool = False) -> None:
        try:
            self._run.finish(exit_code=int(failed))
        except TimeoutError:
            raise TimeoutError(f"not everything is uploaded yet; {self._upload()}") from None
        except Exception as error:  # which one depends on the moment: a broken pipe, a reset, an abandoned reply without a text
            # Its own process is gone. Without this, the next run in this process would talk to it, and so would Python's exit.
            with suppress(Exception):
                self._wandb.teardown()
            problem = " ".join(f"{type(error).__name__} {error}".split())
            raise ConnectionError(f"wandb's own process is gone ({problem}); {self._upload()}") from error
        if self._offline:
            self._say(f"wandb: {self._upload()}")
            self._offline = False

    def _upload(self) -> str:
        return f"upload with `wandb sync {shlex.quote(str(self._folder))}`"


def _imported() -> ModuleType:
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # where some library knows OpenAI's client, it would advertise Weave
    try:
        import wandb
    except ImportError:
        raise InputError(
            "tracking.wandb",
            "needs wandb, which is not installed",
            "`pip install rl_distill[wandb]`, or leave the key out",
        ) from None
    return wandb


def _fitting(name: str) -> str:
    """As long as the server takes it: the beginning, and a digest of the whole, so that two long names stay two."""
    if len(name) <= NAME_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: NAME_CHARACTERS - len(digest) - 1]}-{digest}"


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written: wandb itself would move to a temporary folder and carry on."""
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"the folder {str(folder)!r} cannot be written ({error.strerror})"
        raise InputError("tracking.wandb", problem, "make room for it, or choose another run folder with run_dir=PATH") from None


@contextmanager
def _staging_in(folder: Path) -> Iterator[None]:
    """Have wandb keep what it is going to upload beside the run, not in the home folder, unless the user has said where."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]
