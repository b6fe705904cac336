"""Factors with which a LoRA network computes f(x) = x on [0, 1], built on real draws of A (theory 5.1, 5.2).

The scalar x enters as x e_1, the prediction is the first output coordinate. ReLU, no biases. Arrays lead with
the draws: A_t is (draws, r, d_{t-1}), B_t is (draws, d_t, r).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lorabound.arguments import Array
from lorabound.bounds import admissibility
from lorabound.errors import InputError
from lorabound.worst_case.options import LowerConfig


@dataclass(frozen=True, kw_only=True)
class Construction:
    """One way to choose every B_t so that the network computes f(x) = x.

    Attributes:
        name: name of the construction in results.
        title: name of the construction for readers.
        factor: function from W_t, the draws of A_t and s to the draws of B_t.
        least_rank: function from the widths to the smallest rank at which it exists.
        admitted: function from the W_t, the rank and the settings to the probability that all ||B_t||_F <= M.
        exact: whether that probability is exact; otherwise it is a lower bound.
    """

    name: str
    title: str
    factor: Callable[[Array, Array, float], Array]
    least_rank: Callable[[Sequence[int]], int]
    admitted: Callable[[Sequence[Array], int, LowerConfig], float]
    exact: bool


def frozen_weights(widths: Sequence[int], random: np.random.Generator) -> list[Array]:
    """W_t (d_t, d_{t-1}) with independent N(0, 1/d_{t-1}) entries: the "pre-trained" network."""
    return [random.normal(size=(d_out, d_in)) / math.sqrt(d_in) for d_in, d_out in pairwise(widths)]


def rank_one_factor(weight: Array, a: Array, scale: float) -> Array:
    """B = (1/s) (e_1 - W e_1) a^T / ||a||^2 with a = A e_1: then (W + s B A) e_1 = e_1, for every r >= 1.

    Source: ours (theory 5.2). ||B||_F = ||B||_op = ||e_1 - W e_1|| / (|s| ||a||).
    """
    first = a[:, :, 0]
    shift = np.eye(len(weight))[0] - weight[:, 0]
    unit = first / np.sum(first**2, axis=1, keepdims=True)
    factor: Array = shift[:, None] * unit[:, None, :] / scale
    return factor


def full_factor(weight: Array, a: Array, scale: float) -> Array:
    """B = (1/s) (I - W) A^+ with the rectangular identity I: then W + s B A = I.

    Raises:
        InputError: r < d_{t-1}, where A has no left inverse.
    Source: Kratsios et al. 2025, eq. 25.
    """
    rank, width = a.shape[1:]
    if rank < width:
        raise InputError(f"full_factor: the rank must be at least the input width {width}, got {rank}")
    factor: Array = (np.eye(*weight.shape) - weight) @ np.linalg.pinv(a, rcond=0.0) / scale
    return factor


def _rank_one_admitted(weights: Sequence[Array], rank: int, settings: LowerConfig) -> float:
    return float(admissibility(rank, shifts(weights), settings.radius, settings.std, settings.scale))


def _full_admitted(weights: Sequence[Array], rank: int, settings: LowerConfig) -> float:
    distances = [float(np.linalg.norm(np.eye(*w.shape) - w)) for w in weights]
    inputs = [w.shape[1] for w in weights]
    return float(admissibility(rank, distances, settings.radius, settings.std, settings.scale, "full", inputs))


# Its B_t fit the ball or not by the first columns of the A_t alone, so that very many draws of it are cheap.
RANK_ONE = Construction(
    name="rank_one",
    title="rank one (ours)",
    factor=rank_one_factor,
    least_rank=lambda _: 1,
    admitted=_rank_one_admitted,
    exact=True,
)
FULL = Construction(
    name="full",
    title="full (paper)",
    factor=full_factor,
    least_rank=lambda widths: max(widths[:-1]),
    admitted=_full_admitted,
    exact=False,
)
CONSTRUCTIONS = (RANK_ONE, FULL)


def shifts(weights: Sequence[Array]) -> list[float]:
    """||e_1 - W_t e_1|| of every layer: how far the rank-one construction moves the first column."""
    return [float(np.linalg.norm(np.eye(len(w))[0] - w[:, 0])) for w in weights]


def outputs(weights: Sequence[Array], a: Sequence[Array], b: Sequence[Array], scale: float, x: Array) -> Array:
    """f(x) of every draw, (draws, points, d_L), at the inputs ``x`` (points, d_0)."""
    hidden = np.broadcast_to(x, (len(a[0]), *x.shape))
    for t, weight in enumerate(weights):
        hidden = hidden @ weight.T + scale * (hidden @ a[t].mT) @ b[t].mT
        if t < len(weights) - 1:
            hidden = np.maximum(hidden, 0.0)
    return hidden
