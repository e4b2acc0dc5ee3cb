"""maj@k: how often the answer that most of k samples give is the right one."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb


def majority_at_k(num_correct: int, wrong_votes: Sequence[int], num_silent: int, k: int) -> float:
    """The exact expectation of maj@k over all ways of drawing k of n samples without replacement; nothing is drawn.

    The answer with most votes wins. A tie is decided by lot, so a right answer that shares the lead with m others earns
    1 / (m + 1). Samples that state no answer do not vote; where nobody votes, nothing is right.

    Args:
        num_correct: samples with the right answer, however each of them spells it.
        wrong_votes: how many samples give each of the wrong answers.
        num_silent: samples without an answer.

    Raises:
        ValueError: more samples are asked for than were drawn.

    Example:
        >>> majority_at_k(2, [1, 1], 0, 4), majority_at_k(1, [1], 0, 2)
        (1.0, 0.5)
    """
    total = num_correct + sum(wrong_votes) + num_silent
    if not 0 < k <= total:
        raise ValueError(f"k: {k} is not in 1..{total}, the number of samples; draw more samples or lower k")
    return _expected(num_correct, tuple(sorted(wrong_votes)), num_silent, k)


@lru_cache(maxsize=4096)
def _expected(num_correct: int, wrong_votes: tuple[int, ...], num_silent: int, k: int) -> float:
    total = num_correct + sum(wrong_votes) + num_silent
    credit = Fraction(0)
    for votes in range(1, min(num_correct, k) + 1):  # for the right answer
        rivals = [count for count in wrong_votes if count >= votes]
        others = total - num_correct - sum(rivals)  # they cannot reach so many votes, however many of them are drawn
        for (drawn, ties), ways in _draws(rivals, votes, k - votes).items():
            credit += Fraction(comb(num_correct, votes) * ways * comb(others, k - votes - drawn), ties + 1)
    return float(credit / comb(total, k))


def _draws(rivals: Sequence[int], votes: int, most: int) -> dict[tuple[int, int], int]:
    """In how many ways rivals get at most `votes` votes each and `most` together: by (votes of all, rivals that tie)."""
    found = {(0, 0): 1}
    for count in rivals:
        grown: dict[tuple[int, int], int] = {}
        for (drawn, ties), ways in found.items():
            for more in range(min(votes, most - drawn) + 1):
                key = (drawn + more, ties + (more == votes))
                grown[key] = grown.get(key, 0) + ways * comb(count, more)
        found = grown
    return found
