"""From one vector per token to one vector per text, by the modes of sentence-transformers' ``Pooling``.

Rows are padded on the right. With h_1 .. h_T the token vectors of a text (those of a prompt left out where the folder
says so) the modes are

    cls  h_1      lasttoken  h_T      max  max_t h_t      mean  (1/T) sum_t h_t
    mean_sqrt_len_tokens  T^(-1/2) sum_t h_t      weightedmean  sum_t t h_t / sum_t t,  t the position in the whole text

Several modes stand one after the other in the vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Mode -> the flag by which older folders choose it; the order is that of several modes chosen by flags.
MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Pooling:
    """Token vectors to one vector.

    Attributes:
        modes: names out of ``MODES``.
        include_prompt: whether the tokens of a prompt are pooled too.
        n_prompt: tokens of the prompt at the front of every row.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    n_prompt: int = 0

    def __call__(
        self, hidden: Float[Tensor, "rows t width"], mask: Int[Tensor, "rows t"]
    ) -> Float[Tensor, "rows embedding"]:
        """``mask`` is 1 at tokens and 0 at padding."""
        if not self.include_prompt and self.n_prompt:
            mask = mask.clone()
            mask[:, : self.n_prompt] = 0
        return torch.cat([_POOLED[mode](hidden, mask) for mode in self.modes], dim=-1)


def _at(hidden: Tensor, position: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


def _first(hidden: Tensor, mask: Tensor) -> Tensor:
    return _at(hidden, mask.int().argmax(1))


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    return _at(hidden, mask.shape[1] - 1 - mask.int().flip(1).argmax(1))


def _largest(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).sqrt()


def _weighted(hidden: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(1, mask.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)
    weights = (mask * positions).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1)


_POOLED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
