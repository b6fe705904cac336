"""Attention for rows of a few tokens: several rows share one tile, so that nothing small is computed on its own.

Library kernels are made for hundreds of tokens. A word is five: one 5 x 5 product per row and head, whose start-up
costs more than its arithmetic. Here g rows of length L lie in a tile of T = 16, 32, ... tokens, g L <= T, and a mask
keeps rows to themselves:

    O = softmax(s Q K^T + mask) V     for Q, K, V (ceil(rows/g) * heads, T, d_head),  mask -inf between rows
                                      and on the padding that ends a row.

Registered with transformers as ``short_rows``. Anything but bidirectional self-attention on a CPU, whole or without
padding, goes to PyTorch's own kernel, as it would without us. In bfloat16 the scores are rounded before the softmax:
the output is off by twice what the library's kernel is on words, by up to five times on rows of 200 tokens (0.009 for
standard normal inputs).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lorabound.stack import n_stacked

NAME = "short_rows"
# Rows longer than this are the library kernel's business. Its bfloat16 backward pass on a CPU is slow (2-10 times
# ours up to here), its float32 one is not.
_LONGEST = {torch.float32: 32, torch.bfloat16: 256}
_STEP = 16  # float32 lanes of a vector register


def short_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention output (rows, length, heads, d_head) of query, key, value (rows, heads, length, d_head)."""
    rows, heads, length, width = query.shape
    ours = (
        query.device.type == "cpu"
        and rows % n_stacked() == 0
        and (attention_mask is None or _only_padding(attention_mask, rows, length))
        and length <= _LONGEST.get(query.dtype, 0)
        and query.shape == key.shape == value.shape
        and getattr(module, "is_causal", True) is False
        and not options.get("is_causal")
        and options.get("position_bias") is None
        and dropout == 0.0
    )
    if not ours:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    layout = _layout(rows // n_stacked(), length, n_stacked())
    mask = _between_rows(layout.group, length, layout.tile, query.dtype)
    if attention_mask is not None:
        padding = torch.zeros(rows, length, dtype=query.dtype).masked_fill_(~attention_mask[:, 0, 0], -torch.inf)
        mask = (mask + _tiles(padding[..., None, None], layout).mT).repeat_interleave(heads, 0)
    scale = width**-0.5 if scaling is None else scaling
    return _TiledAttention.apply(query, key, value, scale, mask, layout), None  # type: ignore[no-untyped-call]


def _only_padding(mask: Tensor, rows: int, length: int) -> bool:
    """Whether a mask (rows, 1, queries, keys) hides the same keys from every query, and no row whole."""
    if mask.dtype != torch.bool or mask.shape not in ((rows, 1, length, length), (rows, 1, 1, length)):
        return False
    keys = mask[:, :, :1]
    return bool((mask == keys).all() and keys.any(-1).all())


class _Layout(NamedTuple):
    """How rows lie in tiles: ``group`` rows of ``length`` tokens in each; a tile never holds rows of two adapters,
    so that what one of them turns into infinities stays its own."""

    adapters: int
    rows: int  # of one adapter
    length: int
    group: int
    tile: int


@functools.lru_cache(maxsize=1024)
def _layout(rows: int, length: int, adapters: int) -> _Layout:
    """The layout that computes least: ceil(rows / group) tiles of T^2 scores each."""
    groups = range(1, max(1, min(rows, 2 * _STEP // length)) + 1)
    tiles = {group: -(-group * length // _STEP) * _STEP for group in groups}
    group = min(groups, key=lambda group: -(-rows // group) * tiles[group] ** 2)
    return _Layout(adapters, rows, length, group, tiles[group])


@functools.lru_cache(maxsize=256)
def _between_rows(group: int, length: int, tile: int, dtype: torch.dtype) -> Tensor:
    """0 within a row, -inf between rows. What fills up the tile is a row of its own."""
    row = torch.arange(tile) // length
    row[group * length :] = group
    return torch.zeros(tile, tile, dtype=dtype).masked_fill_(row[:, None] != row, -torch.inf)


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor, layout: _Layout
    ) -> Tensor:
        q, k, v = (_tiles(x.transpose(1, 2), layout) for x in (query, key, value))
        scores = torch.baddbmm(mask.expand(len(q), -1, -1), q, k.mT, alpha=scale)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale, ctx.layout = scale, layout
        return _rows(torch.bmm(weights, v), query.shape[1], layout)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, weights = ctx.saved_tensors
        g = _tiles(gradient, ctx.layout)
        through = torch.bmm(g, v.mT).float()
        scores = torch._softmax_backward_data(through, weights.float(), -1, torch.float32)
        scores = (scores * ctx.scale).to(q.dtype)
        tiles = torch.bmm(scores, k), torch.bmm(scores.mT, q), torch.bmm(weights.mT, g)
        dq, dk, dv = (_rows(x, gradient.shape[2], ctx.layout).transpose(1, 2) for x in tiles)
        return dq, dk, dv, None, None, None


def _tiles(x: Tensor, layout: _Layout) -> Tensor:
    """(rows, L, heads, d) -> (tiles * heads, T, d), zeros where a tile is not full."""
    heads, width = x.shape[2:]
    x = x.reshape(layout.adapters, layout.rows, layout.length, heads, width)
    full, rest = divmod(layout.rows, layout.group)
    tiles = x.new_zeros(layout.adapters, full + (rest > 0), heads, layout.tile, width)
    packed = x[:, : full * layout.group].reshape(layout.adapters, full, layout.group * layout.length, heads, width)
    tiles[:, :full, :, : layout.group * layout.length] = packed.transpose(2, 3)
    if rest:
        last = x[:, full * layout.group :].reshape(layout.adapters, rest * layout.length, heads, width)
        tiles[:, full, :, : rest * layout.length] = last.transpose(1, 2)
    return tiles.view(-1, layout.tile, width)


def _rows(tiles: Tensor, heads: int, layout: _Layout) -> Tensor:
    """The way back: (tiles * heads, T, d) -> (rows, L, heads, d)."""
    width = tiles.shape[-1]
    full, rest = divmod(layout.rows, layout.group)
    tiles = tiles.view(layout.adapters, -1, heads, layout.tile, width)
    x = tiles.new_empty(layout.adapters, layout.rows, layout.length, heads, width)
    packed = x[:, : full * layout.group].view(layout.adapters, full, layout.group * layout.length, heads, width)
    packed.copy_(tiles[:, :full, :, : layout.group * layout.length].transpose(2, 3))
    if rest:
        last = x[:, full * layout.group :].view(layout.adapters, rest * layout.length, heads, width)
        last.copy_(tiles[:, full, :, : rest * layout.length].transpose(1, 2))
    return x.view(-1, layout.length, heads, width)


AttentionInterface.register(NAME, short_rows)
AttentionMaskInterface.register(NAME, sdpa_mask)
