"""Theorem 1: symmetrization, then Dudley's integral of the covering numbers, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.arguments import Array, choice, number, samples
from lorabound.bounds.covering import FORMS, Form, log_covering_constant, total_params
from lorabound.bounds.network import Block
from lorabound.notation import Number

Constants = Literal["sharp", "paper"]


def entropy_integral(log_c: ArrayLike, log_u: ArrayLike) -> Number:
    """F(u) = integral_0^u sqrt(ln(C/v)) dv = u ( z + (sqrt(pi)/2) erfcx(z) ), z = sqrt(ln(C/u)), u <= C.

    From the logarithms of C and u: C may be e^1000, and u may underflow (then F is 0).
    Source: integration by parts; erfcx(z) = exp(z^2) erfc(z).
    """
    log_u = np.asarray(log_u, dtype=np.float64)
    z = np.sqrt(np.maximum(np.asarray(log_c, dtype=np.float64) - log_u, 0.0))
    z = np.where(np.isposinf(z), 0.0, z)  # u = 0: anything finite, times 0
    return number(np.exp(log_u) * (z + 0.5 * np.sqrt(np.pi) * special.erfcx(z)))


def dudley_rademacher(
    blocks: Sequence[Block], n_samples: ArrayLike, constants: Constants = "sharp", form: Form = "frobenius"
) -> Number:
    """Rad <= min( D, inf_a 4a + (12/sqrt(N)) integral_a^D sqrt(q ln(C/u)) du ), best at ln(C/a) = N/(9q).

    D = 1/2 ("sharp": half the range of a loss in [0, 1], subtracting 1/2 changes nothing) or 1 ("paper").
    An a that underflows is 0, which is allowed.

    Raises:
        InputError: an argument outside its range.
    Source: Kratsios et al. 2025, Theorem 3 and Lemma 9; the closed form and D = 1/2 ours.
    """
    choice("dudley_rademacher", "constants", constants, ("sharp", "paper"))
    choice("dudley_rademacher", "form", form, FORMS)
    n, q = samples("dudley_rademacher", n_samples), np.asarray(total_params(blocks))
    largest = 0.5 if constants == "sharp" else 1.0
    log_c = np.asarray(log_covering_constant(blocks, largest, "cube" if form == "cube" else "frobenius"))
    log_a = np.minimum(log_c - n / (9 * q), np.log(largest))
    integral = np.subtract(entropy_integral(log_c, np.log(largest)), entropy_integral(log_c, log_a))
    return number(np.minimum(largest, 4 * np.exp(log_a) + 12 * np.sqrt(q / n) * integral))


def dudley_terms(
    blocks: Sequence[Block], n: Array, log_delta: float, constants: Constants, form: Form
) -> dict[str, Number]:
    """{2 Rad, deviation}: sharp sqrt(ln(1/delta)/(2N)), as published sqrt(8 ln(2/delta)/N)."""
    deviation = -log_delta / (2 * n) if constants == "sharp" else 8 * (np.log(2.0) - log_delta) / n
    rademacher = np.asarray(dudley_rademacher(blocks, n, constants, form))
    return {"twice_rademacher": number(2 * rademacher), "confidence": number(np.sqrt(deviation))}
