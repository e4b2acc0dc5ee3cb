"""A file of problems with graded attempts at them, several a row: what an evaluation of some model has left behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rl_distill.config import config, setting
from rl_distill.errors import InputError
from rl_distill.problems.base import checked, dialogue, status_of, teacher_trajectory
from rl_distill.problems.rows import Row, read_rows, rows_digest
from rl_distill.trajectory import Group, Problem, Trajectory, Verdict


@config
class GradedSamples:
    """Rows of `question`, `gold` and a list of `samples`, each with its `text` and whether it is `correct`."""

    name: Literal["graded_samples"] = "graded_samples"
    path: str = setting(about=".jsonl, .json or .parquet file")
    model: str = setting("", about="who wrote the samples, where that is known")
    source: str = setting("", about="what the problems are counted as; empty takes the file's name")

    def groups(self) -> Sequence[Group]:
        rows = read_rows(path=self.path)
        return checked([self._group(row, number) for number, row in enumerate(rows, start=1)], self.name)

    def data_digest(self) -> str:
        return rows_digest(read_rows(path=self.path))

    def _group(self, row: Row, number: int) -> Group:
        samples = row.value("samples")
        if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
            raise InputError(f"{row.where}, column 'samples'", "is no list of samples", "give a list of {text, correct}")
        source = self.source or Path(self.path).stem
        metadata = {"level": row.values["level"]} if "level" in row.values else {}
        problem = Problem(
            id=f"{source}-{number}", prompt=row.text("question"), answer=row.answer("gold"), source=source, metadata=metadata
        )
        attempts = [Row(sample, f"{row.where}, sample {place}") for place, sample in enumerate(samples, start=1)]
        return Group(problem=problem, trajectories=tuple(self._attempt(problem, attempt) for attempt in attempts))

    def _attempt(self, problem: Problem, sample: Row) -> Trajectory:
        correct = sample.value("correct")
        if not isinstance(correct, bool):
            raise InputError(f"{sample.where}, 'correct'", f"is {correct!r}", "give true or false")
        return teacher_trajectory(
            problem,
            dialogue(problem.prompt, sample.text("text")),
            model=self.model,
            verdict=Verdict(status=status_of(correct), method="dataset"),
        )
