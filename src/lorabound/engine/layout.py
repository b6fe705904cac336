"""How rows lie in a pass: one beside the other, the shorter ones padded; or packed one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lorabound.engine.batches import TOKENS_PER_PASS, passes
from lorabound.models import Inputs, PackedRows

Index = Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class Layout:
    """The tokens of a pass.

    Attributes:
        index: numbers of its rows.
        token: (a, b) numbers of its tokens, where those of all rows are counted one after the other.
        beyond: (a, b) whether a place is padding; None without any.
    """

    index: Index
    token: Int[np.ndarray, "a b"]
    beyond: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(a, b)."""
        return self.token.shape[0], self.token.shape[1]


def first_tokens(inputs: Inputs) -> Int[np.ndarray, " n"]:
    """(n,) number of the first own token of every row."""
    return inputs.starts if isinstance(inputs, PackedRows) else np.cumsum(inputs.lengths) - inputs.lengths


def layout(inputs: Inputs, index: Index, n_adapters: int = 1, starts: Int[np.ndarray, " n"] | None = None) -> Layout:
    """The pass that holds the rows ``index``, those of one adapter after those of another.

    Args:
        starts: :func:`first_tokens`, where many passes are laid out; worked out when it is not given.
    """
    if isinstance(inputs, PackedRows):
        token, owner = inputs.places(index.reshape(n_adapters, -1))
        return Layout(index, token, torch.from_numpy(owner == -2) if (owner == -2).any() else None)
    lengths = inputs.lengths[index]
    starts = first_tokens(inputs) if starts is None else starts
    width = int(lengths.max())
    token = starts[index][:, None] + np.minimum(np.arange(width), lengths[:, None] - 1)
    beyond = torch.from_numpy(np.arange(width) >= lengths[:, None]) if lengths.min() < width else None
    return Layout(index, token, beyond)


def n_tokens(inputs: Inputs) -> int:
    """Tokens of all rows, a shared beginning counted once."""
    return inputs.n_tokens if isinstance(inputs, PackedRows) else int(inputs.lengths.sum())


def longest(inputs: Inputs) -> int:
    """Tokens of a pass of the longest row."""
    return int(inputs.lengths.max()) + (inputs.n_shared if isinstance(inputs, PackedRows) else 0)


def cut(inputs: Inputs, index: Int[np.ndarray, "k rows"], most: int = TOKENS_PER_PASS) -> list[slice]:
    """The passes of rows that are sorted by length: packed ones as full as they may be, others by :func:`passes`.

    Args:
        index: rows of each of K adapters.
        most: tokens in a pass, those of all adapters counted; a pass has at least one row of each.
    """
    widths = inputs.lengths[index].max(0)
    if not isinstance(inputs, PackedRows):
        return passes(widths, len(index), most)
    room = most // len(index) - inputs.n_shared
    cuts, start, full = [], 0, 0
    for place, width in enumerate(widths):
        if full and full + width > room:
            cuts.append(slice(start, place))
            start, full = place, 0
        full += int(width)
    return [*cuts, slice(start, len(widths))]
