"""Which run to pick by what training proves, the choice paid for; the limit of a cell, and those of every run.

A choice among runs is paid for by the union bound: each of the K trained runs of the grid at one training size (every
mode, rank, seed and sample, finished or not) at delta/K, so a reader may pick any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorabound.bounds import Bound, best_of
from lorabound.sweeps.cells import DELTA
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import runs_of
from lorabound.sweeps.progressive import (
    best_certificate,
    best_gain,
    block_certificate,
    certificate,
    cross_fit_certificate,
    final_certificate,
    speaks_of,
)
from lorabound.sweeps.row import Row


def of_cell(
    rows: Sequence[Row], config: SweepConfig, delta: float = DELTA, of_sweep: Sequence[Row] = ()
) -> Bound | None:
    """Limit for one of several runs, picked at random: the mean of their certificates, each at a share of delta.

    Args:
        of_sweep: all runs of the sweep, for blocks.
    """
    found = [best_certificate(row, config, delta / len(rows), of_sweep) for row in rows]
    bounds = [bound for bound in found if bound is not None]
    if not bounds or len(bounds) < len(rows):
        return None
    if len(bounds) == 1:
        return bounds[0]
    terms = {name: float(np.mean([bound.terms[name] for bound in bounds])) for name in bounds[0].terms}
    return replace(
        bounds[0],
        value=float(np.mean([_value(bound) for bound in bounds])),
        delta=delta,
        terms=terms,
        combine=f"{bounds[0].combine}, means over the runs",
        predictor=f"one of {len(bounds)} runs picked at random: {bounds[0].predictor}",
        inputs={"deltas": [bound.delta for bound in bounds], "values": [bound.value for bound in bounds]},
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The run with the lowest certificate at one training size.

    Attributes:
        row: the run.
        bound: limit on the error on new data of what ``speaks_of`` says, the choice paid for.
        speaks_of: that predictor in words that follow "the error of".
        gain: least gain of the same over the model without an adapter, the choice paid for; None where that
            model was not measured.
        zero_shot: limit on the error of the model without an adapter, by all training examples.
        n_candidates: number of trained runs that the grid has at this size, which the choice is among.
    """

    row: Row
    bound: Bound
    speaks_of: str
    gain: Bound | None
    zero_shot: Bound | None
    n_candidates: int


def n_candidates(rows: Sequence[Row], config: SweepConfig, n_train: int) -> int:
    """Number of trained runs that a grid has at one size, finished or not: what a choice there is among."""
    planned = sum(run.rank > 0 and run.n_train == n_train for run in runs_of(config))
    return max(planned, sum(row.rank > 0 and row.n_train == n_train for row in rows))


def choices(rows: Sequence[Row], config: SweepConfig, delta: float = DELTA) -> dict[int, Choice]:
    """The choice at each training size whose runs the first pass certifies."""
    found = {}
    for n_train in sorted({row.n_train for row in rows}):
        same_size = [row for row in rows if row.n_train == n_train]
        count = n_candidates(rows, config, n_train)
        bounds = [(row, best_certificate(row, config, delta / count, rows)) for row in same_size if row.rank]
        certified = [(row, bound) for row, bound in bounds if bound is not None]
        if not certified:
            continue
        row, _ = min(certified, key=lambda pair: float(pair[1].value))
        unused = delta - len(certified) * delta / count  # of runs that diverged or are missing: paid for all the same
        best = best_of([bound for _, bound in certified])
        zero_shots = {other.sample: other for other in same_size if not other.rank}
        bare = zero_shots.get(row.sample)
        found[n_train] = Choice(
            row=row,
            bound=replace(best, delta=float(best.delta or 0.0) + unused),
            speaks_of=speaks_of(config),
            gain=best_gain(row, bare, config, delta / count) if bare else None,
            zero_shot=certificate(bare, config, delta) if bare else None,
            n_candidates=count,
        )
    return found


def proved_columns(rows: Sequence[Row], config: SweepConfig) -> Mapping[str, list[float | None]]:
    """Columns of :meth:`lorabound.Sweep.frame`: mean error in the window, its limit, that of the final adapter, the
    gain of the one that :func:`speaks_of` names; each run on its own."""
    zero_shots = {(row.n_train, row.sample): row for row in rows if not row.rank}
    bounds = [certificate(row, config) for row in rows]
    crossed = [cross_fit_certificate(row, config) for row in rows]
    blocks = [block_certificate(row, rows, config) for row in rows]
    finals = [final_certificate(row, config) for row in rows]
    gains = [
        best_gain(row, bare, config) if row.rank and (bare := zero_shots.get((row.n_train, row.sample))) else None
        for row in rows
    ]
    return {
        "progressive_error": [_loss(bound) if bound else None for bound in bounds],
        "progressive_at_most": [_value(bound) if bound else None for bound in bounds],
        "final_at_most": [_value(bound) if bound else None for bound in finals],
        "cross_fit_error": [None if row.fold_errors is None else float(row.fold_errors.mean()) for row in rows],
        "cross_fit_at_most": [_value(bound) if bound else None for bound in crossed],
        "block_error": [_loss(bound) if bound else None for bound in blocks],
        "block_at_most": [_value(bound) if bound else None for bound in blocks],
        "gain_at_least": [_value(bound) if bound else None for bound in gains],
    }


def _value(bound: Bound) -> float:
    return float(bound.value)


def _loss(bound: Bound) -> float:
    """The mean loss that a limit starts from: its first term."""
    return float(next(iter(bound.terms.values())))
