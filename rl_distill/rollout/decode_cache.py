"""Keys and values of the sequences that are being decoded, one slot each, written in place."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

_WIDTH_STEP = 16  # attention reads this many columns at a time, so that few distinct shapes occur


class _Window:
    """What the next forward pass reads and where it writes; shared by all layers."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.capacity = 0  # columns allocated
        self.rows = 0  # leading slots that take part
        self.width = 0  # leading columns that are read
        self.columns = torch.empty(0, dtype=torch.int64)  # [rows] where each row's token goes
        self._places: dict[int, Tensor] = {}

    def aim(self, columns: Tensor, width: int) -> None:
        self.columns, self.rows, self.width = columns, len(columns), width
        self._places = {}

    def places(self, heads: int) -> Tensor:
        """[rows * heads] where each row's token goes in a buffer whose slots, heads and columns are one dimension."""
        if heads not in self._places:
            starts = torch.arange(self.rows * heads, device=self.columns.device) * self.capacity
            self._places[heads] = starts + self.columns.repeat_interleave(heads)
        return self._places[heads]


class _SlotLayer(CacheLayerMixin):
    """One layer: `keys` and `values` [slots, heads, capacity, dim].

    Zeros where nothing was written: attention multiplies what the mask hides by 0, and 0 * NaN would spread.
    """

    def __init__(self, window: _Window) -> None:
        super().__init__()
        self._window = window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (self._buffer(states) for states in (key_states, value_states))
        self.is_initialized = True

    def _buffer(self, states: Tensor) -> Tensor:
        """Zeros for states of shape [B, heads, T, dim]."""
        return states.new_zeros(self._window.slots, states.shape[1], self._window.capacity, states.shape[3])

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Store one token per row, [B, heads, 1, dim], and return all that attention may read, [B, heads, width, dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self._window
        stored = []
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            buffer.flatten(0, 2).index_copy_(0, window.places(states.shape[1]), states.flatten(0, 2))
            stored.append(buffer[: window.rows, :, : window.width])
        return stored[0], stored[1]

    def grow(self) -> None:
        if self.is_initialized:
            self.keys, self.values = (self._grown(buffer) for buffer in (self.keys, self.values))

    def _grown(self, buffer: Tensor) -> Tensor:
        wider = buffer.new_zeros(*buffer.shape[:2], self._window.capacity, buffer.shape[3])
        wider[:, :, : buffer.shape[2]] = buffer
        return wider

    def fill(self, slots: Tensor, states: tuple[Tensor, Tensor], source: Tensor) -> None:
        """Copy row `source[i]` of prefilled states [P, heads, T, dim] to the start of slot `slots[i]`."""
        if not self.is_initialized:
            self.lazy_initialization(*states)
        for buffer, prefilled in zip((self.keys, self.values), states, strict=True):
            buffer[:, :, : prefilled.shape[2]].index_copy_(0, slots, prefilled.index_select(0, source))

    def move(self, source: Tensor, target: Tensor) -> None:
        if not self.is_initialized:
            return
        for buffer in (self.keys, self.values):
            used = buffer[:, :, : self._window.width]
            used.index_copy_(0, target, used.index_select(0, source))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.width, 0

    def get_seq_length(self) -> int:
        return self._window.width - 1 if self._window.width else 0

    def get_max_length(self) -> int:
        return self._window.capacity


class SlotCache(Cache):
    """A key-value cache for sequences that come and go.

    Sequence i lives in slot i: its token t is in column t, whatever the others do, so nothing is ever shifted. A slot is taken
    over by writing from column 0; columns past a sequence's end hold leftovers, which the caller's mask hides. Columns are
    allocated as they are needed, by doubling, up to `max_width`.
    """

    def __init__(self, *, num_layers: int, slots: int, max_width: int, device: torch.device) -> None:
        self._window = _Window(slots)
        self.max_width = _whole_steps(max_width)
        self._device = device
        self._slots: list[_SlotLayer] = [_SlotLayer(self._window) for _ in range(num_layers)]
        super().__init__(layers=list(self._slots))

    def aim(self, columns: NDArray[np.int64]) -> int:
        """Prepare a forward pass of one token per row, row i's to go to column `columns[i]` of slot i.

        Returns the width that attention will read: all columns in use and a few beyond, so the caller masks those after its own.
        """
        width = _whole_steps(int(columns.max()) + 1)
        self._reserve(width)
        self._window.aim(torch.as_tensor(columns, device=self._device), width)
        return width

    def fill(self, slots: NDArray[np.int64], prefilled: DynamicCache, source: NDArray[np.int64]) -> None:
        """Give each of `slots` [n] a copy of row `source[i]` of a right-padded prefill."""
        window = self._window
        window.width = max(window.width, _whole_steps(prefilled.get_seq_length()))
        self._reserve(window.width)
        targets, rows = (torch.as_tensor(index, device=self._device) for index in (slots, source))
        for layer, states in zip(self._slots, prefilled.layers, strict=True):
            layer.fill(targets, (states.keys, states.values), rows)

    def move(self, source: NDArray[np.int64], target: NDArray[np.int64]) -> None:
        """Copy slots `source` [n] to `target` [n]; the two share no slot."""
        sources, targets = (torch.as_tensor(index, device=self._device) for index in (source, target))
        for layer in self._slots:
            layer.move(sources, targets)

    def _reserve(self, width: int) -> None:
        window = self._window
        if width <= window.capacity:
            return
        window.capacity = max(width, min(2 * width, self.max_width))
        for layer in self._slots:
            layer.grow()


def _whole_steps(columns: int) -> int:
    return -(-columns // _WIDTH_STEP) * _WIDTH_STEP
