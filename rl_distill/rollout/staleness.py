"""How far sampling may run ahead of training."""


def admits(num_submitted: int, *, batch_size: int, version: int, max_lag: int) -> bool:
    """Whether one more attempt may be started (AReaL's gate, arXiv:2505.24298): floor((N - 1) / B) <= version + max_lag.

    Args:
        num_submitted: attempts running or finished so far, the new one included.
        batch_size: attempts that one policy update consumes.
        version: updates made so far.
        max_lag: 0 is synchronous, 1 overlaps one step.
    """
    return (num_submitted - 1) // batch_size <= version + max_lag
