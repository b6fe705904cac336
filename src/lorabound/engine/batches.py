"""Which rows meet in which step: batches of one length, so that there is almost no padding.

Rows of similar length share a batch, in a random order within each length; batches are visited in a random
order. The first shuffle belongs to the run's seed and the epoch, the second to the epoch alone, so at any step all
runs of one training size hold batches of the same lengths, and runs may be stacked or trained one by one
with the same result. Philox words, sorted, make the order the same under every NumPy release.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Index = Int[np.ndarray, " _"]


def epoch_batches(lengths: Index, batch_size: int, seeds: Sequence[int], epoch: int) -> list[Int[np.ndarray, "k _"]]:
    """The batches of one epoch for K runs at once.

    Args:
        lengths: (N,) tokens of each training example.
        batch_size: rows of one run in one step; the last batch in order of length may be smaller.
        seeds: one a run.
    Returns:
        One (K, rows) array of example indices a step; each run sees each example once.
    """
    n = len(lengths)
    orders = []
    for seed in seeds:
        shuffled = _permutation(n, "rows", seed, epoch)
        orders.append(shuffled[np.argsort(lengths[shuffled], kind="stable")])
    by_length = np.stack(orders)
    starts = np.arange(0, n, batch_size)
    return [by_length[:, starts[b] : starts[b] + batch_size] for b in _permutation(len(starts), "batches", 0, epoch)]


def length_batches(lengths: Index, batch_size: int) -> list[Index]:
    """All rows once, in order of length, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _permutation(n: int, what: str, seed: int, epoch: int) -> Index:
    key = int.from_bytes(f"{what}:{seed}:{epoch}".encode(), "little")
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(n), kind="stable")
