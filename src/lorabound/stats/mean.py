"""Means of a crossed design, draws x training samples x test examples, with the sources of chance kept apart.

Every draw of the frozen factor (a seed) is trained on every training sample, and every run is measured on the same n
test examples. The loss of seed f, sample s on example i is x[f, s, i] = mu + F_f + T_s + I_fs + b_i + e_fsi. The mean
over all of them varies for three reasons:

    spread across draws      se_draw^2   = Var_f(mean over s, i) / F
    spread across samples    se_sample^2 = Var_s(mean over f, i) / S
    test sampling            se_test^2   = Var_i(mean over f, s) / n

More seeds shrink the first, more samples the second, more test examples the third. Their sum counts the interaction I
twice (Var(I)/(F S)) and the residual e up to three times, which makes the interval wide rather than narrow. With one
sample there is no spread across samples to see: the interval then speaks of that sample alone. All parts are Student
approximations: where all but about ten of the test losses are equal (an error rate near 0 or 1) the interval is too
narrow, and where all are equal its test part has width 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lorabound.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CrossedMean:
    """A mean over draws, training samples and test examples.

    Attributes:
        mean: mean over seeds, samples and test examples.
        se_draw: standard error from the spread across draws; nan with one seed.
        se_sample: standard error from the spread across training samples; nan with one sample.
        se_test: standard error from test sampling.
        low, high: ends of the interval of the given level, from all parts that are there; with one seed (one sample) it
            speaks of that draw (that sample) alone.
        n_seeds, n_samples, n_test: numbers of seeds, training samples and test examples.
        level: coverage of the interval.
    """

    mean: float
    se_draw: float
    se_sample: float
    se_test: float
    low: float
    high: float
    n_seeds: int
    n_samples: int
    n_test: int
    level: float


def crossed_mean(test_losses: ArrayLike, offsets: ArrayLike = 0.0, level: float = 0.95) -> CrossedMean:
    """Mean of ``test_losses`` minus ``offsets`` over seeds and samples, with an interval.

    half-width^2 = (t_{F-1} se_draw)^2 + (t_{S-1} se_sample)^2 + (t_{n-1} se_test)^2,

    t the two-sided Student quantile of the level; parts with one seed or one sample are left out.

    Args:
        test_losses: (F, n), the loss of seed f on test example i; or (F, S, n) with S training samples.
        offsets: (F,) or (F, S), subtracted from each run's mean: its training loss, when a gap is wanted. With one
            sample the training sample is given: its own sampling is no part of the interval.
        level: coverage, in (0, 1).
    Raises:
        InputError: fewer than two test examples, or shapes that do not agree.
    Source: three-way random-effects layout without replication (Scheffe 1959, ch. 7); ours in adding the half-widths in
        quadrature, held to the level by simulation (``tests/stats/test_stats.py``).
    """
    given = np.asarray(test_losses, dtype=np.float64)
    losses = given[:, None] if given.ndim == 2 else given
    if losses.ndim != 3 or min(losses.shape[:2]) < 1 or losses.shape[2] < 2:
        raise InputError(
            f"crossed_mean: need (seeds, >= 2 test examples) or (seeds, samples, >= 2), got shape {given.shape}"
        )
    n_seeds, n_samples, n_test = losses.shape
    taken = np.asarray(offsets, dtype=np.float64)
    values = losses.mean(axis=2) - np.broadcast_to(taken[:, None] if taken.ndim == 1 else taken, (n_seeds, n_samples))
    mean = float(values.mean())
    se_test = float(losses.mean(axis=1).mean(axis=0).std(ddof=1)) / math.sqrt(n_test)
    half = -float(special.stdtrit(n_test - 1, (1 - level) / 2)) * se_test
    se_draw, se_sample = (_standard_error(over_others) for over_others in (values.mean(axis=1), values.mean(axis=0)))
    for error, count in ((se_draw, n_seeds), (se_sample, n_samples)):
        if count > 1:
            half = math.hypot(half, float(special.stdtrit(count - 1, (1 - level) / 2)) * error)
    return CrossedMean(
        mean=mean,
        se_draw=se_draw,
        se_sample=se_sample,
        se_test=se_test,
        low=mean - half,
        high=mean + half,
        n_seeds=n_seeds,
        n_samples=n_samples,
        n_test=n_test,
        level=level,
    )


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean; nan for one value."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
