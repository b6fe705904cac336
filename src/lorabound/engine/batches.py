"""Which rows meet in which step, and in which passes of the model.

Every run draws its examples as everyone does: its order is a uniformly random permutation, cut into batches of a fixed
number of rows. The permutation is drawn in two parts. First the lengths: a random arrangement of the multiset of all
lengths says how long the row at each place is. It belongs to the epoch alone, so at any step all runs of one training
size hold rows of the same lengths, and runs may be stacked or trained one by one with the same result. Then the rows:
each run puts its rows of a length, in an order of its own, in the places of that length. Every order of N rows has
probability 1/N! (ours: with n_l rows of length l there are N!/prod(n_l!) arrangements, all equally likely, and
prod(n_l!) ways to fill one, all equally likely), and whether a row is in a batch never depends on the length of a later
one.

A batch goes through the model in passes, whose gradients add up: rows of one length each, where the start-up of one
more pass costs less than the padding it saves. Philox words, sorted, make every order the same under every NumPy
release.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Index = Int[np.ndarray, " _"]

# Tokens a pass may hold: enough to fill the matrix units, few enough for activations to stay near the caches.
TOKENS_PER_PASS = 2048
# The start-up of a pass, in tokens that could have been computed meanwhile (a small encoder on a CPU).
_START_UP = 32


def epoch_batches(lengths: Index, batch_size: int, seeds: Sequence[int], epoch: int) -> list[Int[np.ndarray, "k _"]]:
    """The batches of one epoch for K runs at once.

    Args:
        lengths: (N,) tokens of each training example.
        batch_size: rows of one run in one step; the last batch of an epoch may be smaller.
        seeds: one per run.
    Returns:
        One (K, rows) array of example indices per step; each run sees each example once. The rows of a step are sorted
        by length, which changes nothing: its loss is their mean.
    """
    n = len(lengths)
    arranged = lengths[_permutation(n, "lengths", 0, epoch)]
    places = np.argsort(arranged, kind="stable")
    orders = np.empty((len(seeds), n), dtype=np.int64)
    for order, seed in zip(orders, seeds, strict=True):
        shuffled = _permutation(n, "rows", seed, epoch)
        order[places] = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    steps = [slice(start, start + batch_size) for start in range(0, n, batch_size)]
    return [orders[:, step][:, np.argsort(arranged[step], kind="stable")] for step in steps]


def passes(lengths: Index, copies: int = 1, most: int = TOKENS_PER_PASS) -> list[slice]:
    """Cut rows, in order of length, into the passes that cost least: start-up plus tokens, padding included.

    Args:
        lengths: (rows,) tokens, ascending.
        copies: number of times that a pass holds each row: once for each of K adapters.
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
        cuts += [slice(first, min(first + rows, end)) for first in range(begin, end, rows)]
        k = int(np.searchsorted(ends, begin)) + 1 if begin else 0
    return sorted(cuts, key=lambda cut: cut.start)


def _permutation(n: int, what: str, seed: int, epoch: int) -> Index:
    key = int.from_bytes(f"{what}:{seed}:{epoch}".encode(), "little")
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(n), kind="stable")
