"""How students reason: classes of words and keywords of behaviors in their held-out answers, per 1,000 tokens."""

from collections.abc import Sequence
from typing import Any

from rl_distill.analysis.behaviors import load_rubric
from rl_distill.analysis.class_rates import PER_THOUSAND, events
from rl_distill.analysis.rates import Resampling
from rl_distill.analysis.readings import Reading, read
from rl_distill.analysis.samples import SampleSet, read_samples
from rl_distill.analysis.token_classes import Matcher, load_classes
from rl_distill.reporting.measured_sets import Student
from rl_distill.reporting.notes import readable
from rl_distill.reporting.payload import rounded
from rl_distill.reporting.run_facts import RunFacts

SEED = 0  # of the bootstrap, as in `rl-distill analyze`
VERDICTS = ("all", "correct", "wrong")


def word_data(runs: Sequence[RunFacts], students: Sequence[Student]) -> dict[str, Any]:
    """A row for each student and class: the rate in all, correct and wrong answers, with its interval over problems."""
    classes, rubric = load_classes(None), load_rubric(None)
    lists: list[tuple[str, list[str], Matcher]] = [
        ("words", list(classes.classes), classes.matcher()),
        ("behaviors", rubric.ids, rubric.keywords()),
    ]
    draws: dict[frozenset[str], Resampling] = {}  # students with the same problems share them
    rows: list[dict[str, Any]] = []
    for student in students:
        run = runs[student.run]
        if student.measured_on is None:
            continue
        samples = readable(run.notes, f"answers of stage {student.stage}", None, _samples, run, student)
        if samples is None:
            continue
        problems = draws.setdefault(frozenset(samples.prompts), Resampling(list(samples.prompts), SEED))
        for kind, labels, matcher in lists:
            about = {"run": student.run, "stage": student.stage, "set": student.measured_on, "kind": kind, "unit": samples.unit}
            rows += [about | one for one in _rates(samples, labels, matcher, problems)]
    return {"rows": rows, "classes": {kind: labels for kind, labels, _ in lists}}


def _samples(run: RunFacts, student: Student) -> SampleSet | None:
    return read_samples(f"{run.path}:{student.stage}")


def _rates(samples: SampleSet, labels: Sequence[str], matcher: Matcher, problems: Resampling) -> list[dict[str, Any]]:
    readings = read(samples.responses, matcher, samples.unit)
    by_verdict: dict[str, list[Reading]] = {
        verdict: [one for one in readings if verdict in ("all", one.response.status)] for verdict in VERDICTS
    }
    return [
        {
            "label": label,
            **{
                verdict: [rounded(value) for value in problems.ratio(events(some, label), PER_THOUSAND)]
                for verdict, some in by_verdict.items()
            },
        }
        for label in labels
    ]
