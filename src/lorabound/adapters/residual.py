"""A start that makes up for rounding: LoftQ (Li et al. 2024), its first step.

A quantized model computes with Q = round(W) in place of W. The product of rank r nearest to what rounding took away,

    s B A = SVD_r(W - Q),   B (d_out, r), A (r, d_in),

is where the adapter starts, so that W + rounding error + s B A is as near to W as rank r allows (Eckart & Young 1936).
It is a function of the weights alone: bounds whose prior or code is centred at the start stay valid, and a factor that
is frozen at it knows no data.

Li et al. alternate: Q = round(W - s B A), and again. Each step after the first makes another frozen model for every
rank, which no loader makes from the checkpoint; here Q stays round(W), as in PEFT (``loftq_iter=1``), and all ranks
share one frozen model.

Where rounding took fewer than r directions, and none in a layer that is not rounded, the other directions are a plain
start: the factor that the mode draws is random and the other one is 0, so that they add nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from lorabound.adapters.adapter import Adapter, Array, Factors, Shapes, new_adapter
from lorabound.errors import InputError
from lorabound.modes import MODES, Mode
from lorabound.notation import RANDOM_LAWS, RESIDUAL_LAW


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What rounding took from each layer, as far as adapters can give it back.

    Attributes:
        rank: R, the largest rank of an adapter.
        products: module name -> (B (d_out, k), A (k, d_in)) with B A = SVD_R(W - Q), strongest direction first; the
            first r columns and rows are the product of rank r. k is below R where W - Q has fewer directions: 0 for a
            layer that is not rounded.
    """

    rank: int
    products: Mapping[str, tuple[Array, Array]]

    @property
    def shapes(self) -> Shapes:
        """Module name -> (d_out, d_in)."""
        return {name: (len(b), a.shape[1]) for name, (b, a) in self.products.items()}

    def adapter(self, rank: int, mode: Mode, seed: int, alpha_over_r: float) -> Adapter:
        """The untrained adapter: s B A = SVD_r(W - Q) in every layer.

        Args:
            seed: seed of the rows that rounding gives nothing for, as :func:`new_adapter` draws them by PEFT's law.
        Raises:
            InputError: a mode with other factors than A and B, or a rank that is not there.
        """
        if not MODES[mode].in_peft:
            raise InputError(f"law {RESIDUAL_LAW} gives A and B their start, and {mode} starts otherwise")
        if rank > self.rank:
            raise InputError(f"law {RESIDUAL_LAW} has starts up to rank {self.rank} here, got rank {rank}")
        plain = new_adapter(self.shapes, rank, mode, seed, RANDOM_LAWS[0], alpha_over_r)
        part = np.float32(1 / math.sqrt(alpha_over_r))
        layers = {}
        for name, (b, a) in self.products.items():
            drawn, k = plain.layers[name], len(a)
            layers[name] = Factors(
                a=np.concatenate([part * a[:rank], drawn.a[k:]]),
                b=np.concatenate([part * b[:, :rank], drawn.b[:, k:]], axis=1),
                scale=alpha_over_r,
            )
        return Adapter(layers=layers, mode=mode, seed=seed, law=RESIDUAL_LAW)


def balanced_product(target: Array, rank: int) -> tuple[Array, Array]:
    """(B (d_out, k), A (k, d_in)) with B A = SVD_k(target) and B'B = A A' diagonal, strongest first, k <= rank.

    k is below ``rank`` where ``target`` has fewer directions. Each row of A has a positive entry of largest size, so
    that signs are no matter of chance. Computed in float64 from the eigenvectors of the smaller Gram matrix: singular
    values below 1e-6 of the largest count as 0.
    """
    exact = np.asarray(target, dtype=np.float64)
    wide = exact.shape[0] <= exact.shape[1]
    gram = exact @ exact.T if wide else exact.T @ exact
    size = len(gram)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=[size - min(rank, size), size - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    there = values > 1e-12 * max(float(values[0]), np.finfo(np.float64).tiny)
    roots, vectors = np.sqrt(np.sqrt(values[there])), vectors[:, there]
    if wide:
        b, a = vectors * roots, (vectors / roots).T @ exact
    else:
        b, a = exact @ (vectors / roots), (vectors * roots).T
    signs = np.sign(a[np.arange(len(a)), np.abs(a).argmax(1)]) if len(a) else np.ones(0)
    return (b * signs).astype(np.float32), (a * signs[:, None]).astype(np.float32)
