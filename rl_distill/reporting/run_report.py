"""Behind `rl-distill report` and `rl_distill.report`: one file about runs and sweeps, for a person without network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rl_distill import __version__
from rl_distill.analysis.costs import Assumed
from rl_distill.errors import InputError
from rl_distill.reporting.alarm_times import alarm_data
from rl_distill.reporting.attempt_index import Selection, find_lines, select
from rl_distill.reporting.attempt_page import attempt_data
from rl_distill.reporting.benchmark_page import benchmark_data, find_evaluations
from rl_distill.reporting.cost_page import cost_data
from rl_distill.reporting.curves import POINTS, curve_data
from rl_distill.reporting.environment_page import environment_data
from rl_distill.reporting.gradient_page import gradient_data
from rl_distill.reporting.measured_sets import MeasuredSet, Student, students_of
from rl_distill.reporting.page_text import charting_library, page_text
from rl_distill.reporting.payload import packed, rounded
from rl_distill.reporting.places import Places, find_places
from rl_distill.reporting.run_facts import RunFacts, read_facts
from rl_distill.reporting.seed_means import seed_means
from rl_distill.reporting.word_page import word_data

EVALUATIONS = Path("evaluations")  # where `rl-distill evaluate` puts them, unless told otherwise
MAX_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    path   of the page
    size   in bytes
    notes  what was left out of it, a line each
    """

    path: Path
    size: int
    notes: tuple[str, ...]

    def _repr_markdown_(self) -> str:
        return "\n\n".join(
            [f"[{self.path}](<{self.path}>), {self.size / 2**20:.1f} MiB", *(f"note: {note}" for note in self.notes)]
        )


def report(
    runs: str | Path | Sequence[str | Path],
    output: str | Path = "report.html",
    *,
    trajectories: int = MAX_ATTEMPTS,
    evaluations: str | Path | None = None,
    teacher_weights: float | None = None,
    price: float | None = None,
) -> Report:
    """Write a page about runs; it needs no network, and no folder of theirs any more.

    Args:
        runs: folders of runs, in whatever state, and of sweeps.
        output: the file.
        trajectories: the most attempts that it shows.
        evaluations: the folder in which evaluations of these runs are looked for; none is `evaluations`, if it is there.
        teacher_weights: of a curated teacher, active for a token, for the FLOPs of its text.
        price: of a device for an hour, added to the teacher's bill.

    Raises:
        InputError: a number is below 0, a folder holds neither a run nor a sweep, the file cannot be written, or Plotly is not
            installed.
    """
    if trajectories < 0:
        raise InputError("--trajectories", f"is {trajectories}", "give a number of 0 or more")
    if not isinstance(runs, str | Path) and not runs:
        raise InputError("RUN", "is missing", "give the folder of a run or of a sweep")
    assumed = Assumed(teacher_weights=teacher_weights, price=price)
    charting_library()  # before the work
    places = find_places([Path(one) for one in ([runs] if isinstance(runs, str | Path) else runs)])
    if evaluations is None and EVALUATIONS.is_dir():
        evaluations = EVALUATIONS
    payloads, notes = _gathered(places, trajectories, None if evaluations is None else Path(evaluations), assumed)
    path = Path(output).expanduser()
    text = page_text(_title(places), payloads).encode("utf-8")
    try:
        path.write_bytes(text)
    except OSError as error:
        problem = f"{str(output)!r} cannot be written ({error.strerror})"
        raise InputError("-o", problem, "choose a file in a folder that you may write to") from None
    return Report(path=path, size=len(text), notes=tuple(notes))


def _gathered(places: Places, limit: int, evaluations: Path | None, assumed: Assumed) -> tuple[dict[str, str], list[str]]:
    """(every piece of data of the page, packed; what was left out)."""
    notes = list(places.notes)
    facts = [read_facts(label, path) for label, path in places.runs.items()]
    students, sets = students_of(facts)
    means = seed_means(facts, students)
    found = find_evaluations(evaluations, facts, notes)
    shared, curves = curve_data(facts)
    selection = select(list(find_lines(facts, found)), limit)
    index, pieces = attempt_data(selection, facts)
    tabs: dict[str, Any] = {
        "alarms": alarm_data(facts),
        "costs": cost_data(facts, students, assumed),
        "benchmarks": benchmark_data(found, notes),
        "words": word_data(facts, students),
        "gradients": gradient_data(facts),
        "environment": environment_data(facts),
        "curves": shared,
        "attempts": index,
        **{f"curve-{place}": values for place, values in enumerate(curves.values())},
        **{f"attempts-{place}": records for place, records in enumerate(pieces)},
    }
    notes += _left_out(facts, shared, selection)
    tabs["head"] = _head(places, facts, students, sets, notes) | {"means": means, "gradients": len(tabs["gradients"])}
    return {name: packed(data) for name, data in tabs.items()}, notes


def _left_out(facts: Sequence[RunFacts], shared: Mapping[str, Any], selection: Selection) -> list[str]:
    """What a reader would miss without being told."""
    found = [f"{run.label}: {note}" for run in facts for note in dict.fromkeys(run.notes)]
    if shared["thinned"]:
        found.append(f"stages of more than {POINTS} steps: {shared['thinned']}; points of their curves are means of neighbours")
    if any(shown < recorded for shown, recorded in selection.counts.values()):
        found.append(selection.rule)
    return found


def _head(
    places: Places, facts: Sequence[RunFacts], students: Sequence[Student], sets: Sequence[MeasuredSet], notes: Sequence[str]
) -> dict[str, Any]:
    """The first tab, and what all others need to know."""
    return {
        "version": __version__,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [run.as_data() for run in facts],
        "students": [_student(student, facts[student.run].results[student.stage]) for student in students],
        "sets": [one.as_data() for one in sets],
        "sweeps": [
            {"path": str(one.path)} | {name: getattr(one, name) for name in ("header", "rows", "failures", "warnings")}
            for one in places.sweeps
        ],
        "notes": list(notes),
    }


def _student(student: Student, result: Mapping[str, Any]) -> dict[str, Any]:
    evaluation = result.get("evaluation") or {}
    amounts = ("step", "generated_tokens", "trained_tokens", "seconds")
    return {
        "run": student.run,
        "stage": student.stage,
        "set": student.measured_on,
        **{name: rounded(evaluation.get(name)) for name in ("accuracy", "low", "high")},
        **{name: rounded(result.get(name)) for name in amounts},
        "alarms": len(result.get("alarms") or ()),
    }


def _title(places: Places) -> str:
    names = [one.path.name for one in places.sweeps] or list(places.runs)
    return f"Report on {names[0]}" if len(names) == 1 else f"Report on {len(places.runs)} runs"
