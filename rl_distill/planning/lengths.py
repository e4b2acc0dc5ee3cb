"""How long responses are: a distribution that is measured in a past run, or assumed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist

from rl_distill.errors import InputError
from rl_distill.tracking.jsonl_tracker import read_metrics

SPREAD = 0.7  # of the logarithm: the longest of a thousand is nine times the median
MEAN_FRACTION = 1 / 3  # of the longest response admitted
QUANTILES = 1001


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a response.

    quantiles  ascending, evenly spaced over the distribution
    origin     where they come from, in words
    prompt     tokens before a response, mean; None where nothing is known of it
    """

    quantiles: tuple[float, ...]
    origin: str
    prompt: float | None = None

    @property
    def mean(self) -> float:
        return math.fsum(self.quantiles) / len(self.quantiles)

    def drawn(self, count: int) -> list[int]:
        """So many lengths, spread evenly over the distribution and shuffled alike every time: at least one token each."""
        last = len(self.quantiles)
        values = [max(1, round(self.quantiles[int((place + 0.5) * last / count)])) for place in range(count)]
        Random(0).shuffle(values)
        return values


def assumed(maximum: int, mean: float | None = None) -> Lengths:
    """Log-normal, cut at the longest admitted response. `mean` is of the cut distribution; None is a third of `maximum`.

    Raises:
        InputError: the mean is not between one token and the maximum.
    """
    aim = MEAN_FRACTION * maximum if mean is None else mean
    if not 1 <= aim <= maximum and not (mean is None and maximum <= 3):
        raise InputError("--mean-tokens", f"is {aim:g}, and the longest response has {maximum}", "give one between 1 and that")
    low, high = 1e-9, 1e9  # median: the cut mean rises with it
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _mean(_cut(middle, maximum)) < aim else (low, middle)
    words = "a third of the longest" if mean is None else "as given"
    return Lengths(_cut(low, maximum), f"assumed: log-normal (sigma {SPREAD}) cut at {maximum} tokens, mean {aim:.0f}, {words}")


def of_run(folder: Path, stage: str | None, *, live: bool) -> Lengths:
    """What a run's ledger says of its responses; a prompt counts with its mean, which the metrics give.

    Args:
        stage: whose lines are taken; None takes all of them.
        live: the stage samples; otherwise it reads a data set, whose attempts count whole.

    Raises:
        InputError: the folder holds no run, or no such attempt.
    """
    ledger = folder / "ledger.jsonl"
    try:
        lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        problem = f"{str(ledger)!r} cannot be read ({' '.join(str(error).split())[:120]})"
        raise InputError("--lengths-from", problem, "name the folder of a run that has made a step") from None
    chosen = [line for line in lines if stage in (None, line["stage"]) and "beside" not in line]
    totals = sorted(attempt["tokens"] for line in chosen for attempt in line["attempts"])
    if not totals:
        raise InputError("--lengths-from", f"{str(ledger)!r} has no attempt of stage {stage!r}", "name a run of such a stage")
    if any("dialogue" in attempt for line in chosen for attempt in line["attempts"]):
        problem = f"stage {stage!r} of {str(folder)!r} holds dialogues, whose ledger does not tell replies from answers"
        raise InputError("--lengths-from", problem, "give --mean-tokens instead")
    prompt = 0.0
    if live:
        steps = [row for row in read_metrics(folder / "metrics.jsonl") if stage in (None, row["stage"])]
        responses = [row["rollout/response_tokens"] for row in steps if "rollout/response_tokens" in row]
        if not responses:
            raise InputError("--lengths-from", f"stage {stage!r} of {str(folder)!r} has sampled nothing", "name a run that has")
        prompt = max(0.0, _mean(totals) - _mean(responses))
    place = [totals[int((n + 0.5) * len(totals) / QUANTILES)] - prompt for n in range(QUANTILES)]
    origin = f"measured: {len(totals)} attempts of {folder}"
    return Lengths(tuple(max(1.0, length) for length in place), origin, prompt)


def _cut(median: float, maximum: int) -> tuple[float, ...]:
    normal = NormalDist(math.log(median), SPREAD)
    return tuple(
        max(1.0, min(float(maximum), math.exp(min(700.0, normal.inv_cdf((n + 0.5) / QUANTILES))))) for n in range(QUANTILES)
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
