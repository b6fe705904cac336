"""What callers may pass: one place that refuses a value and says which values are allowed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorabound.errors import InputError
from lorabound.notation import Number

Array = NDArray[np.float64]


def number(value: ArrayLike) -> Number:
    """A float for a 0-d value, the array itself otherwise."""
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def real(
    function: str,
    name: str,
    value: ArrayLike,
    low: float = 0.0,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    whole: bool = False,
) -> Array:
    """``value`` as float64 when every entry lies between ``low`` and ``high``.

    ``open_low``, ``open_high`` leave the end point out, ``whole`` asks for integers; NaN is always refused.

    Raises:
        InputError: naming the function, the argument, the first bad entry and the allowed set.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{function}: {name} must be a number or an array of numbers, got {value!r}") from error
    above = array > low if open_low else array >= low
    below = array < high if open_high else array <= high
    allowed = above & below & (np.floor(array) == array if whole else True)
    if not np.all(allowed):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        bad = np.atleast_1d(array)[~np.atleast_1d(allowed)][0]
        raise InputError(f"{function}: {name} must {'be an integer' if whole else 'lie'} in {interval}, got {bad:.12g}")
    return array


def probability(function: str, name: str, value: float) -> float:
    """A failure probability strictly between 0 and 1."""
    return float(real(function, name, value, 0.0, 1.0, open_low=True, open_high=True))


def samples(function: str, value: ArrayLike) -> Array:
    """Sample sizes N >= 1, finite."""
    return real(function, "n_samples", value, 1.0, open_high=True)


def choice(function: str, name: str, value: object, allowed: Collection[object]) -> None:
    """``value`` must be one of ``allowed``."""
    if value not in allowed:
        known = ", ".join(map(repr, allowed))
        raise InputError(f"{function}: {name} must be one of {known}, got {value!r}")
