"""Hold-out certificates: what fresh examples prove about one predictor (Langford 2005)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import number, probability, real, samples
from lorabound.bounds.tails import binomial_upper, kl_inverse
from lorabound.notation import Bound

_FRESH = (
    "the n examples are independent and identically distributed",
    "nothing about the predictor was chosen by looking at them",
)


def holdout(errors: ArrayLike, n_samples: ArrayLike, delta: float) -> Bound:
    """R <= the largest R with P(Bin(n, R) <= errors) >= delta: the exact one-sided Clopper-Pearson limit.

    Args:
        errors: k, mistakes (0-1 loss) on the fresh examples; scalar or array.
        n_samples: n, fresh examples; scalar or array.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: Langford 2005, *Tutorial on Practical Prediction Theory for Classification*, Theorem 3.3.
    """
    limit = np.asarray(binomial_upper(errors, n_samples, delta))
    mean = np.asarray(errors, dtype=np.float64) / np.asarray(n_samples, dtype=np.float64)
    return Bound(
        value=number(limit),
        kind="risk",
        delta=delta,
        n_samples=number(n_samples),
        terms={"holdout_error": number(mean), "margin": number(limit - mean)},
        combine="holdout_error + margin",
        theorem="Langford 2005, Theorem 3.3 (Clopper & Pearson 1934)",
        predictor="the predictor that was tested",
        scope="single run",
        assumptions=_FRESH,
        inputs={"errors": number(errors)},
    )


def holdout_bounded(mean: ArrayLike, n_samples: ArrayLike, delta: float) -> Bound:
    """R <= kl_inverse(mean, ln(1/delta)/n) for a loss with values in [0, 1].

    Also for the average of several predictors' 0-1 losses: the risk of the predictor that picks one of
    them at random, whatever they are, as long as they were fixed before the examples were seen.

    Args:
        mean: average loss on the fresh examples, in [0, 1]; scalar or array.
        n_samples: n, fresh examples, >= 1; scalar or array.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: Hoeffding 1963, Theorem 1 (inequality 2.1), inverted.
    """
    n = samples("holdout_bounded", n_samples)
    average = real("holdout_bounded", "mean", mean, 0.0, 1.0)
    limit = np.asarray(kl_inverse(average, -math.log(probability("holdout_bounded", "delta", delta)) / n))
    return Bound(
        value=number(limit),
        kind="risk",
        delta=delta,
        n_samples=number(n),
        terms={"holdout_mean": number(average), "margin": number(limit - average)},
        combine="holdout_mean + margin",
        theorem="Hoeffding 1963, Theorem 1",
        predictor="the predictor that was tested",
        scope="single run",
        assumptions=(*_FRESH, "the loss has values in [0, 1]"),
        inputs={"mean": number(average)},
    )
