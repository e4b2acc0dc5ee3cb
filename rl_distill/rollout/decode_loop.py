"""Decoding a shard of requests together: finished sequences leave, waiting ones take over their slots.

    waiting --admit--> slots [0, rows) --step, step, ...--> finished: the slot is idle until an eighth of them are
               |            one token per row and pass           |
          prefill of        of the model                         +--> admit the next, or close the gaps
       all but the last
       token of a prompt

A sequence's last prompt token is fed by its first step, so every sampled token comes out of a step. Settings and lengths are
numpy columns on the host; the model, its cache and the draw are on the device. What happens is a function of the shard alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache

from rl_distill.errors import RunError
from rl_distill.rollout.decode_cache import SlotCache
from rl_distill.rollout.engine import Request
from rl_distill.rollout.token_ban import RowBans, TokenBan
from rl_distill.rollout.token_choice import TokenChoice, stream_keys, uniforms

_NOBODY = -1
_MIN_ROWS = 2  # a batch of one runs another matrix kernel, whose rounding differs
_IDLE_FRACTION = 8  # one idle slot in so many is worth a change of the rows

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Response:
    """What was sampled for one request, the stop token included; log-probs under the distribution sampled from."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]  # of the weights that each token was sampled from
    stopped: bool


@torch.inference_mode()
def decode_shard(
    model: Any,
    requests: Sequence[Request],
    stop_ids: Sequence[Sequence[int]],
    *,
    bans: Sequence[TokenBan | None] = (),
    max_concurrent: int,
    prefill_tokens: int,
    before_step: Callable[[], int] = int,
) -> list[Response]:
    """Sample a response for every request, in order; `stop_ids[i]` are the tokens that end request i, `bans[i]` is what it
    must not say, if anything.

    Args:
        before_step: called before each step, the first time before any prompt is read; it may change the model's weights, and
            says which version they are. Keys and values that are cached already stay as older weights made them.

    Raises:
        RunError: the model's logits are not finite.
    """
    slots = max(_MIN_ROWS, min(max_concurrent, len(requests)))
    settings = _Settings(requests, stop_ids)
    loop = _ShardLoop(model, requests, settings, RowBans(bans), slots=slots, prefill_tokens=prefill_tokens)
    loop.run(before_step)
    return loop.tape.responses(len(requests), loop.stopped)


class _Tape:
    """The sampled tokens in the order of the steps; sorted by request once, at the end."""

    def __init__(self) -> None:
        self._owners: list[Index] = []
        self._tokens: list[Index] = []
        self._logprobs: list[NDArray[np.float32]] = []
        self._versions: list[int] = []

    def record(self, version: int, owners: Index, tokens: Index, logprobs: NDArray[np.float32]) -> None:
        self._versions.append(version)
        self._owners.append(owners)
        self._tokens.append(tokens)
        self._logprobs.append(logprobs)

    def responses(self, count: int, stopped: NDArray[np.bool_]) -> list[Response]:
        owners = np.concatenate(self._owners)
        order = np.argsort(owners, kind="stable")
        borders = np.searchsorted(owners[order], np.arange(count + 1)).tolist()
        tokens = np.concatenate(self._tokens)[order].tolist()
        logprobs = np.concatenate(self._logprobs)[order]
        if not np.isfinite(logprobs[borders[0] :]).all():
            raise RunError("the policy's logits are not finite while sampling: its weights have diverged or overflow their dtype")
        values = logprobs.tolist()
        versions = np.repeat(self._versions, [len(owners) for owners in self._owners])[order].tolist()
        return [
            Response(tuple(tokens[start:end]), tuple(values[start:end]), tuple(versions[start:end]), bool(end_of_turn))
            for start, end, end_of_turn in zip(borders[:-1], borders[1:], stopped, strict=True)
        ]


