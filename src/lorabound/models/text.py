"""Tokenized texts, batched by padding on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor


class TokenizedTexts:
    """Token ids of n texts.

    Attributes:
        lengths: (n,), tells the engine which rows may share a batch cheaply.
        n_cut: how many texts were longer than the limit and lost their end.
    """

    def __init__(self, token_ids: Sequence[Sequence[int]], pad_id: int = 0, n_cut: int = 0) -> None:
        self.n_cut = n_cut
        self.lengths: NDArray[np.int64] = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        self._padded = torch.full((len(token_ids), int(self.lengths.max(initial=1))), pad_id, dtype=torch.long)
        for row, ids in enumerate(token_ids):
            self._padded[row, : len(ids)] = torch.tensor(ids)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, index: Int[np.ndarray, " rows"]) -> tuple[Int[Tensor, "rows longest"], Int[Tensor, "rows longest"]]:
        """Token ids and attention mask of the rows ``index``: (rows, longest) each, int64."""
        lengths = torch.from_numpy(self.lengths[index])
        width = int(lengths.max())
        mask = (torch.arange(width) < lengths[:, None]).long()
        return self._padded[torch.from_numpy(index), :width], mask
