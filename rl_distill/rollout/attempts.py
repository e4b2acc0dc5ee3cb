"""What every engine does around its sampling: check the requests, name the tokens that stop, write the trajectories."""

from collections.abc import Sequence
from typing import Any

from rl_distill.errors import InputError
from rl_distill.rollout.engine import Request, Sampling
from rl_distill.text import decode
from rl_distill.trajectory import Message, Trajectory


def check_requests(requests: Sequence[Request], *, context: int, vocabulary: int) -> None:
    """See that every request can be sampled by a model of this context (tokens) and vocabulary size.

    Raises:
        InputError: a prompt with its longest response exceeds the context.
        ValueError: a prompt is empty or holds ids that the model does not have.
    """
    for request in requests:
        length, limit = len(request.token_ids), request.sampling.max_tokens
        if not length:
            raise ValueError(f"token_ids: the prompt of problem {request.problem_id!r} is empty; give at least one token")
        if length + limit > context:
            problem = f"problem {request.problem_id!r}: {length} prompt tokens + {limit} exceed the context of {context}"
            shorter = f"set max_tokens to {context - length} or less, or leave the problem out"
            raise InputError("sampling.max_tokens", problem, shorter if length < context else "leave the problem out")
        if min(request.token_ids) < 0 or max(request.token_ids) >= vocabulary:
            raise ValueError(
                f"token_ids: the prompt of problem {request.problem_id!r} holds an id outside the model's vocabulary of "
                f"{vocabulary}; encode it with the model's own tokenizer"
            )


def stop_token_ids(tokenizer: Any, end_of_turn: Sequence[int], sampling: Sampling) -> tuple[int, ...]:
    """The tokens that end a response, ascending: those that end a turn and the request's own.

    Raises:
        InputError: a stop token is not one token.
    """
    return tuple(sorted({*end_of_turn, *(_single_token(tokenizer, text) for text in sampling.stop_tokens)}))


def sampled_trajectory(
    request: Request,
    *,
    token_ids: tuple[int, ...],
    logprobs: tuple[float, ...],
    versions: tuple[int, ...],
    stopped: bool,
    tokenizer: Any,
    model: str,
) -> Trajectory:
    """The unscored trajectory of a request and the response to it; all three columns have one entry per response token."""
    prompt = len(request.token_ids)
    return Trajectory(
        problem_id=request.problem_id,
        messages=(*request.messages, Message("assistant", decode(tokenizer, token_ids))),
        token_ids=(*request.token_ids, *token_ids),
        sampled=(False,) * prompt + (True,) * len(token_ids),
        behavior_logprobs=(0.0,) * prompt + logprobs,
        policy_versions=(0,) * prompt + versions,
        model=model,
        origin="policy",
        finish_reason="stop" if stopped else "length",
        seed=request.seed,
    )


def _single_token(tokenizer: Any, text: str) -> int:
    try:
        ids = tokenizer.encode(text, add_special_tokens=False)
    except Exception:  # what a word-level tokenizer raises for a word it does not have is of no narrower class
        ids = []
    if len(ids) == 1 and (ids[0] != tokenizer.unk_token_id or text == tokenizer.unk_token):
        return int(ids[0])
    raise InputError("sampling.stop_tokens", f"{text!r} is not one token of the student's tokenizer", "give single tokens")
