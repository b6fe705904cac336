"""PAC-Bayes certificates for a randomized predictor: Gaussian posteriors, Monte Carlo paid for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.arguments import number, probability, real, samples
from lorabound.bounds.tails import kl_inverse, stirling_error
from lorabound.errors import InputError
from lorabound.notation import Bound, Number


def gaussian_kl(mean: ArrayLike, prior_mean: ArrayLike, variance: ArrayLike, prior_variance: ArrayLike) -> float:
    """KL = 1/2 sum_i [ v_i/l_i - 1 - ln(v_i/l_i) + (mu_i - mu0_i)^2/l_i ], nats, of diagonal Gaussians.

    Args:
        mean, variance: mu, v > 0 of the posterior; they broadcast with
        prior_mean, prior_variance: mu0, l > 0 of the prior. The sum runs over the broadcast shape.
    Raises:
        InputError: an argument outside its range.
    Source: Kullback & Leibler 1951.
    """
    name = "gaussian_kl"
    mu = real(name, "mean", mean, -np.inf, open_low=True, open_high=True)
    mu0 = real(name, "prior_mean", prior_mean, -np.inf, open_low=True, open_high=True)
    v = real(name, "variance", variance, open_low=True, open_high=True)
    prior = real(name, "prior_variance", prior_variance, open_low=True, open_high=True)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        excess = (v - prior) / prior
        # ln1p where the direct form cancels; ln v - ln prior where the quotient over- or underflows.
        spread = np.where(
            np.abs(excess) < 0.5,
            excess - np.log1p(np.maximum(excess, -0.5)),
            excess - (np.log(v) - np.log(prior)),
        )
        shift = ((mu - mu0) / np.sqrt(prior)) ** 2
        return float(0.5 * np.sum(np.maximum(spread, 0.0) + shift))


def log_xi(n_samples: ArrayLike) -> Number:
    """ln xi(N), xi(N) = sum_k C(N, k) (k/N)^k (1 - k/N)^(N-k) = (N! e^N/N^N) P(Poisson(N) <= N).

    Below ln(2 sqrt(N)) for N >= 8, by 0.47 nats in the limit (xi ~ sqrt(pi N/2)); rounded up.

    Raises:
        InputError: N below 1 or above 2^52.
    Source: Maurer 2004, Theorem 1 and eq. 2 for the sum; Abel's identity sum_k C(N, k) k^k (N-k)^(N-k) =
        sum_{j<=N} (N!/j!) N^j for the closed form.
    """
    n = real("log_xi", "n_samples", n_samples, 1.0, 2.0**52)
    poisson = np.log(special.gammaincc(n + 1, n))
    return number(0.5 * np.log(2 * np.pi * n) + stirling_error(n) + poisson + 1e-12)


def pac_bayes(
    empirical_risk: ArrayLike,
    n_samples: ArrayLike,
    kl: ArrayLike,
    delta: float,
    draws: ArrayLike | None = None,
    delta_draws: float | None = None,
) -> Bound:
    """R(Q) <= kl_inverse( Rhat(Q), (KL + ln(xi(N)/delta))/N ), for all posteriors Q at once.

    Rhat(Q) of a randomized predictor is hardly ever known; from m draws made after Q was fixed,
    Rhat(Q) <= kl_inverse(Rhat_mc, ln(1/delta')/m). Then the bound holds with probability >= 1 - delta -
    delta'.

    Args:
        empirical_risk: Rhat(Q), or its Monte Carlo average Rhat_mc if ``draws`` is given; in [0, 1].
        n_samples: N, examples that neither prior mean nor prior variance has seen.
        kl: KL(Q || P) in nats, >= 0; P fixed in advance (a prior variance off a grid costs its share of
            delta).
        delta: failure probability of the sample, in (0, 1).
        draws: m, independent draws: one weight sample and its loss on the sample, or weight sample and
            example both fresh.
        delta_draws: delta', failure probability of the draws, in (0, 1); needed with ``draws``, refused
            without.
    Raises:
        InputError: an argument outside its range, or only one of ``draws`` and ``delta_draws``.
    Source: Langford & Seeger 2001; Maurer 2004, Theorem 5, with xi(N) itself for 2 sqrt(N), so N >= 8 is
        not needed; Langford & Caruana 2002 for the draws.
    """
    name = "pac_bayes"
    n = samples(name, n_samples)
    risk = real(name, "empirical_risk", empirical_risk, 0.0, 1.0)
    nats = real(name, "kl", kl)
    budget = (nats + np.asarray(log_xi(n)) - math.log(probability(name, "delta", delta))) / n
    if (draws is None) != (delta_draws is None):
        raise InputError(f"{name}: give both of draws and delta_draws or neither, got {draws!r}, {delta_draws}")
    total, mean = delta, risk
    terms: dict[str, Number] = {"empirical_risk": number(risk)}
    if draws is not None and delta_draws is not None:
        m = real(name, "draws", draws, 1.0, open_high=True)
        mean = np.asarray(kl_inverse(risk, -math.log(probability(name, "delta_draws", delta_draws)) / m))
        total = delta + delta_draws
        if not total < 1:
            raise InputError(f"{name}: delta + delta_draws must be below 1, got {total}")
        terms["monte_carlo"] = number(mean - risk)
    value = np.asarray(kl_inverse(mean, budget))
    terms["complexity"] = number(value - mean)
    return Bound(
        value=number(value),
        kind="risk",
        delta=total,
        n_samples=number(n),
        terms=terms,
        combine=" + ".join(terms),
        theorem="PAC-Bayes-kl (Langford & Seeger 2001; Maurer 2004, Theorem 5, exact constant)",
        predictor="the randomized predictor that draws its weights from Q for every prediction",
        scope="uniform" if draws is None else "single run",
        assumptions=(
            "examples are independent and identically distributed",
            "the loss has values in [0, 1]",
            "the prior does not depend on these examples",
            "Rhat(Q) is exact" if draws is None else "the draws are independent and were made after Q was fixed",
        ),
        inputs={"kl": number(nats), "draws": draws, "delta_draws": delta_draws},
    )


def snap_prior_variance(wanted: float, delta: float, largest: float = 1.0, per_e: float = 20.0) -> tuple[float, float]:
    """(lambda_j, delta_j), lambda_j = largest exp(-j/per_e), delta_j = 6 delta/(pi^2 j^2), j = 1, 2, ...

    A prior variance tuned on the data is rounded to the grid, and the bound taken at delta_j: sum_j
        delta_j = delta.

    Args:
        wanted: variance that training asked for, > 0; above the grid the largest member is given.
        delta: failure probability that all grid points share, in (0, 1).
        largest: upper end, fixed in advance.
        per_e: grid points a factor e.
    Raises:
        InputError: an argument outside its range.
    Source: Dziugaite & Roy 2017, section 3.1 (Langford & Caruana 2002).
    """
    name = "snap_prior_variance"
    positive = [
        float(real(name, label, value, open_low=True, open_high=True))
        for label, value in (("wanted", wanted), ("largest", largest), ("per_e", per_e))
    ]
    j = max(1, round(positive[2] * (math.log(positive[1]) - math.log(positive[0]))))
    return math.exp(math.log(positive[1]) - j / positive[2]), 6 * probability(name, "delta", delta) / (math.pi * j) ** 2
