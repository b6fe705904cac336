"""Where the spread of a gap comes from: the frozen factor, the training sample, the rest, the test set.

Every draw a = 1..A of the frozen factor is trained on every training sample s = 1..S, perhaps k = 1..K times, and
every run is measured on the same n test examples:

    gap[a, s, k] = mu + F_a + T_s + I_as + E_ask + (test noise),

independent effects of mean 0. With K = 1 the interaction I and the training noise E are one component. The test
examples are shared by all runs. So one part of their noise moves all gaps alike: no difference between runs
shows it, and only the test losses tell it. The rest moves the runs apart and is taken out of the components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lorabound.arguments import probability, real
from lorabound.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Component:
    """A variance, in squared units of the gap, with its interval; all three are truncated at 0.

    Attributes:
        value: estimate of the variance.
        low: lower limit of the interval.
        high: upper limit of the interval.
        negative: whether the unbiased estimate was below 0, as happens when the component is small beside the noise.
    """

    value: float
    low: float
    high: float
    negative: bool = False


@dataclass(frozen=True, kw_only=True)
class SharedNoise:
    """What n shared test examples add to each variance: the reduced form of the test losses.

    Attributes:
        parts: variance that they add to the estimate of each component, by name.
        shared: variance that they add to all gaps alike; never negative.
        total: variance that they add to one run; parts and shared together, up to the truncation of shared.
    """

    parts: Mapping[str, float]
    shared: float
    total: float


@dataclass(frozen=True, kw_only=True)
class SingleRun:
    """How far one run's gap is from the mean over factors and samples.

    Attributes:
        sd: standard deviation of a single run's gap, test noise taken out, with its interval (``Component`` of
            standard deviations, not variances).
        sd_measured: standard deviation with the noise of the n test examples, shared part included; nan without test
            losses.
        shares: share of each component, and of "test", in the variance ``sd_measured``^2 (``sd``^2 without test
            losses).
        low, high: limits of the prediction interval for the gap of one new run (new factor, new sample) measured on
            the same test examples.
        level: coverage of the intervals.
        guarantee: 1/(2 sqrt N), or None without N. It bounds the standard deviation of ANOTHER number: of the uniform
            gap sup |R - Rhat| over the class, over samples, given the factor, for a loss in [0, 1] (Efron & Stein
            1981: one example moves it by at most 1/N). The gap of one trained adapter is no supremum: its ``sd`` may
            lie above.
    """

    sd: Component
    sd_measured: float
    shares: Mapping[str, float]
    low: float
    high: float
    level: float
    guarantee: float | None


@dataclass(frozen=True, kw_only=True)
class VarianceComponents:
    """Components of the variance of a gap: "factor", "sample", "interaction", and with replicates "training".

    Without replicates "interaction" holds the training noise too.

    Attributes:
        mean: mean gap over all runs.
        components: variance of each component, test noise taken out where test losses were given.
        test: noise of the test examples; None without test losses.
        single_run: spread that the components give one run.
        shape: (A, S, K), numbers of factors, samples and replicates.
        level: coverage of the intervals.
    """

    mean: float
    components: Mapping[str, Component]
    test: SharedNoise | None
    single_run: SingleRun
    shape: tuple[int, int, int]
    level: float


def shared_test_noise(test_losses: ArrayLike) -> SharedNoise:
    """What the test examples add to each variance, from (A, S, n) or (A, S, K, n) test losses.

    A component is estimated by a quadratic form Q of the gaps. With x_i the losses of all runs on example i, the test
    noise of the gaps is mean_i x_i - E x, of covariance Cov(x_i)/n, so it adds to the expectation of Q

        (1/(n (n - 1))) sum_i Q( x_i - mean_j x_j ),

    whatever the dependence between runs on one example.

    Raises:
        InputError: another shape, fewer than 3 factors, 3 samples or 2 test examples.
    Source: ours, by E Q(e) = trace(Q Cov(e)).
    """
    losses = real("shared_test_noise", "test_losses", test_losses, -np.inf, open_low=True, open_high=True)
    if losses.ndim not in (3, 4) or min(losses.shape[:2]) < 3 or losses.shape[-1] < 2:
        raise InputError(
            f"shared_test_noise: test_losses must be (factors, samples, n) or (factors, samples, replicates, n), "
            f"at least 3 factors, 3 samples and n = 2, got shape {losses.shape}"
        )
    losses = losses[:, :, None] if losses.ndim == 3 else losses
    n = losses.shape[-1]
    centred = losses - losses.mean(axis=-1, keepdims=True)
    squares = {name: float(square.sum()) / (n * (n - 1)) for name, square in _mean_squares(centred).items()}
    parts = {name: _combine(weights, squares) for name, weights in _weights(losses.shape[:3]).items()}
    total = float((centred**2).sum()) / (n * (n - 1)) / math.prod(losses.shape[:3])
    return SharedNoise(parts=parts, shared=max(total - sum(parts.values()), 0.0), total=total)


def variance_components(
    gaps: ArrayLike, test: SharedNoise | None = None, n_train: float | None = None, level: float = 0.95
) -> VarianceComponents:
    """Components by analysis of variance, with modified-large-sample intervals.

    Estimates are the unbiased ones: (MS_F - MS_I)/(S K) for the factor, (MS_T - MS_I)/(A K) for the sample, (MS_I -
    MS_E)/K for the interaction, MS_E for training (K = 1: MS_I for the interaction), each minus its part of the test
    noise, which is treated as known: with a few hundred test examples its error is small beside that of the components.
    Intervals take the effects for normal. Simulated from A = S = 3 on they cover 0.94 to
    0.98 (level 0.95), the prediction interval 0.93 to 0.96; with few levels they are wide: 3 factors say little about
    the spread over factors.

    Args:
        gaps: (A, S), or (A, S, K) with replicates; A, S >= 3: with 2 the intervals were seen to cover 0.89 for
            0.95.
        test: noise by :func:`shared_test_noise` of the same runs; None leaves the test noise in the components.
        n_train: N, size of a training sample, for the guarantee beside ``single_run``.
        level: coverage of the intervals, in (0, 1).
    Raises:
        InputError: another shape, or an argument outside its range.
    Source: Burdick & Graybill 1992, *Confidence Intervals on Variance Components*, ch. 3 and 6 (Graybill & Wang
        1980 for sums; Ting, Burdick, Graybill, Jeyaratnam & Lu 1990 for differences); the prediction interval by
        Satterthwaite 1946.
    """
    name = "variance_components"
    y = real(name, "gaps", gaps, -np.inf, open_low=True, open_high=True)
    if y.ndim not in (2, 3) or min(y.shape[:2]) < 3 or y.shape[-1] < 1:
        raise InputError(
            f"{name}: gaps must be (factors, samples) or (factors, samples, replicates), at least 3 factors and 3 "
            f"samples, got shape {y.shape}"
        )
    tail = (1 - probability(name, "level", level)) / 2
    y = y[:, :, None] if y.ndim == 2 else y
    shape = (y.shape[0], y.shape[1], y.shape[2])
    weights, dof = _weights(shape), _dof(shape)
    if test is not None and set(test.parts) != set(weights):
        raise InputError(f"{name}: test noise has the parts {', '.join(test.parts)}, the gaps {', '.join(weights)}")
    guarantee = (
        None if n_train is None else 1 / (2 * math.sqrt(float(real(name, "n_train", n_train, 1.0, open_high=True))))
    )
    squares = {source: float(square.sum()) for source, square in _mean_squares(y[..., None]).items()}
    noise: Mapping[str, float] = dict.fromkeys(weights, 0.0) if test is None else test.parts
    components = {part: _component(terms, squares, dof, noise[part], tail) for part, terms in weights.items()}

    one_run: dict[str, float] = {}
    for terms in weights.values():
        for source, weight in terms.items():
            one_run[source] = one_run.get(source, 0.0) + weight
    spread = _component(one_run, squares, dof, sum(noise.values()), tail)
    sd = Component(
        value=math.sqrt(spread.value),
        low=math.sqrt(spread.low),
        high=math.sqrt(spread.high),
        negative=spread.negative,
    )
    amounts = {part: component.value for part, component in components.items()}
    if test is not None:
        amounts["test"] = test.total
    total = sum(amounts.values())
    low, high = _prediction(float(y.mean()), one_run, squares, dof, shape, tail)
    single = SingleRun(
        sd=sd,
        sd_measured=math.nan if test is None else math.sqrt(spread.value + test.total),
        shares={part: amount / total if total else math.nan for part, amount in amounts.items()},
        low=low,
        high=high,
        level=level,
        guarantee=guarantee,
    )
    return VarianceComponents(
        mean=float(y.mean()), components=components, test=test, single_run=single, shape=shape, level=level
    )


def _mean_squares(y: Array) -> dict[str, Array]:
    """Mean squares of (A, S, K, columns), one number per column."""
    a, s, k = y.shape[:3]
    cell = y.mean(axis=2)
    row, column, mean = cell.mean(axis=1), cell.mean(axis=0), cell.mean(axis=(0, 1))
    rest = cell - row[:, None] - column[None] + mean
    squares = {
        "factor": s * k * ((row - mean) ** 2).sum(axis=0) / (a - 1),
        "sample": a * k * ((column - mean) ** 2).sum(axis=0) / (s - 1),
        "interaction": k * (rest**2).sum(axis=(0, 1)) / ((a - 1) * (s - 1)),
    }
    if k > 1:
        squares["training"] = ((y - cell[:, :, None]) ** 2).sum(axis=(0, 1, 2)) / (a * s * (k - 1))
    return squares


def _dof(shape: tuple[int, ...]) -> dict[str, int]:
    a, s, k = shape
    return {"factor": a - 1, "sample": s - 1, "interaction": (a - 1) * (s - 1), "training": a * s * (k - 1)}


def _weights(shape: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Each component as a combination of mean squares."""
    a, s, k = shape
    weights = {
        "factor": {"factor": 1 / (s * k), "interaction": -1 / (s * k)},
        "sample": {"sample": 1 / (a * k), "interaction": -1 / (a * k)},
        "interaction": {"interaction": 1 / k},
    }
    if k > 1:
        weights["interaction"]["training"] = -1 / k
        weights["training"] = {"training": 1.0}
    return weights


