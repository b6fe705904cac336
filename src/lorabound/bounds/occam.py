"""Compression certificates: a predictor with a short description cannot have overfitted much."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import number, probability, real, samples
from lorabound.bounds.tails import binomial_upper, kl_inverse
from lorabound.errors import InputError
from lorabound.notation import Bound


def occam(
    empirical_risk: ArrayLike,
    n_samples: ArrayLike,
    code_bits: ArrayLike,
    delta: float,
    zero_one: bool = False,
) -> Bound:
    """R <= kl_inverse( Rhat, (len ln 2 + ln(1/delta))/N ), for all predictors with a code word at once.

    With ``zero_one`` the exact binomial tail takes the place of Chernoff's: the largest R with
    P(Bin(N, R) <= N Rhat) >= delta 2^-len.

    Args:
        empirical_risk: Rhat of the decoded predictor, in [0, 1].
        n_samples: N.
        code_bits: length in bits of a message that decodes to the predictor, in a prefix-free code fixed before the
            data were seen: a length, not an entropy, with whatever selects the code included.
        delta: failure probability, in (0, 1).
        zero_one: whether the loss is 0-1, so that N Rhat is a count of errors.
    Raises:
        InputError: an argument outside its range, or N Rhat not an integer although ``zero_one``.
    Source: Langford 2005, Theorem 4.6 and Corollary; Lotfi et al. 2024. Kraft: sum 2^-len <= 1, a union
        bound at delta 2^-len each.
    """
    n = samples("occam", n_samples)
    risk = real("occam", "empirical_risk", empirical_risk, 0.0, 1.0)
    bits = real("occam", "code_bits", code_bits, open_high=True)
    log_delta = math.log(probability("occam", "delta", delta))
    nats = bits * math.log(2) - log_delta
    if zero_one:
        errors = np.rint(risk * n)
        if not np.all(np.abs(risk * n - errors) <= np.maximum(1e-6, 1e-15 * n)):
            raise InputError(
                f"occam: empirical_risk * n_samples must be a count of errors with zero_one, got {risk * n}"
            )
        value = np.asarray(binomial_upper(errors, n, log_delta=-nats))
    else:
        value = np.asarray(kl_inverse(risk, nats / n))
    return Bound(
        value=number(value),
        kind="risk",
        delta=delta,
        n_samples=number(n),
        terms={"empirical_risk": number(risk), "margin": number(value - risk)},
        combine="empirical_risk + margin",
        theorem="Occam bound, " + ("exact binomial tail" if zero_one else "kl form") + " (Langford 2005)",
        predictor="the decoded predictor",
        scope="uniform",
        assumptions=(
            "examples are independent and identically distributed",
            "the loss is 0-1" if zero_one else "the loss has values in [0, 1]",
            "the code is prefix-free, its length that of a real message, fixed before the data were seen",
            "the empirical risk is that of the decoded predictor",
        ),
        inputs={"code_bits": number(bits), "zero_one": zero_one},
    )


def occam_gap(n_samples: ArrayLike, code_bits: ArrayLike, delta: float) -> Bound:
    """R - Rhat <= sqrt( (len ln 2 + ln(1/delta))/(2N) ), for all predictors with a code word at once.

    What can be said before training, when no empirical risk is known. Afterwards :func:`occam` is never worse
    (Pinsker), and much better at a small empirical risk. q parameters of b bits each have len = q b.

    Args:
        n_samples: N.
        code_bits: length in bits of the message, as in :func:`occam`.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: Hoeffding 1963, Theorem 2, at delta 2^-len for each code word (McAllester 1999, Theorem 1).
    """
    n = samples("occam_gap", n_samples)
    bits = real("occam_gap", "code_bits", code_bits, open_high=True)
    nats = bits * math.log(2) - math.log(probability("occam_gap", "delta", delta))
    return Bound(
        value=number(np.sqrt(nats / (2 * n))),
        kind="gap",
        delta=delta,
        n_samples=number(n),
        terms={"nats_per_sample": number(nats / n)},
        combine="sqrt(nats_per_sample / 2)",
        theorem="Occam bound, Hoeffding form (McAllester 1999, Theorem 1)",
        predictor="the decoded predictor",
        scope="uniform",
        assumptions=(
            "examples are independent and identically distributed",
            "the loss has values in [0, 1]",
            "the code is prefix-free, its length that of a real message, fixed before the data were seen",
            "the empirical risk is that of the decoded predictor",
        ),
        inputs={"code_bits": number(bits)},
    )
