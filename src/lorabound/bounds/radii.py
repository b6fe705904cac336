"""Uniform bounds when nobody promised a radius: a grid fixed in advance, paid for by a union bound (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, choice, probability, real, samples
from lorabound.bounds.covering import Form
from lorabound.bounds.dudley import Constants
from lorabound.bounds.net import net_kl_bound, net_kl_terms, uniform_assumptions
from lorabound.bounds.network import LoraNetwork
from lorabound.bounds.uniform import Method, gap_bound
from lorabound.errors import InputError
from lorabound.notation import Bound

# 2^(k/64) over [2^-30, 2^30]: rounding up costs about L q ln 2/64 nats at depth L, the union ln 3841 = 8.25 nats.
RADII: Array = 2.0 ** (np.arange(-30 * 64, 30 * 64 + 1) / 64)


def over_radii(
    make_network: Callable[[Any], LoraNetwork],
    trained_radius: ArrayLike,
    n_samples: ArrayLike,
    delta: float,
    method: Method | Literal["net_kl"] = "chaining",
    constants: Constants = "sharp",
    sides: Literal[1, 2] = 1,
    form: Form = "finest",
    loss_lipschitz: float = 1.0,
    empirical_risk: ArrayLike | None = None,
) -> Bound:
    """The uniform bound on the smallest ball of the grid that holds the trained factors, at delta/G.

    The grid is M = 2^(k/64), k = -1920 .. 1920, G = 3841 radii. With one radius for all factors
    ``trained_radius`` is the largest ||P_t - P_t(0)||_F, and the bound runs at delta/G; with one radius a
    factor it is their list, and the bound runs at delta/G^(number of radii).

    Args:
        make_network: function from a radius (or a list of radii, as ``trained_radius`` has) to a
            :class:`LoraNetwork`. Nothing in it may depend on the sample but through that argument.
        trained_radius: radius measured after training; at most 2^30.
        n_samples, delta, method, constants, sides, form: arguments of :func:`uniform_gap`; method "net_kl" gives
            the risk
            bound of :func:`net_kl`.
        loss_lipschitz: L_ell.
        empirical_risk: Rhat, for "net_kl" only.
    Raises:
        InputError: a radius beyond the grid, or another argument outside its range.
    Source: ours; a union bound over the grid. Radius 0 rounds up to 2^-30.
    """
    choice("over_radii", "method", method, ("chaining", "net", "dudley", "net_kl"))
    choice("over_radii", "sides", sides, (1, 2))
    # The cube holds factors by their largest entry, and a Frobenius norm says too little about that.
    choice("over_radii", "form", form, ("finest", "frobenius"))
    n = samples("over_radii", n_samples)
    log_delta = math.log(probability("over_radii", "delta", delta))
    wanted = real("over_radii", "trained_radius", trained_radius, 0.0, float(RADII[-1]))
    if wanted.ndim > 1 or wanted.size == 0:
        raise InputError(f"over_radii: trained_radius must be a number or a list, got shape {wanted.shape}")
    ball = RADII[np.searchsorted(RADII, wanted)]
    radius = float(ball) if ball.ndim == 0 else [float(entry) for entry in ball]
    union_nats = wanted.size * math.log(len(RADII))
    network = make_network(radius)
    made = [entry for pair in network.radii if pair is not None for entry in np.ravel(pair)]
    if (ball.ndim and ball.size != len(made)) or np.any(np.asarray(made) < ball):
        raise InputError(f"over_radii: make_network({radius}) must return balls of these radii, got {made}")
    blocks = network.blocks(loss_lipschitz)
    log_share = log_delta - union_nats
    if method == "net_kl":
        if empirical_risk is None:
            raise InputError("over_radii: method 'net_kl' needs empirical_risk, got None")
        risk = real("over_radii", "empirical_risk", empirical_risk, 0.0, 1.0)
        bound = net_kl_bound(net_kl_terms(blocks, n, log_share, risk, form), n, delta, risk, blocks, form)
    else:
        if empirical_risk is not None:
            raise InputError("over_radii: empirical_risk belongs to method 'net_kl' only")
        bound = gap_bound(blocks, n, delta, log_share, method, constants, sides, form)
    inputs = {**bound.inputs, "radius": radius, "trained_radius": trained_radius, "union_nats": union_nats}
    return replace(
        bound,
        theorem=f"{bound.theorem}; union over {len(RADII)} radii",
        assumptions=uniform_assumptions(form, fixed_radii=False),
        inputs=inputs,
    )
