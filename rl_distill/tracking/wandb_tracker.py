"""Weights & Biases, when a recipe asks for it: the only file that imports `wandb`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Any, Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError


@config
class Wandb:
    """Where a run appears in Weights & Biases."""

    project: str = setting("rl_distill", about="project of the run", min_length=1)
    group: str | None = setting(None, about="groups runs that belong together, such as the seeds of one experiment")
    tags: tuple[str, ...] = setting((), about="labels to filter runs by")
    mode: Literal["online", "offline"] = setting("online", about="offline writes into the run folder, for `wandb sync`")


class WandbTracker:
    """Writes a run's metrics, tables and artifacts below `folder`/wandb, and sends them unless the mode is offline.

    Args:
        settings: project, group, tags and mode.
        folder: the run folder.
        name: how people call the run.
        run_id: the run's identity; a resumed run that gives the same one continues the same curves.
        resolved: the resolved recipe, as plain data.

    Raises:
        InputError: wandb is not installed, the folder cannot be written, or wandb refuses to start (no login, no connection).
    """

    def __init__(self, settings: Wandb, *, folder: Path, name: str, run_id: str, resolved: Mapping[str, Any]) -> None:
        self._wandb = _imported()
        _check_writable(folder)
        try:
            self._run = self._wandb.init(
                project=settings.project,
                group=settings.group,
                tags=list(settings.tags),
                mode=settings.mode,
                name=name,
                id=run_id,
                resume="allow",
                dir=str(folder),
                config=dict(resolved),
                settings=self._wandb.Settings(
                    console="off",  # the live display owns the terminal
                    silent=settings.mode == "offline",
                    disable_git=True,
                ),
            )
        except self._wandb.Error as error:
            problem = f"wandb does not start ({' '.join(str(error).split())})"
            raise InputError("tracking.wandb", problem, "run `wandb login`, or set tracking.wandb.mode=offline") from error

    def begin(self, stage: str, steps: int | None) -> None:
        """Nothing to do: every line names its stage."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log({"stage": stage, **metrics}, step=int(metrics.get("run/step", step)))

    def artifact(self, path: Path, kind: str, name: str) -> None:
        artifact = self._wandb.Artifact(name, type=kind)
        # Immutable: read from where it lies; otherwise every checkpoint would first be copied into the home folder.
        if path.is_dir():
            artifact.add_dir(str(path), policy="immutable", skip_cache=True)
        else:
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._run.log({name: self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, step=step)

    def close(self) -> None:
        self._run.finish()


def _imported() -> ModuleType:
    try:
        import wandb
    except ImportError:
        raise InputError(
            "tracking.wandb",
            "needs wandb, which is not installed",
            "`pip install rl_distill[wandb]`, or leave the key out",
        ) from None
    return wandb


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written: wandb itself would move to a temporary folder and carry on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"the run folder {str(folder)!r} cannot be written ({error.strerror})"
        raise InputError("tracking.wandb", problem, "choose a folder you may write to") from None