def _combine(weights: Mapping[str, float], squares: Mapping[str, float]) -> float:
    return sum(weight * squares[source] for source, weight in weights.items())


def _component(
    weights: Mapping[str, float], squares: Mapping[str, float], dof: Mapping[str, int], noise: float, tail: float
) -> Component:
    """sum_q w_q MS_q - noise, with its modified-large-sample interval; everything truncated at 0."""
    terms = [(weight * squares[source], dof[source]) for source, weight in weights.items()]
    estimate = sum(value for value, _ in terms)
    below = above = 0.0
    for value, n in terms:
        shrink, stretch = 1 - n / _chi2_above(tail, n), n / _chi2_above(1 - tail, n) - 1
        below += ((shrink if value > 0 else stretch) * value) ** 2
        above += ((stretch if value > 0 else shrink) * value) ** 2
    for plus, n in terms:
        for minus, m in terms:
            if plus > 0 > minus:  # the term that makes the interval exact where one of the two vanishes
                below += _cross(float(special.fdtri(n, m, 1 - tail)), n, m, tail, upper=False) * plus * -minus
                above += _cross(float(special.fdtri(n, m, tail)), n, m, tail, upper=True) * plus * -minus
    value = estimate - noise
    low, high = value - math.sqrt(max(below, 0.0)), value + math.sqrt(max(above, 0.0))
    return Component(value=max(value, 0.0), low=max(low, 0.0), high=max(high, 0.0), negative=value < 0)


