"""Means of a crossed design, draws x test examples, with the two sources of chance kept apart.

Every draw of the frozen factor (a seed) is measured on the same n test examples. The loss of seed s on
example i is x[s, i] = mu + a_s + b_i + e_si, so the mean over all of them varies for two reasons:

    spread across draws    se_draw^2 = Var_s(mean_i x[s, i]) / S
    test sampling          se_test^2 = Var_i(mean_s x[s, i]) / n

More seeds shrink the first, more test examples the second. Their sum counts the residual e twice
(Var(e) / (S n)), which makes the interval wide rather than narrow. Both parts
are Student approximations: where all but about ten of the test losses are equal (an error rate near 0 or 1) the
interval is too narrow, and where all are equal its test part has width 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.errors import InputError


@dataclass(frozen=True)
class CrossedMean:
    """A mean over draws and test examples.

    Attributes:
        mean: over seeds and test examples.
        se_draw: standard error from the spread across draws; nan with one seed.
        se_test: standard error from test sampling.
        low, high: interval of the given level, from both; with one seed from test sampling only, and then
            it speaks of that draw alone.
        n_seeds, n_test, level: what it rests on.
    """

    mean: float
    se_draw: float
    se_test: float
    low: float
    high: float
    n_seeds: int
    n_test: int
    level: float


def crossed_mean(test_losses: ArrayLike, offsets: ArrayLike = 0.0, level: float = 0.95) -> CrossedMean:
    """Mean of ``test_losses`` minus ``offsets`` over seeds, with an interval.

    half-width^2 = (t_{S-1} se_draw)^2 + (t_{n-1} se_test)^2, t the two-sided Student quantile of the level.

    Args:
        test_losses: (S, n), the loss of seed s on test example i.
        offsets: (S,), subtracted from each seed's mean: its training loss, when a gap is wanted. The
            training sample is given: its own sampling is no part of the interval.
        level: coverage, in (0, 1).
    Raises:
        InputError: fewer than two test examples, or shapes that do not agree.
    Source: two-way random-effects layout without replication (Scheffe 1959, ch. 7); ours in adding the
        two half-widths in quadrature.
    """
    losses = np.asarray(test_losses, dtype=np.float64)
    if losses.ndim != 2 or losses.shape[0] < 1 or losses.shape[1] < 2:
        raise InputError(f"crossed_mean: need (seeds, >= 2 test examples), got shape {losses.shape}")
    n_seeds, n_test = losses.shape
    values = losses.mean(axis=1) - np.broadcast_to(np.asarray(offsets, dtype=np.float64), (n_seeds,))
    mean = float(values.mean())
    se_test = float(losses.mean(axis=0).std(ddof=1)) / math.sqrt(n_test)
    half = -float(special.stdtrit(n_test - 1, (1 - level) / 2)) * se_test
    se_draw = math.nan
    if n_seeds > 1:
        se_draw = float(values.std(ddof=1)) / math.sqrt(n_seeds)
        half = math.hypot(half, float(special.stdtrit(n_seeds - 1, (1 - level) / 2)) * se_draw)
    return CrossedMean(mean, se_draw, se_test, mean - half, mean + half, n_seeds, n_test, level)
