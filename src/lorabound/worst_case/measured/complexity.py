"""The object of the theorem, measured: empirical Rademacher complexity of a LoRA class (theory 11).

    Rad_S = E_s sup_B (1/N) sum_n s_n ell(f_B(x_n), y_n),  ||B_t||_F <= M for every layer,

s_n independent random signs, A frozen. Measured value and upper bound are both on Rad_S. (For the gap: E sup (R -
Rhat) <= 2 E Rad_S, by symmetrization.) Draws come in pairs s and -s, with one A a pair: both have the same
mean supremum, and whatever does not depend on B cancels. A pair counts as one draw.

Two families. ``digits``: a pre-trained 64-32-10 ReLU network on unit-norm images, loss 1 - p(label), every layer
adapted. ``cells``: one layer, 4m ranks for m cells, fair-coin labels, loss |clip(yhat, 0, 1) - y|, W = 1/2, fresh
sample a pair, in a ball around 0 that is sure to hold every c in {0, 1}^m: there the supremum is known,
sum_i |T_i|/(2N) with T_i the signed sum of the labels +-1 of cell i, and so is its mean over samples:
``bounds.rank_lower_bound``, as T_i is a walk of n_i steps. It tells what share of a supremum the ascent finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from scipy import stats

from lorabound.arguments import Array
from lorabound.bounds import rademacher_lower, rademacher_upper, rank_lower_bound
from lorabound.stats import Exponent, growth_exponent
from lorabound.worst_case.measured.ascent import largest_signed_means
from lorabound.worst_case.measured.digits import WIDTHS, Digits, pretrained_digits
from lorabound.worst_case.measured.lora_mlp import DISTANCE, MISS, FrozenMlp, LoraMlpClass
from lorabound.worst_case.options import ComplexityConfig
from lorabound.worst_case.simulated.cells import holding_radius

Family = Literal["digits", "cells", "encoder"]
Axis = Literal["rank", "n_train"]
FAMILIES: tuple[Family, ...] = ("digits", "cells", "encoder")
AXES: tuple[Axis, ...] = ("rank", "n_train")

DELTA = 0.05
LEVEL = 0.95
RANKS_PER_CELL = 4
# The largest value of Rad_S for a loss in [0, 1].
TRIVIAL = 0.5


@dataclass(frozen=True)
class ComplexityRow:
    """One family, rank and N.

    Attributes:
        n_params: q.
        values: largest signed mean found, one a pair of draws (the mean of its two).
        mean, low, high: their mean, with a Student interval at LEVEL; an estimate from below of Rad_S (mean over A).
        proved: Rad_S (mean over the A drawn) is at least this, with probability 1 - DELTA over the signs.
        upper: mean over the A drawn of the bound on Rad_S.
        supremum: mean over the same draws of the supremum, where it is known.
        exact: E Rad_S over samples, where it is known.
    """

    family: Family
    rank: int
    n_train: int
    n_params: int
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    proved: float
    upper: float
    supremum: float | None = None
    exact: float | None = None

    @property
    def vacuous(self) -> bool:
        """Whether the bound says no more than Rad_S <= 1/2."""
        return self.upper >= TRIVIAL


@dataclass(frozen=True)
class ComplexityGrowth:
    """Exponent of the measured complexity along "rank" or "n_train", with the other held at its largest.

    ``upper``, ``exact``: slope of the bound and of the exact mean over the same cells; nan where one of them is vacuous
    or not known.
    """

    family: Family
    axis: Axis
    fixed: int
    exponent: Exponent
    upper: float
    exact: float


@dataclass(frozen=True)
class Complexity:
    """Everything ``lorabound complexity`` prints.

    Attributes:
        accuracy: accuracy of the small network without an adapter; NaN for an encoder.
        notes: sentences on what was unusual about an encoder, and on texts that were cut.
    """

    settings: ComplexityConfig
    accuracy: float
    rows: list[ComplexityRow]
    growth: list[ComplexityGrowth]
    notes: tuple[str, ...] = ()

    def frame(self) -> pl.DataFrame:
        """One row per family, rank and N: what was measured and proved, the bound, and the supremum where it is known.

        The columns are those of :class:`ComplexityRow`, without the values of the single draws.
        """
        columns: dict[str, type[pl.DataType]] = {
            **{"family": pl.String, "rank": pl.Int64, "n_train": pl.Int64, "n_params": pl.Int64},
            **dict.fromkeys(("mean", "low", "high", "proved", "upper"), pl.Float64),
            **{"vacuous": pl.Boolean, "supremum": pl.Float64, "exact": pl.Float64},
        }
        return pl.DataFrame({name: [getattr(row, name) for row in self.rows] for name in columns}, schema=columns)


def measure_complexity(settings: ComplexityConfig, observe: Callable[[str], None] = lambda _: None) -> Complexity:
    """Measure every cell of both families.

    Args:
        settings: what to measure.
        observe: is told what is being measured.
    Raises:
        DataError: scikit-learn is not installed.
    """
    digits = pretrained_digits(settings.seed)
    rows = []
    for n in sorted(settings.n_train):
        rows += _digits_rows(digits, n, settings, observe)
    for n in sorted(settings.n_train):
        rows += [_cells_row(m, n, settings, observe) for m in sorted(settings.ranks)]
    rows.sort(key=lambda row: (row.family == "cells", row.rank, row.n_train))
    return Complexity(settings, digits.accuracy, rows, growth(rows))


def _digits_rows(
    digits: Digits, n: int, settings: ComplexityConfig, observe: Callable[[str], None]
) -> list[ComplexityRow]:
    """All ranks at one N, smallest first: the best of one rank, padded with zeros, is a member of the next class."""
    x, y = torch.from_numpy(digits.images[None, :n]), torch.from_numpy(digits.labels[None, :n])
    signs = signs_of(settings, n)
    radii = [settings.radius] * (len(WIDTHS) - 1)
    generator = torch.Generator().manual_seed(settings.seed)
    best: list[torch.Tensor] | None = None
    rows = []
    for rank in sorted(settings.ranks):
        observe(f"digits, rank {rank}, N = {n}")
        a = [_gaussian(settings, layer, rank, width) for layer, width in enumerate(WIDTHS[:-1])]
        members = LoraMlpClass(digits.mlp, [_twice(f) for f in a], radii, settings.scale, x, y, MISS)
        known = best and [torch.nn.functional.pad(f, (0, rank - f.shape[-1])) for f in best]
        values, best = largest_signed_means(members, signs, settings.steps, generator, known)
        network = digits.mlp.lora_class(rank, a, radii, settings.scale, input_radius=1.0)
        upper = np.mean(rademacher_upper(network.blocks(MISS.lipschitz), n))
        rows.append(row("digits", rank, n, int(network.n_params), values, float(upper)))
    return rows


def _cells_row(m: int, n: int, settings: ComplexityConfig, observe: Callable[[str], None]) -> ComplexityRow:
    rank = RANKS_PER_CELL * m
    observe(f"cells, rank {rank}, N = {n}")
    pairs = settings.signs // 2
    signs = signs_of(settings, n)
    random = np.random.default_rng([settings.seed, 3, m, n])
    cell, label = random.integers(m, size=(pairs, n)), random.integers(2, size=(pairs, n))
    weight = np.full((1, m), 0.5, dtype=np.float32)
    mlp = FrozenMlp([weight], [np.zeros(1, dtype=np.float32)])
    a = _gaussian(settings, 9, rank, m)
    radius = holding_radius(a, weight[0].astype(np.float64), settings.scale)
    x = torch.from_numpy(_twice(np.eye(m, dtype=np.float32)[cell]))
    y = torch.from_numpy(_twice(label.astype(np.float32)))
    members = LoraMlpClass(mlp, [_twice(a)], [_twice(radius)], settings.scale, x, y, DISTANCE)
    values, _ = largest_signed_means(members, signs, settings.steps, torch.Generator().manual_seed(settings.seed))
    network = mlp.lora_class(rank, [a], [radius], settings.scale, input_radius=1.0)
    upper = float(np.mean(rademacher_upper(network.blocks(DISTANCE.lipschitz), n)))
    # T_i of the first of every pair; that of the second is -T_i.
    walks = np.zeros((pairs, m))
    np.add.at(walks, (np.arange(pairs)[:, None], cell), signs[:pairs].numpy() * (2 * label - 1))
    supremum = float(np.abs(walks).sum(axis=1).mean() / (2 * n))
    exact = float(rank_lower_bound(n, m).value)
    return row("cells", rank, n, int(network.n_params), values, upper, supremum, exact)


def row(
    family: Family, rank: int, n: int, n_params: int, values: torch.Tensor, upper: float,
    supremum: float | None = None, exact: float | None = None,
) -> ComplexityRow:  # fmt: skip
    """A row from the largest signed means of s and -s, in this order."""
    pairs = values.double().numpy().reshape(2, -1).mean(axis=0)
    mean = float(pairs.mean())
    half = float(stats.t.isf((1 - LEVEL) / 2, len(pairs) - 1)) * float(pairs.std(ddof=1)) / math.sqrt(len(pairs))
    return ComplexityRow(
        family, rank, n, n_params, tuple(map(float, pairs)), mean, mean - half, mean + half,
        float(rademacher_lower(mean, n, len(pairs), DELTA)), upper, supremum, exact,
    )  # fmt: skip


def signs_of(settings: ComplexityConfig, n: int) -> torch.Tensor:
    """(2 pairs, N): the pairs' signs, then their negatives. A larger N goes on where a smaller one ended."""
    random = np.random.default_rng([settings.seed, 1])
    drawn = 2 * random.integers(2, size=(n, settings.signs // 2)).T - 1
    return torch.from_numpy(np.concatenate([drawn, -drawn]).astype(np.float32))


def _gaussian(settings: ComplexityConfig, layer: int, rank: int, width: int) -> Array:
    """A (pairs, r, d_in) of one layer; rank r has the first r rows of any larger rank."""
    random = np.random.default_rng([settings.seed, 2, layer])
    drawn: Array = settings.std * random.standard_normal((rank, settings.signs // 2, width)).swapaxes(0, 1)
    return drawn


def _twice(array: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """The same for s and for -s."""
    return np.concatenate([array, array])


def growth(rows: Sequence[ComplexityRow]) -> list[ComplexityGrowth]:
    """Exponents along both axes, for every family that has two cells there."""
    found = []
    for family, axis, other in product(FAMILIES, AXES, AXES):
        if axis == other:
            continue
        here = [row for row in rows if row.family == family]
        if not here:
            continue
        fixed = max(getattr(row, other) for row in here)
        line = [row for row in here if getattr(row, other) == fixed]
        if len(line) < 2:
            continue
        x = [getattr(row, axis) for row in line]
        # The draws are the seeds of the bootstrap. There is no test set: one "example", always the same.
        losses = [np.reshape(row.values, (-1, 1)) for row in line]
        exponent = growth_exponent(x, losses, [np.zeros(len(cell)) for cell in losses], LEVEL)
        upper = _slope(x, [None if row.vacuous else row.upper for row in line])
        found.append(ComplexityGrowth(family, axis, fixed, exponent, upper, _slope(x, [row.exact for row in line])))
    return found


def _slope(x: Sequence[int], values: Sequence[float | None]) -> float:
    """Slope of ln(values) on ln(x); nan where a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.polyfit(np.log(x), np.log(known), 1)[0]) if len(known) == len(values) else math.nan
