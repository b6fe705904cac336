"""A number per row that tells whether two rows have the same tokens, worked out on the device of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Number of a row whose input has no tokens: it repeats no other.
UNKNOWN = 0
_SEED = 2**61 - 1


def fingerprints(inputs: Mapping[str, Any], rows: int) -> Tensor:
    """(rows,) int64, sum_t w_t (token_t + 1) modulo 2^64 over the tokens of a row, w_t random and odd.

    Padding does not count, on whichever side it stands. Two rows of different tokens share a number with probability
    about 2^-60. :data:`UNKNOWN` for a batch without ``input_ids``.

    Args:
        inputs: inputs of the model by name.
        rows: number of rows of the batch.
    """
    tokens, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or len(tokens) != rows:
        device = next((one.device for one in inputs.values() if isinstance(one, Tensor)), None)
        return torch.full((rows,), UNKNOWN, dtype=torch.int64, device=device)
    if not isinstance(mask, Tensor) or mask.shape != tokens.shape:
        mask = torch.ones_like(tokens)
    mask = (mask > 0).long()
    drawn = torch.randint(-(2**62), 2**62, (tokens.shape[1] + 1,), generator=torch.Generator().manual_seed(_SEED))
    weights = (2 * drawn + 1).to(tokens.device)
    return (mask * weights[mask.cumsum(1)] * (tokens.long() + 1)).sum(1)
