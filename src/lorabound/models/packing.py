"""Rows of a decoder, packed: many rows in one sequence, and what all rows begin with only once.

A system prompt, an instruction, a template: chat data nearly always begin alike. A pass holds one sequence per adapter,

    [ beginning that all rows share | own tokens of row 1 | own tokens of row 2 | ... ],

and a mask: a token sees the beginning, the earlier tokens of its own row, and itself. Its position is that which it has
in its row alone, so every row is computed as if it stood alone, and nothing is padded. A row may end in branches, such
as one answer per class: tokens that see the row and the earlier tokens of their own branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One row of tokens.

    Attributes:
        ids: its tokens, without those of branches.
        learnt: whether each of ``ids`` is to be predicted from those before it.
        branches: answers that may follow, each without its last token, which nothing is predicted from.
    """

    ids: Sequence[int]
    learnt: Sequence[bool] = ()
    branches: Sequence[Sequence[int]] = ()


class Pack(NamedTuple):
    """One pass: token ids and positions (K, T), and which tokens (K, 1, T, T) each token sees."""

    ids: Int[Tensor, "k t"]
    positions: Int[Tensor, "k t"]
    seen: Bool[Tensor, "k 1 t t"]


class PackedRows:
    """n rows of tokens, to be packed.

    Attributes:
        lengths: (n,) own tokens of each row, without the shared beginning, branches included.
        n_shared: tokens that every row begins with, stored once.
        n_cut: always 0: a row that is too long is refused before.
    """

    n_cut = 0

    def __init__(self, rows: Sequence[Row]) -> None:
        """Find the shared beginning, and lay the rows one after the other.

        The token before the first one that is learnt is always the row's own, so that every prediction is made by an
        own token; the token that branches follow too.
        """
        self.n_shared = _shared(rows)
        ids: list[int] = []
        positions: list[int] = []
        branch: list[int] = []
        learnt: list[bool] = []
        lengths = []
        for row in rows:
            before = len(ids)
            n = len(row.ids)
            ids += row.ids[self.n_shared :]
            positions += range(self.n_shared, n)
            branch += [0] * (n - self.n_shared)
            learnt += (list(row.learnt) or [False] * n)[self.n_shared :]
            for number, answer in enumerate(row.branches, start=1):
                ids += answer
                positions += range(n, n + len(answer))
                branch += [number] * len(answer)
                learnt += [False] * len(answer)
            lengths.append(len(ids) - before)
        beginning = list(rows[0].ids[: self.n_shared]) if rows else []
        self.lengths: NDArray[np.int64] = np.array(lengths, dtype=np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        self.ids = torch.tensor(ids + beginning, dtype=torch.long)
        self.learnt = np.array(learnt + [False] * self.n_shared)
        self._positions = torch.tensor([*positions, *range(self.n_shared)], dtype=torch.long)
        self._branch = np.array(branch + [0] * self.n_shared, dtype=np.int32)
        self.n_learnt: NDArray[np.int64] = (
            np.add.reduceat(self.learnt[: len(ids)].astype(np.int64), self.starts) if rows else self.lengths
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows, the shared beginning counted once."""
        return len(self.ids)

    def begins(self, index: Int[np.ndarray, "k rows"]) -> Int[np.ndarray, " rows"]:
        """Where in a pass the own tokens of each row begin."""
        widths = self.lengths[index].max(0)
        begins: NDArray[np.int64] = self.n_shared + np.cumsum(widths) - widths
        return begins

    def places(self, index: Int[np.ndarray, "k rows"]) -> tuple[Int[np.ndarray, "k t"], Int[np.ndarray, "k t"]]:
        """Where each token of a pass is stored, and which row of the pass it is of: -1 the beginning, -2 none.

        The rows of the K adapters may differ in length; then each has as many places as the longest of them.
        """
        lengths = self.lengths[index]
        widths = lengths.max(0)
        owner = np.repeat(np.arange(index.shape[1]), widths)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(widths) - widths, widths)
        beyond = offset >= lengths[:, owner]
        token = self.starts[index][:, owner] + np.minimum(offset, lengths[:, owner] - 1)
        shared = len(self.ids) - self.n_shared + np.arange(self.n_shared)
        k = len(index)
        return (
            np.concatenate([np.tile(shared, (k, 1)), token], axis=1),
            np.concatenate([np.full((k, self.n_shared), -1), np.where(beyond, -2, owner)], axis=1),
        )

    def pack(self, index: Int[np.ndarray, "k rows"]) -> Pack:
        """The pass that holds the rows ``index[k]`` for adapter k."""
        token, owner = self.places(index)
        row = torch.from_numpy(owner)
        branch = torch.from_numpy(self._branch[token])
        alike = bool((row == row[:1]).all() and (branch == branch[:1]).all())
        if alike:  # as a rule: the rows of a stack have the same lengths
            row, branch = row[:1], branch[:1]
        of_row = (row[:, :, None] == row[:, None]) | (row[:, None] == -1)
        of_branch = (branch[:, :, None] == branch[:, None]) | (branch[:, None] == 0)
        seen = (of_row & of_branch).tril()
        places = torch.from_numpy(token)
        return Pack(self.ids[places], self._positions[places], seen[:, None])


def _shared(rows: Sequence[Row]) -> int:
    """Length of the longest beginning of all rows that leaves each a token of its own before the first prediction."""
    if not rows:
        return 0
    first = np.asarray(rows[0].ids)
    most = len(first)
    for row in rows:
        learnt = np.flatnonzero(row.learnt)
        most = min(most, (int(learnt[0]) if len(learnt) else len(row.ids)) - 1)
        ids = np.asarray(row.ids[:most])
        different = np.flatnonzero(ids != first[: len(ids)])
        most = min(most, int(different[0]) if len(different) else len(ids))
        if most <= 0:
            return 0
    return most
