"""Who wins more often: the exact sign test on paired losses, where sizes of differences are not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.arguments import real
from lorabound.errors import InputError

# Differences below this are ties: sums of the same shares in another order differ by rounding.
TIE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What pairs say about a first and a second.

    Attributes:
        won: number of pairs in which the first has the smaller loss.
        lost: number of pairs in which it has the larger one.
        tied: number of pairs without a difference.
    """

    won: int
    lost: int
    tied: int

    @property
    def p(self) -> float:
        """Two-sided p-value of "a pair is as often won as lost", min(1, 2 P(Bin(won + lost, 1/2) <= min(won, lost))).

        Exact where pairs are independent. Ties say nothing and are left out; without any other pair it is 1. For 0-1
        losses of two classifiers this is McNemar's test in its exact form.

        Source: Dixon & Mood 1946 (sign test); McNemar 1947.
        """
        decided = self.won + self.lost
        return min(1.0, 2 * float(special.bdtr(min(self.won, self.lost), decided, 0.5))) if decided else 1.0


def signs(first: ArrayLike, second: ArrayLike) -> Signs:
    """Count the pairs that the first wins, loses and ties; the smaller loss wins.

    Args:
        first, second: losses of pair i, (n,), n >= 1.
    Raises:
        InputError: shapes that do not agree, no pair, or losses that are not finite.

    >>> counted = signs([0, 0, 0, 1, 1], [1, 1, 1, 1, 0])
    >>> counted, counted.p
    (Signs(won=3, lost=1, tied=1), 0.625)
    """
    pairs = [
        real("signs", name, losses, -np.inf, open_low=True, open_high=True)
        for name, losses in (("first", first), ("second", second))
    ]
    if pairs[0].ndim != 1 or pairs[0].shape != pairs[1].shape or not len(pairs[0]):
        raise InputError(f"signs: need two lists of as many losses, got shapes {pairs[0].shape} and {pairs[1].shape}")
    difference = pairs[0] - pairs[1]
    won, lost = int((difference < -TIE).sum()), int((difference > TIE).sum())
    return Signs(won=won, lost=lost, tied=len(difference) - won - lost)
