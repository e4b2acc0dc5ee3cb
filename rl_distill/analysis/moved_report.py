"""What moved between two checkpoints, summed up: by word, by class of words, by verdict and along a response."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rl_distill.analysis.moved_tokens import Moved, MovedToken
from rl_distill.analysis.rates import Event, Resampling
from rl_distill.analysis.samples import Recorded

TOP_WORDS = 25
DECILES = 10
Traces = Sequence[tuple[Recorded, Sequence[MovedToken]]]


def moved_report(moved: Moved, labels: Iterable[str], problems: Resampling) -> dict[str, Any]:
    """Changes are in nats, the second checkpoint minus the first; a positive one is a token that became more likely.

    `rose` and `fell` list words by the sum of their changes over all traces: often, or much.
    """
    words = _by_word(moved.traces)
    return {
        "traces": len(moved.traces),
        "too_long": moved.too_long,
        "reencoded": moved.reencoded,
        "per_token": _mean(moved.traces, problems, lambda token: True),
        "size_per_token": problems.ratio(_events(moved.traces, lambda token: True, abs))._asdict(),
        "by_verdict": {
            status: _mean([one for one in moved.traces if one[0].status == status], problems, lambda token: True)
            for status in ("correct", "wrong")
        },
        "by_class": {
            label or "no class": _mean(moved.traces, problems, lambda token, label=label: token.label == label)
            for label in (*labels, "")
        },
        "by_decile": [
            _mean(moved.traces, problems, lambda token, tenth=tenth: int(token.place * DECILES) == tenth)
            for tenth in range(DECILES)
        ],
        "rose": sorted((word for word in words if word["sum"] > 0), key=lambda word: -word["sum"])[:TOP_WORDS],
        "fell": sorted((word for word in words if word["sum"] < 0), key=lambda word: word["sum"])[:TOP_WORDS],
    }


def _by_word(traces: Traces) -> list[dict[str, Any]]:
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, float] = defaultdict(float)
    for _, tokens in traces:
        for token in tokens:
            counts[token.word] += token.begins
            sums[token.word] += token.change
    return [
        {"word": word, "count": counts[word], "sum": sums[word], "mean": sums[word] / max(1, counts[word])}
        for word in sorted(sums)
    ]


def _mean(traces: Traces, problems: Resampling, wanted: Callable[..., bool]) -> dict[str, Any]:
    events = _events(traces, wanted, float)
    return {"tokens": int(sum(event.size for event in events)), "change": problems.ratio(events)._asdict()}


def _events(traces: Traces, wanted: Callable[..., bool], measure: Callable[[float], float]) -> list[Event]:
    found = []
    for response, tokens in traces:
        changes = [measure(token.change) for token in tokens if wanted(token)]
        found.append(Event(response.problem_id, sum(changes), len(changes)))
    return found
