"""The family ``cells``: a class whose supremum is known, so that it tells what share of a supremum the ascent finds.

One layer, 4m ranks for m cells, fair-coin labels, loss |clip(yhat, 0, 1) - y|, W = 1/2, a fresh sample for every pair
of sign draws, in a ball around 0 that is sure to hold every c in {0, 1}^m. The supremum is sum_i |T_i|/(2N) with T_i
the signed sum of the labels +-1 of cell i, and its mean over samples is ``bounds.rank_lower_bound``, as T_i is a walk
of n_i steps.
"""

from __future__ import annotations

import numpy as np
import torch

from lorabound.bounds import rademacher_upper, rank_lower_bound
from lorabound.worst_case.measured.family import About, Family, Problem, gaussian, signs_of, twice
from lorabound.worst_case.measured.lora_mlp import DISTANCE, FrozenMlp, LoraMlpClass
from lorabound.worst_case.options import ComplexityConfig
from lorabound.worst_case.simulated.cells import holding_radius

RANKS_PER_CELL = 4


def cells(settings: ComplexityConfig) -> Family:
    """One layer over m cells at rank 4m, for every m of ``settings.ranks``."""

    def problem(rank: int, n: int) -> Problem:
        m, pairs = rank // RANKS_PER_CELL, settings.signs // 2
        random = np.random.default_rng([settings.seed, 3, m, n])
        cell, label = random.integers(m, size=(pairs, n)), random.integers(2, size=(pairs, n))
        weight = np.full((1, m), 0.5, dtype=np.float32)
        mlp = FrozenMlp(weights=[weight], biases=[np.zeros(1, dtype=np.float32)])
        a = gaussian(settings, 9, rank, m)
        radius = holding_radius(a, weight[0].astype(np.float64), settings.scale)
        x = torch.from_numpy(twice(np.eye(m, dtype=np.float32)[cell]))
        y = torch.from_numpy(twice(label.astype(np.float32)))
        network = mlp.lora_class(rank, [a], [radius], settings.scale, input_radius=1.0)
        # T_i of the first of every pair; that of the second is -T_i.
        walks = np.zeros((pairs, m))
        signs = signs_of(settings, n)[:pairs].numpy()
        np.add.at(walks, (np.arange(pairs)[:, None], cell), signs * (2 * label - 1))
        return Problem(
            members=LoraMlpClass(mlp, [twice(a)], [twice(radius)], settings.scale, x, y, DISTANCE),
            n_params=int(network.n_params),
            upper=float(np.mean(rademacher_upper(network.blocks(DISTANCE.lipschitz), n))),
            supremum=float(np.abs(walks).sum(axis=1).mean() / (2 * n)),
            exact=float(rank_lower_bound(n, m).value),
        )

    about = About(
        name="cells",
        title="A class whose worst case is known",
        sentence="Cells: a class whose supremum is known (one layer, rank/4 cells, fair-coin labels).",
    )
    return Family(
        about=about, ranks=[RANKS_PER_CELL * m for m in sorted(settings.ranks)], nested=False, problem=problem
    )
