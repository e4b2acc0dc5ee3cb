"""What a stage's work amounted to, as counts that add up: whoever knows the models' shapes can tell FLOPs from them.

    sampling/prompts, prompt_tokens, prompt_squares   distinct prompts of a shard: each is read once
    sampling/attempts, tokens, context                responses; positions that their tokens looked back at
    training|still|reference|teacher|proximal/rows, tokens, squares, logits
                                                      whole rows that went through a model; squares of their lengths; positions
                                                      whose next-token distribution was looked at; `still` are rows of a step
                                                      that could not move the policy and so were not run backward
    steps                                             steps of the loop that were counted

Padding, and computing anything twice, is not counted: neither depends on what was learnt.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from rl_distill.trajectory import Trajectory

WorkCounts = Mapping[str, int]


def sampling_work(attempts: Sequence[Trajectory]) -> WorkCounts:
    """Of attempts that were sampled together, each a prompt and what followed it.

    Example: a prompt of 3 tokens, of which the last is read with the first draw, and two responses of 2 tokens
        prompts 1, prompt_tokens 2, prompt_squares 4, attempts 2, tokens 4, context (3 + 4) * 2
    """
    starts = {attempt.token_ids[: len(attempt.token_ids) - attempt.num_sampled] for attempt in attempts}
    reads = [max(0, len(prompt) - 1) for prompt in starts]
    lengths = [(len(attempt.token_ids), attempt.num_sampled) for attempt in attempts]
    return {
        "sampling/prompts": len(starts),
        "sampling/prompt_tokens": sum(reads),
        "sampling/prompt_squares": sum(read**2 for read in reads),
        "sampling/attempts": len(attempts),
        "sampling/tokens": sum(drawn for _, drawn in lengths),
        "sampling/context": sum(
            (2 * whole - drawn - 1) * drawn // 2 for whole, drawn in lengths
        ),  # whole - drawn, ..., whole - 1
    }


def row_work(model: str, rows: Sequence[Trajectory]) -> WorkCounts:
    """Of whole rows that went through a model, forward or forward and backward.

    Args:
        model: training, still, reference, teacher or proximal.
    """
    lengths = [len(row.token_ids) for row in rows]
    return {
        f"{model}/rows": len(rows),
        f"{model}/tokens": sum(lengths),
        f"{model}/squares": sum(length**2 for length in lengths),
        f"{model}/logits": sum(row.num_sampled for row in rows),
    }


def added(counts: Iterable[WorkCounts]) -> dict[str, int]:
    """Their sum."""
    total: Counter[str] = Counter()
    for name, count in chain.from_iterable(one.items() for one in counts):
        total[name] += count
    return dict(total)
