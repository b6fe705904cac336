"""Chaining the gap itself over covers of members of the class: no symmetrization, small constants (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, number, real, samples
from lorabound.bounds.covering import Form, log_covering
from lorabound.bounds.network import Block
from lorabound.errors import InputError
from lorabound.notation import Number

# Radii any cover is tried at, fixed for good: 2^-1 down to 2^-31 by a fifth of an octave.
SCALES: Array = 2.0 ** -(1 + np.arange(151) / 5)
# Longest step between neighbouring scales (a factor 2^8), but for the first, which may be any.
_STEP = 40


def chaining_sum(
    blocks: Sequence[Block], n_samples: ArrayLike, scales: Sequence[float], form: Form = "finest"
) -> Number:
    """2 e_k + sum_{j=1..k} e_{j-1} sqrt(2 ln N(e_j)/N) >= E sup (R - Rhat), for the given scales.

    Args:
        blocks: (q_t, ln K_t), see :func:`log_covering`.
        n_samples: N.
        scales: 1/2 = e_0 > e_1 > ... > e_k > 0, chosen without looking at the sample.
    Raises:
        InputError: scales that do not start at 1/2 or do not decrease, or another argument out of range.
    Source: ours. Let p_j(f) be a centre within e_j of f in sup norm, a member of the class, p_0 the
        constant 1/2. Walk from p_k(f) down: c_k = p_k(f), c_{j-1} = p_{j-1}(c_j). Increments c_j - c_{j-1}
        have sup norm <= e_{j-1}, so their mean over the sample is sub-Gaussian with proxy e_{j-1}^2/N, and
        there are at most N(e_j) of them: the expected largest is <= e_{j-1} sqrt(2 ln N(e_j)/N). The last
        step costs 2 e_k.
    """
    n = samples("chaining_sum", n_samples)
    e = real("chaining_sum", "scales", scales, 0.0, 0.5, open_low=True)
    if e.ndim != 1 or e.size == 0 or e[0] != 0.5 or not np.all(np.diff(e) < 0):
        raise InputError(f"chaining_sum: scales must start at 0.5 and decrease, got {scales}")
    links = sum(
        (coarse * np.sqrt(2 * np.asarray(log_covering(blocks, fine, form)) / n) for coarse, fine in pairwise(e)),
        start=np.zeros(()),
    )
    return number(2 * e[-1] + links)


def best_chain(
    blocks: Sequence[Block], n: Array, form: Form, residual: float = 2.0
) -> tuple[Array, Array, list[float] | None]:
    """(residual e_k, links, scales): the least ``chaining_sum`` over all chains of SCALES.

    Nothing depends on the sample, so the choice is free. Links cost 1/sqrt(N) times a length that does not
    depend on N: shortest paths to every scale once, then the best last scale for every N. The scales are
    given where N and the blocks are single numbers.
    """
    shape = np.broadcast_shapes(*(np.shape(entry) for block in blocks for entry in block))
    e = SCALES.reshape((-1,) + (1,) * len(shape))
    weight = np.sqrt(2 * np.asarray(log_covering(blocks, e, form)))
    length, came_from = np.zeros_like(weight), np.zeros(weight.shape, dtype=np.intp)
    for i in range(1, len(e)):
        nearest = max(1, i - _STEP)
        steps = length[nearest:i] + e[nearest:i] * weight[i]
        length[i] = e[0] * weight[i]
        if nearest < i:
            j = steps.argmin(axis=0)
            shortest = np.take_along_axis(steps, j[None], axis=0)[0]
            came_from[i] = np.where(shortest < length[i], j + nearest, 0)
            length[i] = np.minimum(shortest, length[i])
    pad = (1,) * (n.ndim - len(shape))
    links = length.reshape((len(e), *pad, *shape)) / np.sqrt(n)
    ends = residual * SCALES.reshape((-1,) + (1,) * (links.ndim - 1))
    last = (ends + links).argmin(axis=0)
    scales = None
    if links.ndim == 1:
        i = int(last)
        path = [i]
        while i > 0:
            i = int(came_from[i])
            path.append(i)
        scales = [float(SCALES[i]) for i in reversed(path)]
    return residual * SCALES[last], np.take_along_axis(links, last[None], axis=0)[0], scales


def chaining_terms(
    blocks: Sequence[Block], n: Array, log_delta: float, form: Form
) -> tuple[dict[str, Number], list[float] | None]:
    """{discretization, chain, confidence} of the best chain, and its scales."""
    discretization, links, scales = best_chain(blocks, n, form)
    confidence = np.sqrt(-log_delta / (2 * n))
    return {
        "discretization": number(discretization),
        "chain": number(links),
        "confidence": number(confidence),
    }, scales
