"""Everything random has an address: a seed is a function of what it is for, never of when or where it is drawn."""

from hashlib import blake2b


def addressed_seed(*address: int | str) -> int:
    """A 63-bit seed for one address, such as (run seed, stage, step, problem id, sample index).

    Example:
        >>> addressed_seed(0, "grpo", 3, "p-17", 2) == addressed_seed(0, "grpo", 3, "p-17", 2)
        True
        >>> addressed_seed(0, "grpo", 31) == addressed_seed(0, "grpo", 3, 1)
        False
    """
    # A separator inside a part is doubled, so that ("a", "b") and any ("a...b",) differ.
    text = "\x1f".join(f"{type(part).__name__}:{part}".replace("\x1f", "\x1f\x1f") for part in address)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