class _ShardLoop:
    """One shard on its way. Row i is slot i of the cache; rows [0, R) take part in the next step, row i for `_owners[i]`."""

    def __init__(
        self, model: Any, requests: Sequence[Request], settings: "_Settings", bans: RowBans, *, slots: int, prefill_tokens: int
    ) -> None:
        self._model, self._prefill_tokens, self._device = model, prefill_tokens, model.device
        self._prompts = [request.token_ids for request in requests]
        self._settings, self._bans = settings, bans
        self._waiting = _order(requests)
        self._cache = SlotCache(
            num_layers=model.config.get_text_config().num_hidden_layers,
            slots=slots,
            max_width=max(len(request.token_ids) + request.sampling.max_tokens for request in requests),
            device=self._device,
        )
        self._owners = np.full(slots, _NOBODY)  # [R] the request in each row
        self._tokens = np.zeros(slots, dtype=np.int64)  # [R] the token to be fed next
        self._lengths = np.zeros(slots, dtype=np.int64)  # [R] tokens in the cache, so the position of that token
        self._columns = torch.arange(self._cache.max_width, device=self._device)
        self.tape = _Tape()
        self.stopped = np.zeros(len(requests), dtype=bool)

    def run(self, before_step: Callable[[], int]) -> None:
        version = before_step()  # before the first prompts are read, so that they are read with the weights that it speaks of
        self._admit()
        while (self._owners != _NOBODY).any():
            self._step(version)
            idle, rows = int((self._owners == _NOBODY).sum()), len(self._owners)
            if idle * _IDLE_FRACTION >= rows and (len(self._waiting) or rows > _MIN_ROWS):
                self._admit()
            if (self._owners != _NOBODY).any():
                version = before_step()

    def _step(self, version: int) -> None:
        """Feed each row its next token and draw the one after; idle rows rewrite their first column and are ignored."""
        logits = self._bans.restrict(self._logits(), self._owners.tolist())
        settings = self._row_settings
        positions = self._lengths + 1 - settings.prompt_lengths  # [R] of the new token within its response
        draws = uniforms(settings.keys, positions)
        drawn, chosen = self._choice.draw(logits, torch.as_tensor(draws, device=self._device))
        tokens, logprobs = drawn.cpu().numpy(), chosen.cpu().numpy()
        self.tape.record(version, self._owners, tokens, logprobs)
        self._bans.advance(self._owners.tolist(), tokens.tolist())
        live = self._owners != _NOBODY
        stopped = live & (tokens[:, None] == settings.stop_ids).any(1)
        done = stopped | (live & (positions + 1 >= settings.limits))
        self._tokens = tokens
        self._lengths = self._lengths + live
        if done.any():
            self.stopped[self._owners[stopped]] = True
            self._owners = np.where(done, _NOBODY, self._owners)
            self._lengths[done] = 0

    def _logits(self) -> torch.Tensor:
        """Logits [R, V] after the rows' next tokens, which enter the cache."""
        width = self._cache.aim(self._lengths)
        positions = torch.as_tensor(self._lengths, device=self._device)[:, None]  # [R, 1]
        hidden = self._columns[:width] > positions
        # a float mask: eager attention adds it, and sdpa would convert a bool one in every layer
        mask = torch.zeros(hidden.shape, dtype=self._model.dtype, device=self._device).masked_fill_(hidden, -torch.inf)
        out = self._model(
            input_ids=torch.as_tensor(self._tokens, device=self._device)[:, None],
            attention_mask=mask[:, None, None, :],
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def _admit(self) -> None:
        """Seat waiting requests in idle slots, and drop the slots that remain idle."""
        idle = np.flatnonzero(self._owners == _NOBODY)
        entering, self._waiting = self._waiting[: len(idle)], self._waiting[len(idle) :]
        slots = idle[: len(entering)]
        self._prefill(entering, slots)
        self._owners, self._tokens = self._owners.copy(), self._tokens.copy()  # the tape keeps the old ones
        self._owners[slots] = entering
        self._lengths[slots] = self._settings.prompt_lengths[entering] - 1
        self._tokens[slots] = [self._prompts[request][-1] for request in entering.tolist()]
        self._close_gaps()
        self._row_settings = self._settings.rows(self._owners)
        self._choice = TokenChoice(self._row_settings.temperature, self._row_settings.top_p, self._device)

    def _close_gaps(self) -> None:
        """Move the last live rows into idle ones, so that the live rows come first, and forget the rest."""
        live = self._owners != _NOBODY
        rows = max(_MIN_ROWS, int(live.sum()))
        source = rows + np.flatnonzero(live[rows:])
        target = np.flatnonzero(~live[:rows])[: len(source)]
        if len(source):
            self._cache.move(source, target)
        for column in (self._owners, self._tokens, self._lengths):
            column[target] = column[source]
        self._owners, self._tokens, self._lengths = self._owners[:rows], self._tokens[:rows], self._lengths[:rows]

    def _prefill(self, entering: Index, slots: Index) -> None:
        """Fill the slots with all but the last token of their prompts; a prompt shared by many is computed once."""
        slots_of: dict[tuple[int, ...], list[int]] = {}
        for request, slot in zip(entering.tolist(), slots.tolist(), strict=True):
            slots_of.setdefault(self._prompts[request][:-1], []).append(slot)
        slots_of.pop((), None)
        for prompts in _prefill_batches(list(slots_of), self._prefill_tokens):
            owned = [slots_of[prompt] for prompt in prompts]
            cache = self._prefilled(prompts)
            source = np.repeat(np.arange(len(prompts)), [len(group) for group in owned])
            self._cache.fill(np.concatenate([np.array(group) for group in owned]), cache, source)

    def _prefilled(self, prompts: list[tuple[int, ...]]) -> DynamicCache:
        """Keys and values of right-padded prompts. They need no mask: causal attention never looks at what follows."""
        rows = prompts if len(prompts) >= _MIN_ROWS else prompts * _MIN_ROWS
        token_ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        for row, prompt in zip(token_ids, rows, strict=True):
            row[: len(prompt)] = prompt
        cache = DynamicCache()
        positions = torch.arange(token_ids.shape[1], device=self._device).expand(token_ids.shape)
        inputs = torch.as_tensor(token_ids, device=self._device)
        self._model(input_ids=inputs, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache


class _Settings:
    """The requests' sampling settings as columns."""

    def __init__(self, requests: Sequence[Request], stop_ids: Sequence[Sequence[int]]) -> None:
        self.prompt_lengths = np.array([len(request.token_ids) for request in requests])
        self.keys = stream_keys([request.seed for request in requests])
        self.temperature = np.array([request.sampling.temperature for request in requests])
        self.top_p = np.array([request.sampling.top_p for request in requests])
        self.limits = np.array([request.sampling.max_tokens for request in requests])
        width = max(1, max(map(len, stop_ids)))
        self.stop_ids = np.array([[*ids, *[_NOBODY] * (width - len(ids))] for ids in stop_ids])  # [N, width]; -1 is no token

    def rows(self, owners: Index) -> "_Settings":
        """The columns of the rows; an idle row borrows the last request's."""
        taken = object.__new__(_Settings)
        for name, column in vars(self).items():
            setattr(taken, name, column[owners])
        return taken


def _order(requests: Sequence[Request]) -> Index:
    """Longest prompts first, equal prompts together: little padding, each prompt prefilled once, no long row starting last.

    The order a shard lists its requests in has no influence as far as their prompts and seeds tell them apart.
    """

    def place(index: int) -> tuple[int, tuple[int, ...], int, int]:
        request = requests[index]
        return -len(request.token_ids), request.token_ids, request.seed, index

    return np.array(sorted(range(len(requests)), key=place))


def _prefill_batches(prompts: list[tuple[int, ...]], budget: int) -> Iterator[list[tuple[int, ...]]]:
    """Cut prompts, longest first, into batches of at most `budget` tokens with their padding, or of a single prompt."""
    start = 0
    while start < len(prompts):
        rows = max(1, budget // len(prompts[start]))
        yield prompts[start : start + rows]
        start += rows
