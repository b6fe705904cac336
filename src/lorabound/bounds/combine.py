"""The least of several bounds, and what it costs: the failure probabilities add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lorabound.arguments import number, probability
from lorabound.errors import InputError
from lorabound.notation import Bound


def best_of(bounds: Sequence[Bound], delta: float | None = None) -> Bound:
    """min_i value_i with probability >= 1 - sum_i delta_i (for lower bounds the max).

    To have the least of m certificates at delta, compute each at delta/m (or any other shares of delta).
    Certificates of different predictors may be combined (structural risk minimization: the best of K ranks
    or seeds): the result speaks of the winner. Give every bound that was computed and might have been
    chosen, not only the good ones.

    Args:
        bounds: at least one, of one ``kind``, ``direction`` and ``trivial`` value; all at some delta, or
            all in expectation.
        delta: failure probability that may be spent in all; None takes the sum of the shares.
    Returns:
        The winner, with ``delta`` the sum of all shares. Arrays are compared entry by entry; then all
        bounds must speak of one predictor.
    Raises:
        InputError: bounds that cannot be compared; shares that add up to more than ``delta``, or to 1 or
            more.
    Source: union bound.
    """
    if len(bounds) == 0:
        raise InputError("best_of: need at least one bound, got none")
    for field in ("kind", "direction", "trivial"):
        found = {getattr(bound, field) for bound in bounds}
        if len(found) > 1:
            raise InputError(f"best_of: bounds must share one {field}, got {sorted(found)}")
    if len({bound.delta is None for bound in bounds}) > 1:
        raise InputError("best_of: bounds in expectation and bounds at a delta cannot be compared")
    spent = None if bounds[0].delta is None else sum(bound.delta or 0.0 for bound in bounds)
    if delta is not None:
        allowed = probability("best_of", "delta", delta)
        if spent is None:
            raise InputError(f"best_of: bounds in expectation have no delta to share, got delta={delta}")
        if spent > allowed * (1 + 1e-9):
            raise InputError(
                f"best_of: the deltas of the {len(bounds)} bounds add up to {spent:g}, more than "
                f"delta={delta:g}; compute each at delta/{len(bounds)}"
            )
    if spent is not None and not spent < 1:
        raise InputError(f"best_of: the deltas of the {len(bounds)} bounds must add up to less than 1, got {spent:g}")
    sign = 1.0 if bounds[0].direction == "upper" else -1.0
    theorem = f"best of {len(bounds)} bounds, union bound"
    values = np.broadcast_arrays(*(np.asarray(bound.value) for bound in bounds))
    which = (sign * np.stack(values)).argmin(axis=0)
    inputs: dict[str, Any] = {
        "theorems": [bound.theorem for bound in bounds],
        "values": [bound.value for bound in bounds],
        "deltas": [bound.delta for bound in bounds],
        "chosen": which.tolist(),
    }
    if which.ndim == 0:
        winner = bounds[int(which)]
        return replace(winner, delta=spent, theorem=f"{winner.theorem}; {theorem}", inputs=inputs)
    predictors = {bound.predictor for bound in bounds}
    if len(predictors) > 1:
        raise InputError(f"best_of: curves must speak of one predictor, got {sorted(predictors)}")
    least = number(np.take_along_axis(np.stack(values), which[None], axis=0)[0])
    sizes = np.stack(np.broadcast_arrays(*(np.asarray(bound.n_samples) for bound in bounds), which)[:-1])
    return replace(
        bounds[0],
        value=least,
        delta=spent,
        n_samples=number(np.take_along_axis(sizes.astype(np.float64), which[None], axis=0)[0]),
        terms={"best": least},
        combine="best",
        theorem=theorem,
        assumptions=tuple(dict.fromkeys(text for bound in bounds for text in bound.assumptions)),
        inputs=inputs,
    )