def _chi2_above(tail: float, n: int) -> float:
    """The value a chi-squared variable of n degrees of freedom exceeds with probability ``tail``."""
    return float(special.chdtri(n, tail))


def _cross(f: float, n: int, m: int, tail: float, *, upper: bool) -> float:
    """G_12 (lower limit) or H_12 (upper limit) of a difference of mean squares (Ting et al. 1990)."""
    if upper:
        h, g = n / _chi2_above(1 - tail, n) - 1, 1 - m / _chi2_above(tail, m)
        return float(((1 - f) ** 2 - h**2 * f**2 - g**2) / f)
    g, h = 1 - n / _chi2_above(tail, n), m / _chi2_above(1 - tail, m) - 1
    return float(((f - 1) ** 2 - g**2 * f**2 - h**2) / f)


def _prediction(
    mean: float,
    one_run: Mapping[str, float],
    squares: Mapping[str, float],
    dof: Mapping[str, int],
    shape: tuple[int, int, int],
    tail: float,
) -> tuple[float, float]:
    """mean -+ t sqrt(Var(new run) + Var(mean)), degrees of freedom by Satterthwaite; all weights are positive."""
    runs = math.prod(shape)
    weights = dict(one_run)
    for source, sign in (("factor", 1), ("sample", 1), ("interaction", -1)):
        weights[source] += sign / runs
    terms = [(weight * squares[source], dof[source]) for source, weight in weights.items()]
    variance = sum(value for value, _ in terms)
    if variance == 0:
        return mean, mean
    freedom = variance**2 / sum(value**2 / n for value, n in terms)
    half = -float(special.stdtrit(freedom, tail)) * math.sqrt(variance)
    return mean - half, mean + half
