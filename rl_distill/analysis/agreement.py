"""How far two judges, or two passes of one, agree."""

from collections.abc import Sequence


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """(agreement - chance) / (1 - chance), chance being that of two who say yes as often as these (Cohen 1960).

    None where chance alone agrees on everything: nothing was judged, or both always said the same word.

    Example:
        >>> cohens_kappa([True, True, False, False], [True, False, False, False])
        0.5
    """
    count = len(first)
    if count != len(second):
        raise ValueError(f"{count} and {len(second)} verdicts; give both judges' on the same cases")
    if not count:
        return None
    agreement = sum(a == b for a, b in zip(first, second, strict=True)) / count
    yes, also = sum(first) / count, sum(second) / count
    chance = yes * also + (1 - yes) * (1 - also)
    return None if chance == 1 else (agreement - chance) / (1 - chance)
