"""The report on token classes: of one set of responses, and of two on the same problems."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rl_distill.analysis.rates import Estimate, Event, Resampling, separated
from rl_distill.analysis.readings import Reading

PER_THOUSAND = 1000.0
DECILES = 10
REGIONS: Mapping[str, tuple[bool, ...]] = {"whole": (True, False), "inside": (True,), "outside": (False,)}
TOP_WORDS = 20


def class_report(readings: Sequence[Reading], labels: Sequence[str], problems: Resampling) -> dict[str, Any]:
    """By class: how often it occurs in all, correct and wrong responses, where in a response, and by which words."""
    by_status = {
        "all": readings,
        "correct": [one for one in readings if one.response.status == "correct"],
        "wrong": [one for one in readings if one.response.status == "wrong"],
    }
    return {
        label: {
            **{status: _frequency(some, label, problems) for status, some in by_status.items()},
            "correct_minus_wrong": problems.difference(
                events(by_status["wrong"], label), events(by_status["correct"], label), PER_THOUSAND
            )._asdict(),
            "per_thousand_by_decile": _deciles(readings, label),
            "words": _words(readings, label),
        }
        for label in labels
    }


def comparison(
    first: Sequence[Reading], second: Sequence[Reading], labels: Sequence[str], problems: Resampling
) -> dict[str, Any]:
    """The second model minus the first, per 1,000 tokens: as they are, by region, and length-matched.

    Length-matched: responses of both are cut after the same number of tokens, the smaller of their median lengths.
    """
    limit = min(median(one.length for one in side) for side in (first, second))
    cut_first, cut_second = ([one.until(limit) for one in side] for side in (first, second))

    def differences(label: str) -> dict[str, Any]:
        found = {region: _difference(first, second, label, problems, region) for region in REGIONS}
        found["length_matched"] = _difference(cut_first, cut_second, label, problems, "whole")
        return {name: {**one._asdict(), "separated": separated(one)} for name, one in found.items()}

    reached = [sum(one.length >= limit for one in side) / len(side) for side in (first, second)]
    return {"matched_length": limit, "reach_it": reached, "classes": {label: differences(label) for label in labels}}


def events(readings: Iterable[Reading], label: str, region: str = "whole") -> list[Event]:
    """Occurrences over length of each response, in a region of it."""
    sides = REGIONS[region]

    def size(one: Reading) -> float:
        return one.length * sum(one.inside if side else 1.0 - one.inside for side in sides)

    return [Event(one.response.problem_id, sum(one.counts[label, side] for side in sides), size(one)) for one in readings]


def _frequency(readings: Sequence[Reading], label: str, problems: Resampling) -> dict[str, Any]:
    whole = events(readings, label)
    each = [event._replace(size=1.0) for event in whole]
    estimates = {
        **{region: problems.ratio(events(readings, label, region), PER_THOUSAND) for region in REGIONS},
        "per_response": problems.ratio(each),
        "share_of_responses": problems.share([event._replace(amount=float(event.amount > 0)) for event in each]),
    }
    per_thousand = {region: estimates.pop(region)._asdict() for region in REGIONS}
    return {
        "count": int(sum(event.amount for event in whole)),
        "responses": len(readings),
        "per_thousand": per_thousand,
        **{name: estimate._asdict() for name, estimate in estimates.items()},
    }


def _difference(first: Sequence[Reading], second: Sequence[Reading], label: str, problems: Resampling, region: str) -> Estimate:
    return problems.difference(events(first, label, region), events(second, label, region), PER_THOUSAND)


def _deciles(readings: Sequence[Reading], label: str) -> list[float | None]:
    """Occurrences per 1,000 tokens in each tenth of a response."""
    counts = Counter(
        min(int(found.place * DECILES), DECILES - 1) for one in readings for found in one.found if found.label == label
    )
    tenth = sum(one.length for one in readings) / DECILES
    return [PER_THOUSAND * counts[place] / tenth if tenth else None for place in range(DECILES)]


def _words(readings: Sequence[Reading], label: str) -> dict[str, int]:
    """The entries that occurred, most frequent first."""
    counts = Counter(found.entry for one in readings for found in one.found if found.label == label)
    return dict(counts.most_common(TOP_WORDS))
