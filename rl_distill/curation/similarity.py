"""How alike two texts are, in per cent. The door of rapidfuzz."""

from rl_distill.errors import InputError


def ratio(one: str, other: str, at_least: float = 0.0) -> float:
    """Twice the length of the longest common subsequence over both lengths, in per cent; 0 where that is below `at_least`.

    Raises:
        InputError: rapidfuzz is missing.
    """
    try:
        from rapidfuzz import fuzz
    except ImportError:
        raise InputError("curation", "needs the library rapidfuzz", "pip install 'rl_distill[curation]'") from None
    return float(fuzz.ratio(one, other, score_cutoff=at_least))
