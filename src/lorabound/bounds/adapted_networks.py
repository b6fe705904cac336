"""Which networks a frozen network becomes under updates of rank R, one per layer (Zeng & Lee 2024).

Linear networks: a lower bound on the error that always holds, and updates that attain it under two conditions that
are checked. ReLU networks: from those updates and biases that keep every unit inside a group of layers active.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, real
from lorabound.errors import InputError

# A matrix is taken for singular where its condition number is beyond this: what is computed with it has few digits.
_WORST_CONDITION = 1e10


def linear_error(weights: Sequence[ArrayLike], target: ArrayLike, rank: int) -> float:
    """sigma_{RL+1}(E) <= || (W_L + D_L) ... (W_1 + D_1) - Wbar ||_2 for all D_l of rank <= R, E = Wbar - W_L ... W_1.

    It holds for all weights, of any shapes that can be multiplied. Updates that attain it exist under the conditions of
    :func:`linear_updates`, and not always: for W_1 = W_2 = 0, R = 1 and Wbar = diag(3, 2, 0) the least error is 2,
    and sigma_3(E) = 0.

    Args:
        weights: W_1, ..., W_L, the first applied first; W_l is (d_l, d_{l-1}).
        target: Wbar, (d_L, d_0).
        rank: R >= 0.
    Returns:
        sigma_{RL+1}(E); 0 where E has no so many singular values.
    Raises:
        InputError: shapes that do not fit, or an argument outside its range.
    Source: Zeng & Lee 2024, Lemma 1 (square weights). (W_L + D_L) ... (W_1 + D_1) - W_L ... W_1 is a sum of L products
        with a factor D_l each, so its rank is at most RL; then Eckart & Young 1936.
    """
    layers, wbar, r = _network("linear_error", weights, target, rank)
    sigma = np.linalg.svd(wbar - _product(layers, wbar.shape[1]), compute_uv=False)
    return float(sigma[r * len(layers)]) if r * len(layers) < sigma.size else 0.0


def linear_updates(weights: Sequence[ArrayLike], target: ArrayLike, rank: int) -> list[Array]:
    """Updates D_1, ..., D_L of rank <= R that attain :func:`linear_error`, where the conditions for them hold.

    With P_l = W_L ... W_{l+1} (P_L = I), E_k the best approximation of E of rank k and T_l = W_L ... W_1 + E_{Rl}:
    X_l = P_l^{-1} T_l (X_0 = I) and D_l = P_l^{-1} (T_l - T_{l-1}) X_{l-1}^{-1}. Then (W_l + D_l) X_{l-1} = X_l, so
    the adapted network is T_L, at the distance sigma_{RL+1}(E) of Wbar.

    Conditions: all weights are d x d; W_2, ..., W_L and T_1, ..., T_{L-1} are nonsingular.

    Args:
        weights: W_1, ..., W_L, (d, d) each, the first applied first.
        target: Wbar, (d, d).
        rank: R >= 0.
    Raises:
        InputError: weights that are not square, a matrix of the conditions that is singular (condition number above
            1e10), or an argument outside its range.
    Source: Zeng & Lee 2024, Lemma 1; the construction in this form, and that W_1 and T_0 may be singular, is ours.
    """
    name = "linear_updates"
    layers, wbar, r = _network(name, weights, target, rank)
    width = wbar.shape[1]
    for index, w in enumerate([*layers, wbar], start=1):
        if w.shape != (width, width):
            what = "target" if index > len(layers) else f"weights {index}"
            raise InputError(f"{name}: {what} must be square, {width} x {width}, got shape {w.shape}")
    product = _product(layers, width)
    u, sigma, vt = np.linalg.svd(wbar - product)
    updates: list[Array] = []
    before = np.eye(width)
    for index in range(1, len(layers) + 1):
        after = _product(layers[index:], width)
        if index < len(layers):
            _refuse_singular(name, layers[index], f"weights {index + 1}")
        chosen = slice(r * (index - 1), r * index)
        step = np.linalg.solve(after, (u[:, chosen] * sigma[chosen]) @ vt[chosen])
        if index > 1:
            best = f"the product of the weights plus the best rank-{r * (index - 1)} part of the error"
            _refuse_singular(name, before, best)
        updates.append(np.asarray(np.linalg.solve(before.T, step.T).T, dtype=np.float64))
        before = (layers[index - 1] + updates[-1]) @ before
    return updates


def relu_rank(weights: Sequence[ArrayLike], targets: Sequence[ArrayLike]) -> int:
    """The rank R at which :func:`relu_updates` makes a ReLU network of L layers equal to one of Lbar <= L layers.

        R = ceil( max_i rank(Wbar_i - prod_{l in group i} W_l) / M ),  M = floor(L / Lbar)

    Layers are grouped in order, M each, the last group with what is left.

    Args:
        weights: W_1, ..., W_L of the frozen network, (d, d) each.
        targets: Wbar_1, ..., Wbar_Lbar, (d, d) each.
    Raises:
        InputError: more targets than weights, none of either, or shapes that differ.
    Source: Zeng & Lee 2024, the theorem on ReLU networks under a uniform partition of the layers.
    """
    groups, wanted = _groups("relu_rank", weights, targets)
    depth = len(groups[0])
    ranks = [
        np.linalg.matrix_rank(wbar - _product(group, len(wbar))) for group, wbar in zip(groups, wanted, strict=True)
    ]
    return -(-int(max(ranks)) // depth)


def relu_updates(
    weights: Sequence[ArrayLike],
    targets: Sequence[ArrayLike],
    target_biases: Sequence[ArrayLike],
    rank: int,
    input_radius: float,
) -> tuple[list[Array], list[Array]]:
    """Updates D_l of rank <= R and biases with which a frozen ReLU network equals a smaller one on a ball.

    For all ||x||_2 <= rho: h_l = ReLU((W_l + D_l) h_{l-1} + b_l) and z_i = ReLU(Wbar_i z_{i-1} + bbar_i) end in the
    same output, with or without the last ReLU. Inside a group the updates are those of :func:`linear_updates`, X_l is
    what the group computes up to layer l, and b_l = c_l - (W_l + D_l) c_{l-1} with c_l = ||rows of X_l||_2 times
    the largest norm of the group's input: X_l x + c_l >= 0, so that no ReLU inside the group cuts anything.

    Conditions: those of :func:`linear_updates` in every group, R at least :func:`relu_rank`, biases trained as well,
    bounded inputs.

    Args:
        weights: W_1, ..., W_L, (d, d) each; their own biases do not matter, as biases are trained.
        targets: Wbar_1, ..., Wbar_Lbar, (d, d) each, Lbar <= L.
        target_biases: bbar_1, ..., bbar_Lbar, (d,) each.
        rank: R.
        input_radius: rho >= 0.
    Returns:
        D_1, ..., D_L and b_1, ..., b_L.
    Raises:
        InputError: a rank below :func:`relu_rank`, a condition of :func:`linear_updates` that fails, or arguments that
            do not fit.
    Source: Zeng & Lee 2024, the theorem on ReLU networks; biases in this form are ours.
    """
    name = "relu_updates"
    groups, wanted = _groups(name, weights, targets)
    needed = relu_rank(weights, targets)
    if rank < needed:
        raise InputError(f"{name}: rank must be at least {needed} for these networks, got {rank}")
    biases_wanted = [_array(name, "target_biases", bias, 1) for bias in target_biases]
    if [len(bias) for bias in biases_wanted] != [len(wbar) for wbar in wanted]:
        raise InputError(f"{name}: target_biases must be one vector of length {len(wanted[0])} for each target")
    radius = float(real(name, "input_radius", input_radius, open_high=True))
    updates: list[Array] = []
    biases: list[Array] = []
    for group, wbar, bbar in zip(groups, wanted, biases_wanted, strict=True):
        added = linear_updates(group, wbar, rank)
        computed, shift = np.eye(len(wbar)), np.zeros(len(wbar))
        for index, (w, d) in enumerate(zip(group, added, strict=True), start=1):
            computed = (w + d) @ computed
            after = bbar if index == len(group) else np.linalg.norm(computed, axis=1) * radius
            biases.append(after - (w + d) @ shift)
            shift = after
        updates += added
        radius = float(np.linalg.norm(wbar, 2) * radius + np.linalg.norm(bbar))
    return updates, biases


def _network(name: str, weights: Sequence[ArrayLike], target: ArrayLike, rank: int) -> tuple[list[Array], Array, int]:
    layers = [_array(name, f"weights {index}", w, 2) for index, w in enumerate(weights, start=1)]
    wbar = _array(name, "target", target, 2)
    if not layers:
        raise InputError(f"{name}: weights must hold one matrix at least")
    sides = [wbar.shape[1], *(w.shape[0] for w in layers)]
    for index, (w, d_in) in enumerate(zip(layers, sides, strict=False), start=1):
        if w.shape[1] != d_in:
            raise InputError(f"{name}: weights {index} must have {d_in} columns, got shape {w.shape}")
    if sides[-1] != wbar.shape[0]:
        raise InputError(f"{name}: target must have shape {(sides[-1], sides[0])}, got {wbar.shape}")
    return layers, wbar, int(real(name, "rank", rank, 0.0, open_high=True, whole=True))


def _groups(
    name: str, weights: Sequence[ArrayLike], targets: Sequence[ArrayLike]
) -> tuple[list[list[Array]], list[Array]]:
    layers = [_array(name, f"weights {index}", w, 2) for index, w in enumerate(weights, start=1)]
    wanted = [_array(name, f"targets {index}", w, 2) for index, w in enumerate(targets, start=1)]
    if not 1 <= len(wanted) <= len(layers):
        raise InputError(f"{name}: give from 1 to {len(layers)} targets, as many as weights at most, got {len(wanted)}")
    width = len(layers[0])
    if any(w.shape != (width, width) for w in [*layers, *wanted]):
        raise InputError(f"{name}: weights and targets must all be square and of one size")
    depth = len(layers) // len(wanted)
    ends = [*range(depth, depth * len(wanted), depth), len(layers)]
    return [layers[start:end] for start, end in zip([0, *ends], ends, strict=False)], wanted


def _product(layers: Sequence[Array], width: int) -> Array:
    product = np.eye(width)
    for w in layers:
        product = w @ product
    return product


def _refuse_singular(name: str, matrix: Array, what: str) -> None:
    condition = float(np.linalg.cond(matrix))
    if not condition <= _WORST_CONDITION:
        raise InputError(
            f"{name}: {what} must be nonsingular, its condition number is {condition:.3g}: updates that attain the "
            "bound need not exist"
        )


def _array(name: str, argument: str, value: ArrayLike, ndim: int) -> Array:
    array = real(name, argument, value, -np.inf, np.inf, open_low=True, open_high=True)
    if array.ndim != ndim or array.size == 0:
        kind = "a matrix" if ndim == 2 else "a vector"
        raise InputError(f"{name}: {argument} must be {kind}, got shape {array.shape}")
    return array
