"""The rank in the lower bound (theory 5.4, ours): m free cells, one adapted layer, the majority label of every cell.

Inputs are uniform on e_1 .. e_m, labels are fair coins, the loss is |yhat - y|. Columns of A beyond the m-th
never act, so the layer is m wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lorabound.arguments import Array
from lorabound.bounds import LoraNetwork, rank_lower_bound, uniform_gap
from lorabound.modes import PAPER_MODE
from lorabound.worst_case.options import LowerConfig

# Draws of (A, sample) at most; fewer where a pseudo-inverse costs too much.
TRIALS = 2000
_WORK = 2**33
# Numbers that one step may hold.
_BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class CellsRow:
    """Rank r, m cells, N examples.

    Attributes:
        rank: r.
        cells: m.
        n_train: N.
        exact: E (1/N) sum_i |S_i - n_i/2|, exactly; the least the mean uniform gap can be.
        mean: mean gap R - Rhat of real adapters, from their outputs.
        standard_error: standard error of that mean.
        trials: number of draws of A and of the sample.
        max_error: largest |f(e_i) - c_i|.
        norm: median ||B||_F.
        max_norm: largest ||B||_F.
        upper: mean over the A drawn of the chaining bound on E sup (R - Rhat), in the ball of radius
            :func:`holding_radius`, which holds every such B.
    """

    rank: int
    cells: int
    n_train: int
    exact: float
    mean: float
    standard_error: float
    trials: int
    max_error: float
    norm: float
    max_norm: float
    upper: float


def cells_of(rank: int) -> int:
    """m = max(1, r // 4), where ||B||_F stays O(1)."""
    return max(1, rank // 4)


def simulate_cells(settings: LowerConfig, random: np.random.Generator) -> list[CellsRow]:
    """Real A, B = (1/s)(c - w) A^+ with c the majority labels, the gap read off the outputs."""
    return [row for rank in settings.ranks for row in _rows(rank, cells_of(rank), settings, random)]


def holding_radius(a: Array, weight: Array, scale: float) -> Array:
    """max_c ||c - w|| / (|s| s_min(A)) >= ||(1/s)(c - w) A^+||_F for every c in [0, 1]^m; ``a`` (draws, r, m)."""
    smallest = np.linalg.svd(a, compute_uv=False)[:, -1]
    furthest = np.linalg.norm(np.maximum(np.abs(weight), np.abs(1 - weight)))
    radius: Array = np.asarray(furthest / (abs(scale) * smallest), dtype=np.float64)
    return radius


def cells_network(rank: int, a: Array, weight: Array, radius: Array, scale: float) -> LoraNetwork:
    """The one-layer class of every drawn A: norms are arrays over draws."""
    return LoraNetwork(
        widths=[a.shape[2], 1],
        rank=rank,
        mode=PAPER_MODE,
        weight_norms=[float(np.linalg.norm(weight))],
        bias_norms=[0.0],
        factor_norms=[np.linalg.norm(a, 2, axis=(1, 2))],
        radii=[radius],
        scale=scale,
    )


def _rows(rank: int, cells: int, settings: LowerConfig, random: np.random.Generator) -> list[CellsRow]:
    trials = min(TRIALS, settings.trials, max(10, _WORK // (rank * cells**2)))
    step = max(1, _BLOCK // (rank * cells))
    weight = random.normal(size=cells) / math.sqrt(cells)
    gaps = np.zeros((len(settings.n_train), trials))
    uppers, norms = np.zeros_like(gaps), np.zeros_like(gaps)
    max_error = 0.0
    for start in range(0, trials, step):
        block = slice(start, min(start + step, trials))
        a = settings.std * random.standard_normal((block.stop - start, rank, cells))
        inverse = np.linalg.pinv(a, rcond=0.0)
        blocks = cells_network(rank, a, weight, holding_radius(a, weight, settings.scale), settings.scale).blocks()
        for j, n in enumerate(settings.n_train):
            counts = random.multinomial(n, np.full(cells, 1 / cells), len(a))
            ones = random.binomial(counts, 0.5)
            majority = (2 * ones > counts).astype(np.float64)
            b = ((majority - weight)[:, None, :] @ inverse)[:, 0] / settings.scale
            predicted = weight + settings.scale * (b[:, None, :] @ a)[:, 0]
            max_error = max(max_error, float(np.abs(predicted - majority).max()))
            wrong_on_one, wrong_on_zero = np.abs(predicted - 1), np.abs(predicted)
            risk = (wrong_on_one + wrong_on_zero).mean(axis=1) / 2
            empirical = (ones * wrong_on_one + (counts - ones) * wrong_on_zero).sum(axis=1) / n
            gaps[j, block] = risk - empirical
            norms[j, block] = np.linalg.norm(b, axis=1)
            terms = uniform_gap(blocks, n, 0.5).terms
            uppers[j, block] = np.add(terms["discretization"], terms["chain"])
    return [
        CellsRow(
            rank=rank,
            cells=cells,
            n_train=n,
            exact=float(rank_lower_bound(n, cells).value),
            mean=float(gaps[j].mean()),
            standard_error=float(gaps[j].std(ddof=1)) / math.sqrt(trials),
            trials=trials,
            max_error=max_error,
            norm=float(np.median(norms[j])),
            max_norm=float(norms[j].max()),
            upper=float(uppers[j].mean()),
        )
        for j, n in enumerate(settings.n_train)
    ]
