"""How closely the uniform gap of one run keeps to its mean over samples (question Q1 of the paper)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import number, real, samples
from lorabound.notation import Number


def concentration(n_samples: ArrayLike, t: ArrayLike) -> Number:
    """P( |G - E[G | A]| >= t | A ) <= 2 exp(-2 N t^2), for every fixed A. Not clipped: 2 at t = 0.

    G is the supremum over the class, for a loss in [0, 1]; its standard deviation is at most 1/(2 sqrt(N)).
    How E[G | A] moves with A, and the gap of one trained adapter, which is not a supremum, are not covered.

    Args:
        n_samples: N >= 1.
        t: deviation >= 0, in units of the loss.
    Raises:
        InputError: an argument outside its range.
    Source: McDiarmid 1989, Lemma 1.2: one example moves G by at most 1/N.
    """
    n, t = samples("concentration", n_samples), real("concentration", "t", t, open_high=True)
    return number(2 * np.exp(-2 * n * t**2))


def concentration_width(n_samples: ArrayLike, delta: ArrayLike, sides: int = 2) -> Number:
    """t = sqrt(ln(sides/delta)/(2N)), the inverse of :func:`concentration`; one side at sides = 1.

    Args:
        n_samples: N >= 1.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: McDiarmid 1989, Lemma 1.2.
    """
    n = samples("concentration_width", n_samples)
    real("concentration_width", "sides", sides, 1, 2, whole=True)
    level = real("concentration_width", "delta", delta, 0.0, 1.0, open_low=True, open_high=True)
    return number(np.sqrt((np.log(sides) - np.log(level)) / (2 * n)))
