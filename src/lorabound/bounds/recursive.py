"""Recursive PAC-Bayes: each part of the sample sharpens the prior of the next, and none is spent (Wu et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import probability, real
from lorabound.bounds.pac_bayes import log_xi
from lorabound.bounds.tails import kl_inverse
from lorabound.errors import InputError
from lorabound.notation import Bound


def recursive_pac_bayes(
    first_risk: float,
    shares: ArrayLike,
    n_samples: Sequence[float],
    kls: Sequence[float],
    draws: Sequence[float],
    delta: float,
    delta_draws: float,
    gamma: float = 0.5,
) -> Bound:
    """B_T of B_1 = limit on R(pi_1), B_t = E_t + gamma B_(t-1): the risk of the last posterior, pi_T.

    E_t limits E[loss(h) - gamma loss(h')], h drawn from pi_t and h' from pi_(t-1), a variable with the values
    -gamma, 0, 1 - gamma and 1; it is taken apart at b_0 .. b_3 = -gamma, 0, 1 - gamma, 1:

        E_t = -gamma + sum_(j=1..3) (b_j - b_(j-1)) kl_inverse( kl_inverse(p_j, ln(3T/delta')/m_t),
                                                               (KL_t + ln(3T xi(n_t)/delta))/n_t )
        B_1 = kl_inverse( kl_inverse(p, ln(T/delta')/m_1), (KL_1 + ln(T xi(n_1)/delta))/n_1 )

    Args:
        first_risk: p, share of errors of m_1 draws of (h from pi_1, example), in [0, 1].
        shares: (T-1, 3), p_j of stage t = 2..T: share of its m_t draws (h, h', example) whose difference is >= b_j.
        n_samples: n_1 .. n_T, examples on which stage t is measured: all of them for t = 1, later those that were not
            used for pi_(t-1).
        kls: KL(pi_t || pi_(t-1)) in nats for t = 1..T, pi_0 the prior fixed before the data.
        draws: m_1 .. m_T, independent draws made after pi_t was fixed.
        delta, delta_draws: failure probabilities of the sample and of all draws; they add up.
        gamma: constant in (0, 1), fixed before the data, as are T and the split.
    Raises:
        InputError: an argument outside its range, sequences of different lengths, or shares that rise with j.
    Source: Wu, Zhang, Cherief-Abdellatif & Seldin 2024, *Recursive PAC-Bayes: A Frequentist Approach to Sequential
        Prior Updates with No Information Loss*, with xi(n) for 2 sqrt(n) and m_t draws in stage t.
    """
    name = "recursive_pac_bayes"
    n = np.atleast_1d(real(name, "n_samples", n_samples, 1.0, open_high=True))
    kl = np.atleast_1d(real(name, "kls", kls))
    m = np.atleast_1d(real(name, "draws", draws, 1.0, open_high=True))
    stages = len(n)
    p = real(name, "shares", shares, 0.0, 1.0).reshape(-1, 3)
    if not len(kl) == len(m) == stages == len(p) + 1:
        raise InputError(
            f"{name}: T stages need T n_samples, kls and draws and T - 1 rows of shares, got {stages}, {len(kl)}, "
            f"{len(m)} and {len(p)}"
        )
    if np.any(np.diff(p, axis=1) > 0):
        raise InputError(f"{name}: shares count differences >= b_j, they cannot rise with j, got {p.tolist()}")
    g = float(real(name, "gamma", gamma, 0.0, 1.0, open_low=True, open_high=True))
    risk = float(real(name, "first_risk", first_risk, 0.0, 1.0))
    of_sample, of_draws = probability(name, "delta", delta), probability(name, "delta_draws", delta_draws)
    if not of_sample + of_draws < 1:
        raise InputError(f"{name}: delta + delta_draws must be below 1, got {of_sample + of_draws:g}")

    def limit(share: ArrayLike, t: int, parts: int) -> np.ndarray:
        mean = kl_inverse(share, math.log(parts / of_draws) / m[t])
        return np.asarray(kl_inverse(mean, (kl[t] + float(log_xi(n[t])) + math.log(parts / of_sample)) / n[t]))

    value = float(limit(risk, 0, stages))
    terms = {"stage 1": value}
    widths = np.array([g, 1 - g, g])  # b_1 - b_0, b_2 - b_1, b_3 - b_2
    for t in range(1, stages):
        excess = float(widths @ limit(p[t - 1], t, 3 * stages)) - g
        value = excess + g * value
        terms |= {f"excess {t + 1}": excess, f"stage {t + 1}": value}
    return Bound(
        value=value,
        kind="risk",
        delta=of_sample + of_draws,
        n_samples=float(n[0]),
        terms=terms,
        combine=f"excess {stages} + {g:g} stage {stages - 1}" if stages > 1 else "stage 1",
        theorem="Recursive PAC-Bayes (Wu et al. 2024)",
        predictor="the randomized predictor that draws its weights from the last posterior for every prediction",
        scope="single run",
        assumptions=(
            "examples are independent and identically distributed",
            "the loss is the 0-1 loss",
            "the number of stages, the split and gamma were fixed before the data, and so was the first prior",
            "each posterior was fixed before the examples on which the next stage is measured were used for it",
            "the draws are independent and were made after the posteriors were fixed",
        ),
        inputs={
            "first_risk": risk,
            "shares": p.tolist(),
            "n_samples": n.tolist(),
            "kls": kl.tolist(),
            "draws": m.tolist(),
            "gamma": g,
            "delta_draws": of_draws,
        },
    )
