"""Certificates from the losses of training itself: every example is tested before the update that uses it.

Examples z_1, z_2, ... arrive one after the other, independent and identically distributed. h_(t-1) is the predictor
that stands before z_t has been used for anything. Over a window of n examples, Z_t = loss(h_(t-1), z_t) in [0, 1] is
what was measured, p_t = R(h_(t-1)) the error on new data. Each bound here limits pbar = mean p_t from the Z_t.

One fact carries them all. For a fixed a in (0, 1), prod (1 - a Z_t)/(1 - a p_t) is a martingale that starts at 1, so
it exceeds 1/delta at some time with probability at most delta (Ville). That holds for every n at once, whatever the
training makes of the past, as long as a and the start of the window are fixed before the window.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from lorabound.arguments import Array, number, probability, real, samples
from lorabound.bounds.tails import binomial_upper, kl_inverse
from lorabound.errors import InputError
from lorabound.notation import Bound

# Rounding of a value that ends in expm1 and a division: a few units in the last place, paid upwards.
_ROUNDING = 1e-14
# Where ``best_lam`` and ``best_a`` look; a = 1 - e^-36 differs from 1 by 2e-16.
_LAM = (1e-9, 36.0)
_A = (1e-9, 1 - 1e-9)

_CHECKPOINT = "a predictor drawn at random from those that stood before each example of the window"
_ONE_PASS = (
    "the examples are independent and identically distributed, in an order that does not depend on them",
    "each predictor was fixed before its example was used for anything, its length included",
    "the window and its constant were fixed before the window began",
)
_LOSS = "the loss has values in [0, 1]"


def progressive(mean_loss: ArrayLike, n_samples: ArrayLike, delta: float, *, lam: float) -> Bound:
    """pbar <= (1 - exp(-lam Zbar - ln(1/delta)/n)) / (1 - e^-lam), for all n at once.

    Written for 0-1 losses; it holds for every loss in [0, 1], where :func:`progressive_losses` is tighter.

    Args:
        mean_loss: Zbar, mean loss before the update over the window, in [0, 1]; scalar or array.
        n_samples: n, examples in the window, >= 1; scalar or array.
        delta: failure probability, in (0, 1).
        lam: constant > 0, fixed before the window; :func:`best_lam` gives one from the examples before it.
    Raises:
        InputError: an argument outside its range.
    Source: ours. ln(1 - a Z) >= -lam Z for Z in [0, 1] and a = 1 - e^-lam, since ln is concave and both sides agree
        at 0 and 1; then as :func:`progressive_losses`.
    """
    name = "progressive"
    n, mean = samples(name, n_samples), real(name, "mean_loss", mean_loss, 0.0, 1.0)
    rate = _lam(name, lam)
    value = _upper(rate * mean - math.log(probability(name, "delta", delta)) / n, -math.expm1(-rate), mean)
    return _one_pass(value, mean, n, delta, {"lam": rate})


def progressive_losses(losses: ArrayLike, delta: float, *, a: float) -> Bound:
    """pbar <= (1 - exp(mean_t ln(1 - a Z_t) - ln(1/delta)/n)) / a, for all n at once.

    Args:
        losses: (n,) Z_1 .. Z_n, losses before the update in the order of the examples, each in [0, 1].
        delta: failure probability, in (0, 1).
        a: constant in (0, 1), fixed before the window; :func:`best_a` gives one from the losses before it.
    Raises:
        InputError: an argument outside its range, or no loss.
    Source: ours. E[1 - a Z_t | past] = 1 - a p_t makes prod (1 - a Z_t)/(1 - a p_t) a martingale; Ville 1939 for all
        n at once; p -> -ln(1 - a p) is convex, so n (-ln(1 - a pbar)) <= sum_t -ln(1 - a p_t) (Jensen).
        Progressive validation: Blum, Kalai & Langford 1999; Cesa-Bianchi, Conconi & Gentile 2004.
    """
    name = "progressive_losses"
    z = _sequence(name, "losses", losses, 0.0, 1.0)
    share = _share(name, a)
    n, mean = len(z), math.fsum(z) / len(z)
    exponent = (-math.fsum(np.log1p(-share * z)) - math.log(probability(name, "delta", delta))) / n
    return _one_pass(_upper(exponent, share, mean), mean, n, delta, {"a": share})


def paired_gain(differences: ArrayLike, delta: float, *, a: float) -> Bound:
    """Mean gain >= (exp(mean_t ln(1 + a Z_t) - ln(1/delta)/n) - 1) / a, for all n at once.

    Z_t = loss(h_0, z_t) - loss(h_(t-1), z_t) for a predictor h_0 fixed before the data, such as the model without an
    adapter; the gain is how much lower the error on new data is, R(h_0) - R(h_(t-1)), averaged over the window.

    Args:
        differences: (n,) Z_1 .. Z_n in the order of the examples, each in [-1, 1].
        delta: failure probability, in (0, 1).
        a: constant in (0, 1), fixed before the window; :func:`best_a` of the differences before it gives one.
    Raises:
        InputError: an argument outside its range, or no difference.
    Source: ours. prod (1 + a Z_t)/(1 + a mu_t) is a martingale that starts at 1 (mu_t the conditional mean), Ville
        1939; ln(1 + a mu) is concave in mu (Jensen). The bet a is fixed: one that follows the past makes it false.
    """
    name = "paired_gain"
    z = _sequence(name, "differences", differences, -1.0, 1.0)
    share = _share(name, a)
    n, mean = len(z), math.fsum(z) / len(z)
    exponent = (math.fsum(np.log1p(share * z)) + math.log(probability(name, "delta", delta))) / n
    value = math.expm1(exponent) / share
    value = min(value - _ROUNDING * (abs(value) + abs(exponent) / share), mean)
    return Bound(
        value=value,
        kind="gain",
        delta=delta,
        n_samples=n,
        terms={"mean_gain": mean, "margin": value - mean},
        combine="mean_gain + margin",
        theorem="progressive validation, paired (ours; Ville 1939)",
        predictor=_CHECKPOINT,
        scope="single run",
        assumptions=(*_ONE_PASS, "the predictor it is compared with was fixed before the data", _LOSS),
        direction="lower",
        inputs={"a": share},
    )


def cross_fit(mean_loss: ArrayLike, n_samples: ArrayLike, folds: int, delta: float, *, lam: float) -> Bound:
    """Rbar <= (1 - exp(-lam Zbar - (K/N) ln(1/delta))) / (1 - e^-lam), K predictors tested on the folds they lacked.

    Fold j of n_j examples tests the predictor that was trained on the other folds, for as many epochs as it took;
    Rbar = sum_j (n_j/N) R_j.

    Args:
        mean_loss: Zbar, mean loss over all N examples, each from the predictor that did not see it, in [0, 1].
        n_samples: N, examples in all folds together, >= K; scalar or array.
        folds: K, number of folds, >= 1.
        delta: failure probability, in (0, 1).
        lam: constant > 0, fixed before the data.
    Raises:
        InputError: an argument outside its range, or fewer examples than folds.
    Source: ours. Given the other folds, exp(n_j (-ln(1 - a R_j) + mean_j ln(1 - a Z))) has mean at most 1, and so has
        its average over j; Markov, then Jensen for exp and for -ln(1 - a R).
    """
    name = "cross_fit"
    n, mean = samples(name, n_samples), real(name, "mean_loss", mean_loss, 0.0, 1.0)
    k = float(real(name, "folds", folds, 1.0, open_high=True, whole=True))
    if np.any(n < k):
        raise InputError(f"{name}: n_samples must be at least folds = {k:g}, got {float(np.min(n)):g}")
    rate = _lam(name, lam)
    value = _upper(rate * mean - k * math.log(probability(name, "delta", delta)) / n, -math.expm1(-rate), mean)
    return Bound(
        value=number(value),
        kind="risk",
        delta=delta,
        n_samples=number(n),
        terms={"cross_fit_loss": number(mean), "margin": number(value - mean)},
        combine="cross_fit_loss + margin",
        theorem="cross-fit validation (ours)",
        predictor=f"one of the {k:g} predictors, fold j's with probability n_j/N",
        scope="single run",
        assumptions=(
            "the examples are independent and identically distributed",
            "each predictor was trained without the fold that tests it, and nothing was tuned on that fold",
            "the folds and the constant were fixed before the data",
            _LOSS,
        ),
        inputs={"folds": k, "lam": rate},
    )


def disagreement(
    late: Bound, differing: int, n_unlabelled: int, delta: float, predictor: str = "the final adapter"
) -> Bound:
    """R(g) <= pbar + P(g differs from a random predictor of the window), for any g: the final adapter, say.

    Each of m unlabelled inputs gets a predictor of its own, drawn at random from those of the window; ``differing``
    counts the inputs on which g predicts another class. Holds with probability >= 1 - (delta of ``late`` + ``delta``).

    Args:
        late: bound of :func:`progressive` or :func:`progressive_losses` on pbar, for the 0-1 loss.
        differing: inputs on which g and the drawn predictor differ, 0 <= differing <= m.
        n_unlabelled: m, inputs that g was never trained on and that were not looked at before g was fixed.
        delta: failure probability of the count, in (0, 1).
        predictor: name of g, in words.
    Raises:
        InputError: an argument outside its range, a bound on something else, or deltas that add up to 1 or more.
    Source: ours. loss(g, z) <= loss(h, z) + 1[g(x) != h(x)]; Clopper & Pearson 1934 for the second.
    """
    name = "disagreement"
    if late.kind != "risk" or late.direction != "upper" or late.predictor != _CHECKPOINT or np.ndim(late.value):
        raise InputError(f"{name}: late must be one bound of progressive or progressive_losses, got {late.theorem}")
    assert late.delta is not None
    limit = float(binomial_upper(differing, n_unlabelled, delta))
    if not late.delta + delta < 1:
        raise InputError(f"{name}: the deltas must add up to less than 1, got {late.delta:g} and {delta:g}")
    return Bound(
        value=float(late.value) + limit,
        kind="risk",
        delta=late.delta + delta,
        n_samples=late.n_samples,
        terms={"checkpoint": late.value, "disagreement": limit},
        combine="checkpoint + disagreement",
        theorem=f"{late.theorem}; disagreement on unlabelled inputs (ours; Clopper & Pearson 1934)",
        predictor=predictor,
        scope="single run",
        assumptions=(
            *late.assumptions,
            "the loss is the 0-1 loss",
            "the unlabelled inputs are independent draws of the same population, and no training has seen them",
            "each unlabelled input was given its own random predictor of the window",
        ),
        inputs={**late.inputs, "differing": differing, "n_unlabelled": n_unlabelled, "late_delta": late.delta},
    )


def best_lam(mean_loss: float, n_samples: float, delta: float) -> float:
    """The lam that makes :func:`progressive` least: lam = ln( x (1-m) / (m (1-x)) ), x = kl_inverse(m, ln(1/delta)/n).

    Take the mean from the examples before the window, never from the window itself. From k errors among s examples,
    m = (k + 1/2)/(s + 1) is never 0 or 1.

    Args:
        mean_loss: m, expected mean loss in the window, in [0, 1].
        n_samples: n, examples the window will have, >= 1.
        delta: failure probability, in (0, 1).
    Returns:
        lam in [1e-9, 36].
    Raises:
        InputError: an argument outside its range.
    Source: ours; the dual form of kl(m || x) = ln(1/delta)/n.
    """
    name = "best_lam"
    m = float(real(name, "mean_loss", mean_loss, 0.0, 1.0))
    n = float(samples(name, n_samples))
    x = float(kl_inverse(m, -math.log(probability(name, "delta", delta)) / n))
    if m <= 0 or x >= 1:
        return _LAM[1]
    lam = math.log(x) - math.log(m) + math.log1p(-m) - math.log1p(-x)
    return min(max(lam, _LAM[0]), _LAM[1])


def best_a(
    before: ArrayLike, n_samples: float, delta: float, bound: Literal["progressive", "gain"] = "progressive"
) -> float:
    """The a in (0, 1) that would make :func:`progressive_losses` or :func:`paired_gain` best on the losses ``before``.

    Args:
        before: (s,) losses, or differences for "gain", of the examples before the window.
        n_samples: n, examples the window will have, >= 1.
        delta: failure probability, in (0, 1).
        bound: name of one of the two bounds.
    Raises:
        InputError: an argument outside its range, or no loss.
    Source: ours; a search in one dimension. Any value is valid, since it depends on earlier examples only.
    """
    name = "best_a"
    z = _sequence(name, "before", before, 0.0 if bound == "progressive" else -1.0, 1.0)
    sign = -1.0 if bound == "progressive" else 1.0
    c = -math.log(probability(name, "delta", delta)) / float(samples(name, n_samples))

    def wrong_way(logit: float) -> float:  # the limit, or the gain with its sign turned
        a = 1 / (1 + math.exp(-logit))
        return -math.expm1(float(np.mean(np.log1p(sign * a * z))) - c) / a

    found = optimize.minimize_scalar(wrong_way, bounds=(-16.0, 16.0), method="bounded", options={"xatol": 1e-4})
    return min(max(1 / (1 + math.exp(-float(found.x))), _A[0]), _A[1])


def _one_pass(value: Array, mean: ArrayLike, n: ArrayLike, delta: float, inputs: dict[str, float]) -> Bound:
    return Bound(
        value=number(value),
        kind="risk",
        delta=delta,
        n_samples=number(n),
        terms={"progressive_loss": number(mean), "margin": number(value - np.asarray(mean))},
        combine="progressive_loss + margin",
        theorem="progressive validation (ours; Blum, Kalai & Langford 1999; Ville 1939)",
        predictor=_CHECKPOINT,
        scope="single run",
        assumptions=(*_ONE_PASS, _LOSS),
        inputs=inputs,
    )


def _upper(exponent: ArrayLike, a: float, mean: ArrayLike) -> Array:
    """(1 - exp(-exponent))/a, rounded up; never below the mean, which it exceeds in exact arithmetic."""
    value = -np.expm1(-np.asarray(exponent, dtype=np.float64)) / a
    return np.maximum(value * (1 + _ROUNDING), mean)


def _sequence(name: str, label: str, values: ArrayLike, low: float, high: float) -> Array:
    array = np.atleast_1d(real(name, label, values, low, high))
    if array.ndim != 1 or not array.size:
        raise InputError(f"{name}: {label} must be one number per example, at least one, got shape {array.shape}")
    return array


def _lam(name: str, lam: float) -> float:
    return float(real(name, "lam", lam, 1e-300, open_high=True))


def _share(name: str, a: float) -> float:
    return float(real(name, "a", a, 1e-300, 1.0, open_high=True))
