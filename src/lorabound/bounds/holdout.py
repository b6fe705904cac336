"""Hold-out certificates: what fresh examples prove about one predictor (Langford 2005)."""

from __future__ import annotations

import math

from lorabound.bounds.tails import binomial_upper, kl_inverse
from lorabound.errors import InputError
from lorabound.notation import Bound

_FRESH = (
    "the n examples are independent and identically distributed",
    "nothing about the predictor was chosen by looking at them",
)


def holdout(errors: int, n_samples: int, delta: float) -> Bound:
    """R <= the largest R with P(Bin(n, R) <= errors) >= delta: the exact one-sided Clopper-Pearson limit.

    Args:
        errors: k, mistakes (0-1 loss) on the fresh examples.
        n_samples: n, fresh examples.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: Langford 2005, *Tutorial on Practical Prediction Theory for Classification*, Theorem 3.3.
    """
    limit = binomial_upper(errors, n_samples, delta)
    mean = errors / n_samples
    return Bound(
        value=limit,
        kind="risk",
        delta=delta,
        n_samples=n_samples,
        terms={"holdout_error": mean, "margin": limit - mean},
        combine="holdout_error + margin",
        theorem="Langford 2005, Theorem 3.3 (Clopper & Pearson 1934)",
        predictor="the predictor that was tested",
        scope="single run",
        assumptions=_FRESH,
        inputs={"errors": errors},
    )


def holdout_bounded(mean: float, n_samples: int, delta: float) -> Bound:
    """R <= kl_inverse(mean, ln(1/delta)/n) for a loss with values in [0, 1].

    Also for the average of several predictors' 0-1 losses: the risk of the predictor that picks one of
    them at random, whatever they are, as long as they were fixed before the examples were seen.

    Args:
        mean: average loss on the fresh examples, in [0, 1].
        n_samples: n, fresh examples, >= 1.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: Hoeffding 1963, Theorem 1 (inequality 2.1), inverted.
    """
    if not 0 < delta < 1:
        raise InputError(f"holdout_bounded: delta must lie in (0, 1), got {delta}")
    if n_samples < 1:
        raise InputError(f"holdout_bounded: n_samples must be >= 1, got {n_samples}")
    if not 0 <= mean <= 1:
        raise InputError(f"holdout_bounded: mean must lie in [0, 1], got {mean}")
    budget = math.log(1 / delta) / n_samples
    limit = float(kl_inverse(mean, budget))
    return Bound(
        value=limit,
        kind="risk",
        delta=delta,
        n_samples=n_samples,
        terms={"holdout_mean": mean, "margin": limit - mean},
        combine="holdout_mean + margin",
        theorem="Hoeffding 1963, Theorem 1",
        predictor="the predictor that was tested",
        scope="single run",
        assumptions=(*_FRESH, "the loss has values in [0, 1]"),
        inputs={"mean": mean},
    )
