"""A run's folder as pandas frames, for notebooks: routes, metrics, answers, sampled attempts, costs."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_distill.errors import InputError
from rl_distill.frames import frame, pandas_library
from rl_distill.recipe import BASE, Recipe, recorded_recipe
from rl_distill.records import group_from_dict
from rl_distill.tracking import METRICS_FILE, read_metrics

if TYPE_CHECKING:
    import pandas

AMOUNTS = (
    "sampled_tokens",
    "trained_tokens",
    "teacher_tokens",
    "student_flops",
    "teacher_flops",
    "all_flops",
    "device_seconds",
    "money",
)


def load_run(path: str | Path) -> "LoadedRun":
    """A run's folder, finished or at work. Nothing is read before it is asked for, and each file once.

    Raises:
        InputError: it is no run's folder, its recipe is of another version, or pandas is not installed.
    """
    folder = Path(path).expanduser()
    if not (folder / "recipe.yaml").is_file():
        raise InputError("RUN", f"{str(path)!r} holds no run", "give the folder of a run (its run_dir)")
    pandas_library()
    return LoadedRun(folder, recorded_recipe(folder))


class LoadedRun:
    """What a run has written so far. A Jupyter cell shows its table of routes."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    @cached_property
    def routes(self) -> "pandas.DataFrame":
        """A row for each finished stage: accuracy with its 95 % interval, and tokens and seconds from base to there.

        The row of base holds what making it cost.
        """
        from rl_distill.training.run import routes

        results = {name: _parsed(path, path.read_bytes()) for name, path in self._stage_files("result.json").items()}
        return frame(routes(self.recipe, results) if results else (), "name")

    @cached_property
    def metrics(self) -> "pandas.DataFrame":
        """A row for each step: the `stage`, its `step`, and a column for each metric."""
        path = self.path / METRICS_FILE
        return frame(read_metrics(path) if path.is_file() else ())

    def curve(self, metric: str, smooth: int = 1) -> "pandas.DataFrame":
        """One metric over steps, a column for each stage that has it.

        Args:
            smooth: mean of so many steps, the last ones; the first values are means of what there is.

        Raises:
            InputError: no stage has that metric, or `smooth` is no number of steps.
        """
        if smooth < 1:
            raise InputError("smooth", f"is {smooth}", "give a number of steps, 1 or more")
        if metric not in self.metrics:
            from difflib import get_close_matches

            near = get_close_matches(metric, map(str, self.metrics.columns), n=3) or ["run.metrics.columns"]
            raise InputError("metric", f"{metric!r} is in no step of {str(self.path)!r}", f"look at {', '.join(near)}")
        wide = self.metrics.pivot(index="step", columns="stage", values=metric).dropna(axis="columns", how="all")
        order = [name for name in self._stages() if name in wide]
        return wide[order].dropna(how="all").rolling(smooth, min_periods=1).mean()

    def answers(self, stage: str | None = None) -> "pandas.DataFrame":
        """A row for each held-out answer of a stage's student: problem, prompt, answer, response, verdict, finish_reason, tokens.

        Args:
            stage: none is the last one that was evaluated.

        Raises:
            InputError: that stage has no recorded answers.
        """
        files = self._stage_files("evaluation.jsonl")
        name = next(reversed(files), BASE) if stage is None else stage
        if name not in files:
            remedy = f"give {' or '.join(files)}" if files else "give its recipe an evaluation"
            raise InputError("stage", f"{name!r} of {str(self.path)!r} has no recorded answers", remedy)
        return frame(_rows(files[name]))

    @cached_property
    def attempts(self) -> "pandas.DataFrame":
        """A row for each sampled attempt that was recorded in full: its place in the run, what it says, what it was worth."""
        path = self.path / "trajectories" / "rollouts.jsonl"
        return frame(row for line in _rows(path) for row in _attempts(line)) if path.is_file() else frame(())

    def costs(self, *, teacher_weights: float | None = None, price: float | None = None) -> "pandas.DataFrame":
        """A row for each route: its accuracy and what it took; NaN is not known. Arguments are those of `rl-distill costs`."""
        from rl_distill.analysis.costs import Assumed, run_costs

        found = run_costs(self.path, Assumed(teacher_weights=teacher_weights, price=price))
        rows = [
            {"name": route.name, "accuracy": route.accuracy} | {amount: getattr(route.cost, amount) for amount in AMOUNTS}
            for route in found.routes
        ]
        return frame(rows, "name").astype(float)

    def _repr_html_(self) -> str:
        state = "finished" if self.finished else "not finished"
        table = self.routes.to_html(float_format=lambda value: f"{value:.3f}", na_rep="-") if len(self.routes) else ""
        return f"<b>{self.recipe.name}</b>, seed {self.recipe.seed}, {state}{table}"

    def __repr__(self) -> str:
        return f"load_run({str(self.path)!r})"

    def _stages(self) -> list[str]:
        return [BASE, *(stage.name for stage in self.recipe.stages)]

    def _stage_files(self, name: str) -> dict[str, Path]:
        """By stage, in the order of the recipe."""
        places = {stage: self.path / "stages" / stage / name for stage in self._stages()}
        return {stage: place for stage, place in places.items() if place.is_file()}


def _attempts(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    group = group_from_dict(line)
    for attempt, advantage in zip(group.trajectories, line["advantages"], strict=True):
        yield {
            "stage": line["stage"],
            "step": line["step"],
            "problem": group.problem.id,
            "prompt": group.problem.prompt,
            "answer": group.problem.answer,
            "context": attempt.context,
            "response": attempt.response,
            "status": attempt.status,
            "reward": attempt.reward,
            "advantage": advantage,
            "tokens": attempt.num_sampled,
            "finish_reason": attempt.finish_reason,
            "policy_version": attempt.policy_versions[-1] if attempt.policy_versions else None,
        }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The last line of a run at work may be unfinished, and is none."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _parsed(path, line)


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(str(path), f"is damaged ({error})", "restore it, or continue the run with rl-distill train") from None
    if not isinstance(found, dict):
        raise InputError(
            str(path), f"holds {type(found).__name__} where a record was", "restore it, or continue the run with rl-distill train"
        )
    return found
