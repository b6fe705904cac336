"""Empirical Rademacher complexity: what covers allow at most, what a measured average proves at least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import number, probability, real, samples
from lorabound.bounds.chaining import best_chain
from lorabound.bounds.covering import Form
from lorabound.bounds.network import Block
from lorabound.notation import Number


def rademacher_upper(blocks: Sequence[Block], n_samples: ArrayLike, form: Form = "finest") -> Number:
    """Rad_S <= e_k + sum_{j=1..k} e_{j-1} sqrt(2 ln N(e_j)/N) for every sample, scales optimized.

    Rad_S = E_s sup_B (1/N) sum_n s_n ell(f_B(x_n), y_n) with random signs s.

    Args:
        blocks: (q_t, ln K_t), see :func:`log_covering`.
        n_samples: N.
    Raises:
        InputError: an argument outside its range.
    Source: ours, as :func:`chaining_sum`; the signed mean of a function below e is sub-Gaussian with proxy
        e^2/N, the constant 1/2 has none, and the last step moves a signed mean by e_k only.
    """
    last, links, _ = best_chain(blocks, samples("rademacher_upper", n_samples), form, residual=1.0)
    return number(last + links)


def rademacher_lower(average: ArrayLike, n_samples: ArrayLike, draws: ArrayLike, delta: float) -> Number:
    """Rad_S >= average - sqrt( ln(1/delta)/(2 m N) ), with probability >= 1 - delta over m draws of N signs.

    ``average`` is over draws of the largest (1/N) sum_n s_n (ell_n - 1/2) that an optimizer found:
    subtracting 1/2 changes Rad_S by nothing and halves what one sign can do. The optimizer may miss the
    supremum; then the limit is lower still.

    Args:
        average: mean over draws, in [-1/2, 1/2].
        n_samples: N, number of signs per draw.
        draws: m >= 1.
        delta: failure probability, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: McDiarmid 1989, Lemma 1.2: each of the m N signs moves the average of suprema by at most 1/(m
        N).
    """
    name = "rademacher_lower"
    mean = real(name, "average", average, -0.5, 0.5)
    signs = samples(name, n_samples) * real(name, "draws", draws, 1.0, open_high=True)
    return number(mean - np.sqrt(-np.log(probability(name, "delta", delta)) / (2 * signs)))
