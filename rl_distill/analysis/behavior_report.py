"""What a judge found, summed up: how often each behavior shows, and how far its two passes agree."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl_distill.analysis.agreement import cohens_kappa
from rl_distill.analysis.behavior_judge import Judged
from rl_distill.analysis.behavior_spans import Span
from rl_distill.analysis.rates import Event, Resampling, separated
from rl_distill.analysis.samples import SampleSet, Unit, length

Found = Sequence[tuple[str, bool, int, tuple[Sequence[Span], Sequence[Span]]]]


def behavior_report(judged: Judged, samples: SampleSet, unit: Unit, problems: Resampling) -> dict[str, Any]:
    """Counts are means of the two passes, over the responses that both could read."""
    found = _read_twice(judged, samples, unit)
    return {
        "judged": len(found),
        "unreadable": len(samples.responses) - len(found),
        "answers": dict(judged.answers),
        "dropped_quotes": dict(judged.dropped),
        "behaviors": {behavior: _behavior(behavior, found, problems) for behavior in judged.rubric.ids},
    }


def behavior_differences(
    judged: tuple[Judged, Judged], sets: tuple[SampleSet, SampleSet], unit: Unit, problems: Resampling
) -> dict[str, Any]:
    """The second model minus the first, on the same problems."""
    first, second = (_read_twice(one, samples, unit) for one, samples in zip(judged, sets, strict=True))
    report = {}
    for behavior in judged[0].rubric.ids:
        ours, theirs = (_events(behavior, found, by_length=False) for found in (first, second))
        long_ours, long_theirs = (_events(behavior, found, by_length=True) for found in (first, second))
        estimates = {
            "per_response": problems.difference(ours, theirs),
            "per_thousand": problems.difference(long_ours, long_theirs, 1000.0),
        }
        report[behavior] = {name: {**one._asdict(), "separated": separated(one)} for name, one in estimates.items()}
    return report


def _read_twice(judged: Judged, samples: SampleSet, unit: Unit) -> Found:
    """Problem, whether it was solved, length and the spans of both passes."""
    return [
        (one.problem_id, one.status == "correct", length(one, unit), (first, second))
        for one, first, second in zip(samples.responses, *judged.spans, strict=True)
        if first is not None and second is not None
    ]


def _behavior(behavior: str, found: Found, problems: Resampling) -> Mapping[str, Any]:
    present = [[any(span.behavior == behavior for span in spans[number]) for *_, spans in found] for number in range(2)]
    per_response = _events(behavior, found, by_length=False)
    solved = _events(behavior, [one for one in found if one[1]], by_length=False)
    share = [Event(one[0], (first + second) / 2, 1.0) for one, first, second in zip(found, present[0], present[1], strict=True)]
    return {
        "count": sum(event.amount for event in per_response),
        "per_response": problems.ratio(per_response)._asdict(),
        "per_thousand": problems.ratio(_events(behavior, found, by_length=True), 1000.0)._asdict(),
        "per_solved_response": problems.ratio(solved)._asdict(),
        "share_of_responses": problems.share(share)._asdict(),
        "kappa": cohens_kappa(*present),
        "agreement": sum(a == b for a, b in zip(*present, strict=True)) / len(found) if found else None,
    }


def _events(behavior: str, found: Found, *, by_length: bool) -> list[Event]:
    return [
        Event(problem, sum(span.behavior == behavior for one in spans for span in one) / 2, float(size if by_length else 1))
        for problem, _, size, spans in found
    ]
