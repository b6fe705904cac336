"""Singular values of s B A from the factors alone: two triangles and their r x r product, never B A itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, real
from lorabound.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """The singular values of one matrix, and what they say of its size and of the directions it uses.

    Attributes:
        singular_values: singular values sigma_1 >= sigma_2 >= ... >= 0; those that are not listed are 0.
    """

    singular_values: Array

    @property
    def spectral_norm(self) -> float:
        """sigma_1: the largest factor by which the matrix lengthens a vector."""
        return float(self.singular_values[0])

    @property
    def frobenius_norm(self) -> float:
        """sqrt(sum sigma_i^2), also the root of the sum of squared entries."""
        return self.spectral_norm * math.sqrt(self.stable_rank)

    @property
    def stable_rank(self) -> float:
        """||.||_F^2 / ||.||_2^2, from 1 to the rank; 0 for the zero matrix, by definition here."""
        return float(np.sum(self._relative() ** 2))

    @property
    def effective_rank(self) -> float:
        """exp(-sum p_i ln p_i), p_i = sigma_i / sum sigma: from 1 to the rank; 0 for the zero matrix, as above.

        Source: Roy & Vetterli 2007, *The effective rank*, Definition 1.
        """
        relative = self._relative()
        total = float(relative.sum())
        if total == 0:
            return 0.0
        p = relative[relative > 0] / total
        return float(np.exp(-np.sum(p * np.log(p))))

    def _relative(self) -> Array:
        """sigma_i / sigma_1, whose squares neither overflow nor vanish; zeros for the zero matrix."""
        return self.singular_values / (self.spectral_norm or 1.0)


def product_spectrum(b: ArrayLike, a: ArrayLike, scale: float = 1.0) -> Spectrum:
    """The singular values of s B A, without forming B A.

    B = Q_B R_B and A^T = Q_A R_A with orthonormal columns in Q_B and Q_A, so s B A = Q_B (s R_B R_A^T) Q_A^T has the
    singular values of the small matrix s R_B R_A^T: O((d_out + d_in) r^2) operations instead of O(d_out d_in r).

    Everything is in float64. Householder QR and SVD are backward stable, so each singular value is off by about
    r eps |s| ||B||_F ||A||_F at most, eps = 2.2e-16; those below that are set to 0. The shorter way through the Gram
    matrices B^T B and A A^T squares the singular values and with them the error: everything below 1e-8 sigma_1,
    half the digits, would be noise.

    Args:
        b: B, (d_out, r); any r, also above d_out or d_in.
        a: A, (r, d_in).
        scale: s, PEFT's alpha / r.
    Returns:
        min(d_out, r, d_in) singular values.
    Raises:
        InputError: shapes that do not fit, or values that are not finite.
    Source: Golub & Van Loan 2013, sections 5.2 and 8.6; the triangles of a product are folklore.
    """
    left, right = _matrix("b", b), _matrix("a", a)
    if left.shape[1] != right.shape[0]:
        raise InputError(f"product_spectrum: b needs r columns and a r rows, got shapes {left.shape} and {right.shape}")
    s = float(real("product_spectrum", "scale", scale, -np.inf, np.inf, open_low=True, open_high=True))
    return core_spectrum(triangle(left), triangle(right.T), s)


def triangle(factor: Array) -> Array:
    """R of factor = Q R, (min(d, r), r) for a factor (d, r): the same singular values, in a small matrix."""
    return np.asarray(np.linalg.qr(factor, mode="r"), dtype=np.float64)


def core_spectrum(r_b: Array, r_a: Array, scale: float) -> Spectrum:
    """The singular values of s R_B R_A^T, whose factors are brought to norm 1 before they are multiplied."""
    with np.errstate(over="ignore"):
        norm_b, norm_a = float(np.linalg.norm(r_b)), float(np.linalg.norm(r_a))
    unit = abs(scale) * norm_b * norm_a
    if not math.isfinite(unit):
        raise InputError("product_spectrum: scale, b and a multiply to more than float64 holds")
    if unit == 0:
        return Spectrum(singular_values=np.zeros(min(r_b.shape[0], r_a.shape[0])))
    sigma = _singular_values((r_b / norm_b) @ (r_a / norm_a).T)
    sigma[sigma < r_b.shape[1] * np.finfo(np.float64).eps] = 0
    return Spectrum(singular_values=unit * sigma)


def matrix_spectrum(matrix: Array) -> Spectrum:
    """The singular values of one matrix as it stands."""
    return Spectrum(singular_values=_singular_values(matrix))


def _singular_values(matrix: Array) -> Array:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)


def _matrix(name: str, value: ArrayLike) -> Array:
    matrix = real("product_spectrum", name, value, -np.inf, np.inf, open_low=True, open_high=True)
    if matrix.ndim != 2 or matrix.size == 0:
        raise InputError(f"product_spectrum: {name} must be a matrix with rows and columns, got shape {matrix.shape}")
    return matrix
