"""The information-theoretic bound on the expected gap: what a stored bit may cost (Zhu et al. 2024)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import number, real, samples
from lorabound.notation import Bound


def information_gap(n_params: ArrayLike, n_samples: ArrayLike, bits: int = 16, sub_gaussian: float = 0.5) -> Bound:
    """|E gap| <= sqrt(2 sigma^2 ln 2 * b q / N).

    The trained parameters carry at most b q bits about the sample, and the mutual information between
    them and the sample is at most b q ln 2 nats (Xu & Raginsky 2017, Theorem 1).

    Args:
        n_params: q, trainable parameters; scalar or array, >= 0.
        n_samples: N; scalar or array, >= 1.
        bits: b, bits in which one trained parameter is stored.
        sub_gaussian: sigma; 1/2 for a loss in [0, 1] (Hoeffding's lemma).
    Returns:
        A bound on the gap averaged over draws of sample, factor and training: not on one run.
    Raises:
        InputError: an argument outside its range.
    Source: Zhu et al. 2024, *Asymmetry in Low-Rank Adapters of Foundation Models*, Lemma 4.5.
    """
    name = "information_gap"
    q, n = real(name, "n_params", n_params, open_high=True), samples(name, n_samples)
    real(name, "bits", bits, 1.0, open_high=True)
    real(name, "sub_gaussian", sub_gaussian, open_low=True, open_high=True)
    nats_per_sample = bits * q * math.log(2) / n
    value = np.sqrt(2 * sub_gaussian**2 * nats_per_sample)
    return Bound(
        value=number(value),
        kind="gap",
        delta=None,
        n_samples=number(n),
        terms={"nats_per_sample": number(nats_per_sample)},
        combine="sqrt(2 sigma^2 nats_per_sample)",
        theorem="Zhu et al. 2024, Lemma 4.5 (Xu & Raginsky 2017, Theorem 1)",
        predictor="the trained predictor, averaged over draws of sample, factor and training",
        scope="expectation",
        assumptions=(
            "examples are independent and identically distributed",
            f"every trained parameter is stored in {bits} bits",
            f"the loss is {sub_gaussian:g}-sub-Gaussian (1/2 covers any loss in [0, 1])",
            "the frozen factor and the initialization are drawn independently of the sample",
        ),
        inputs={"n_params": number(q), "bits": bits, "sub_gaussian": sub_gaussian},
    )
