"""How many functions it takes to come within eps of every adapted network: logarithms of covering numbers.

``blocks`` is a list of (q_t, ln K_t), one per trainable factor (see :meth:`LoraNetwork.blocks`): the composed
loss moves by at most sum_t K_t ||P_t - P'_t||_F / M_t, in sup norm, and every centre is a member of the
class. q_t and ln K_t may be arrays that broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, choice, number, real
from lorabound.bounds.network import Block
from lorabound.errors import InputError
from lorabound.notation import Number

Form = Literal["finest", "frobenius", "cube"]
FORMS: tuple[Form, ...] = ("finest", "frobenius", "cube")


def log_covering(blocks: Sequence[Block], eps: ArrayLike, form: Form = "frobenius") -> Number:
    """ln N(eps) of the loss class, sup norm, in nats.

    ``frobenius``: sum_t q_t ln(1 + 2 K_t q/(q_t eps)), a product of Frobenius balls, factor t given the
    share q_t/q of eps (factors with K_t = 0 take no share).
    ``cube``: q ln ceil(sum_t K_t / eps), the class with every entry of factor t at most M_t/sqrt(q_t) in
    absolute value (the cube inside the ball).
    ``finest``: the smallest known here for the balls: 0 where sum_t K_t <= eps, else per factor the lesser
    of the ``frobenius`` term and

        q_t ln(1 + x/(1-g)) + ln(2 + q_t ln( (1 + 2x/g) / (1 + x/(1-g)) )),   x = K_t q/(q_t eps),

    g = 1/(1 + q_t ln(1 + q_t)); about q_t ln 2 nats less at small eps.

    Args:
        blocks: (q_t, ln K_t), q_t integers >= 1, ln K_t in [-inf, inf).
        eps: radius in units of the loss, > 0.
    Raises:
        InputError: an argument outside its range.
    Source: ``cube`` Kratsios et al. 2025, Lemmas 5, 6, 8. ``frobenius`` ours: a maximal eps-separated
        subset of a ball of radius R has at most (1 + 2R/eps)^q members, and they lie in the ball.
        ``finest`` ours, after
        Rogers 1963: a centre drawn uniformly from the ball of radius R + h, h = (1-g) eps, is within h of
        a given point with probability p = (1 + R/h)^-q; T = ceil(ln(mp)/p) centres leave at most 1/p of
        the m = (1 + 2R/(g eps))^q points of a (g eps)-net unserved on average, and each of those becomes a
        centre
        itself: at most (ln(mp) + 2)/p in all. Projecting the centres onto the ball moves them closer.
    """
    choice("log_covering", "form", form, FORMS)
    q, log_k = stacked("log_covering", blocks)
    log_eps = np.log(real("log_covering", "eps", eps, open_low=True, open_high=True))
    log_sum = np.logaddexp.reduce(log_k, axis=0)
    if form == "cube":
        # ceil, with the quotient rounded up; beyond e^30 the ceil adds less than e^-30.
        log_ratio = log_sum - log_eps
        cells = np.log(np.maximum(np.ceil(np.exp(np.minimum(log_ratio, 30.0)) * (1 + 1e-12)), 1.0))
        per_entry = np.where(log_ratio < 30.0, cells, np.logaddexp(0.0, log_ratio))
        return number(q.sum(axis=0) * per_entry)
    # The blocks lead, so that eps broadcasts against what is left.
    q, log_k = np.broadcast_arrays(q, log_k)
    q = q.reshape((len(q),) + (1,) * (log_eps.ndim - q.ndim + 1) + q.shape[1:])
    log_x = _log_share(q, log_k.reshape(q.shape)) - log_eps
    volume = q * np.logaddexp(0.0, np.log(2.0) + log_x)
    if form == "frobenius":
        return number(volume.sum(axis=0))
    gap = 1 / (1 + q * np.log1p(q))
    coverage = q * np.logaddexp(0.0, log_x - np.log1p(-gap))
    net = q * np.logaddexp(0.0, np.log(2 / gap) + log_x)
    drawn = coverage + np.log(2 + net - coverage)
    return number(np.where(log_sum <= log_eps, 0.0, np.minimum(volume, drawn).sum(axis=0)))


def log_covering_constant(blocks: Sequence[Block], largest: float, form: Form = "frobenius") -> Number:
    """ln C with ln N(u) <= q ln(C/u) for every u in (0, ``largest``].

    ``frobenius``: sum_t (q_t/q) ln(D + 2 K_t q/q_t), D = ``largest``; ``cube``: ln(D + sum_t K_t).
    Source: ours; 1 + c/u <= (D + c)/u on (0, D], and ceil(c/u) <= 1 + c/u.
    """
    q, log_k = stacked("log_covering_constant", blocks)
    log_largest = np.log(largest)
    if form == "cube":
        return number(np.logaddexp(log_largest, np.logaddexp.reduce(log_k, axis=0)))
    each = np.logaddexp(log_largest, np.log(2.0) + _log_share(q, log_k))
    return number((q * each).sum(axis=0) / q.sum(axis=0))


def total_params(blocks: Sequence[Block]) -> Number:
    """q = sum_t q_t."""
    return number(stacked("total_params", blocks)[0].sum(axis=0))


def stacked(function: str, blocks: Sequence[Block]) -> tuple[Array, Array]:
    """(q_t) and (ln K_t), checked, blocks along the first axis."""
    if len(blocks) == 0:
        raise InputError(f"{function}: blocks must hold at least one (q_t, ln K_t), got none")
    for size, log_k in blocks:
        real(function, "q_t", size, 1.0, open_high=True, whole=True)
        real(function, "ln K_t", log_k, -np.inf, open_high=True)
    arrays = np.broadcast_arrays(*(np.asarray(entry, dtype=np.float64) for block in blocks for entry in block))
    return np.stack(arrays[::2]), np.stack(arrays[1::2])


def _log_share(q: Array, log_k: Array) -> Array:
    """ln(K_t q/q_t), q over the factors that can move the loss at all."""
    moving = np.where(np.isneginf(log_k), 0.0, q).sum(axis=0)
    share: Array = log_k + np.log(np.maximum(moving, 1.0)) - np.log(q)
    return share
