"""Which rows meet in which step, and in which passes of the model, so that next to nothing is padding.

Rows of similar length share a batch, in a random order within each length; batches are visited in a random
order. The first shuffle belongs to the run's seed and the epoch, the second to the epoch alone, so at any step all
runs of one training size hold batches of the same lengths, and runs may be stacked or trained one by one
with the same result. Philox words, sorted, make the order the same under every NumPy release.

A batch goes through the model in passes, whose gradients add up: rows of one length each, where the start-up
of one more pass costs less than the padding it saves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Index = Int[np.ndarray, " _"]

# Tokens a pass may hold: enough to fill the matrix units, few enough for activations to stay near the caches.
TOKENS_PER_PASS = 2048
# The start-up of a pass, in tokens that could have been computed meanwhile (a small encoder on a CPU).
_START_UP = 64


def epoch_batches(lengths: Index, batch_size: int, seeds: Sequence[int], epoch: int) -> list[Int[np.ndarray, "k _"]]:
    """The batches of one epoch for K runs at once.

    Args:
        lengths: (N,) tokens of each training example.
        batch_size: rows of one run in one step; the last batch in order of length may be smaller.
        seeds: one a run.
    Returns:
        One (K, rows) array of example indices a step, rows in order of length; each run sees each example once.
    """
    n = len(lengths)
    orders = []
    for seed in seeds:
        shuffled = _permutation(n, "rows", seed, epoch)
        orders.append(shuffled[np.argsort(lengths[shuffled], kind="stable")])
    by_length = np.stack(orders)
    starts = np.arange(0, n, batch_size)
    return [by_length[:, starts[b] : starts[b] + batch_size] for b in _permutation(len(starts), "batches", 0, epoch)]


def passes(lengths: Index, copies: int = 1, most: int = TOKENS_PER_PASS) -> list[slice]:
    """Cut rows, in order of length, into the passes that cost least: start-up plus tokens, padding included.

    Args:
        lengths: (rows,) tokens, ascending.
        copies: how often a pass holds each row: once for each of K adapters.
        most: tokens in a pass, copies counted; a pass has at least one row.
    Source: ours; shortest path over the places where the length changes, exact as long as no pass exceeds ``most``:
        longer ones are then cut where they are full.
    """
    ends = np.append(np.flatnonzero(np.diff(lengths)) + 1, len(lengths))  # a pass ends where the length changes
    cost, start = [0.0], [0]  # of the cheapest way to the k-th end, and where its last pass starts
    for k, end in enumerate(ends):
        width = int(lengths[end - 1])
        begins = [0, *ends[:k]]
        totals = [cost[j] + _START_UP + copies * width * (end - begin) for j, begin in enumerate(begins)]
        best = int(np.argmin(totals))
        cost.append(totals[best])
        start.append(int(begins[best]))
    cuts: list[slice] = []
    k = len(ends)
    while k > 0:
        begin, end = start[k], int(ends[k - 1])
        rows = max(1, most // (copies * int(lengths[end - 1])))
        cuts += [slice(at, min(at + rows, end)) for at in range(begin, end, rows)]
        k = int(np.searchsorted(ends, begin)) + 1 if begin else 0
    return sorted(cuts, key=lambda cut: cut.start)


def _permutation(n: int, what: str, seed: int, epoch: int) -> Index:
    key = int.from_bytes(f"{what}:{seed}:{epoch}".encode(), "little")
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(n), kind="stable")
