"""What a small sweep forecasts for a large one: one power law per mode, and how it did on cells held out.

The law is fitted to the gap beyond that of the model without an adapter, on the same training and test examples. That
model never saw the sample, so its gap is chance of mean 0, and much of it is the same chance that is in the gaps of
the adapters: taking it away changes no expectation and steadies small gaps.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lorabound.errors import InputError
from lorabound.modes import Mode
from lorabound.plans.gap_bounds import trainable
from lorabound.plans.shapes import Shapes
from lorabound.stats import HeldOut, PowerLaw, Prediction, fit_power_law, leave_largest_out, leave_one_cell_out
from lorabound.sweeps import ZERO_SHOT, Row, Sweep
from lorabound.sweeps.cells import crossed
from lorabound.sweeps.summary import Summary, drawn_apart, summarize

FORECAST_LEVEL = 0.8


@dataclass(frozen=True, kw_only=True)
class ModeForecast:
    """The law of one mode's gap in 0-1 error beyond that of the model without an adapter.

    Attributes:
        mode: frozen factor.
        law: power law of the gap; None where it cannot be fitted.
        reason: why there is no law; empty where there is one.
        held_out: each cell forecast from all others; None without a law.
        largest_rank: cells of the largest rank forecast from those of smaller rank; None without a law.
        largest_n: cells of the largest N forecast from those of smaller N; None without a law.
    """

    mode: str
    law: PowerLaw | None
    reason: str = ""
    held_out: HeldOut | None = None
    largest_rank: HeldOut | None = None
    largest_n: HeldOut | None = None


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """A small sweep, read for a plan.

    Attributes:
        summary: summary of the runs of the sweep.
        forecasts: the forecast of each mode in the sweep.
    """

    summary: Summary
    forecasts: dict[str, ModeForecast]

    @property
    def n_classes(self) -> int:
        """Number of classes of the task."""
        return len(self.summary.about["classes"])

    @property
    def ceiling(self) -> float:
        """The largest test error of a cell: a gap, test minus training error, is never above the test error."""
        return max(cell.test_loss for cell in self.summary.cells)

    def law(self, mode: str) -> PowerLaw | None:
        """The power law of a mode; None where the pilot has none."""
        return self.forecasts[mode].law if mode in self.forecasts else None

    def forecast(self, mode: str, rank: int, n_train: int) -> Prediction | None:
        """The gap that one more cell would show; None without a law, or on an axis that has one value in the pilot."""
        law = self.law(mode)
        try:
            return law.predict(rank, n_train, FORECAST_LEVEL) if law else None
        except InputError:
            return None

    def n_train_for(self, gap: float, mode: str, rank: int) -> float | None:
        """N at which the law crosses ``gap``, a whole number or inf.

        None without a law, or on an axis that has one value in the pilot; nan where the 95% interval of gamma reaches
        0: the pilot then does not show a gap that falls with N.
        """
        law = self.law(mode)
        try:
            if law is None:
                return None
            n = max(float(np.ceil(law.n_train_for(gap, rank))), 1.0)
            return n if law.gamma is not None and law.gamma.low > 0 else math.nan
        except InputError:
            return None


def read_pilot(store: Sweep) -> Pilot:
    """Fit a law to each mode's cells.

    Raises:
        InputError: no finished run with an adapter, beside the run without one at the same N.
    """
    summary = summarize(store)
    done = [row for row in summary.rows if row.status == "done"]
    bare = {(row.n_train, row.sample): row for row in done if row.mode == ZERO_SHOT}
    runs: dict[str, dict[tuple[int, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in done:
        if row.mode != ZERO_SHOT and (row.n_train, row.sample) in bare:
            runs[row.mode][row.rank, row.n_train].append(row)
    if not runs:
        raise InputError(f"pilot {store.folder} holds no finished run of an adapter: run the sweep again to go on")
    if store.config.head == "trained":
        raise InputError(f"pilot {store.folder} trains heads, whose parameters a plan does not know: use head prompts")
    if store.config.task == "completions" and store.config.metric != "exact-match":
        raise InputError(
            f"pilot {store.folder} counts the share of wrong tokens, and a plan forecasts 0-1 losses: run the pilot "
            "again into another folder, with --metric exact-match"
        )
    if drawn_apart(store):
        raise InputError(
            f"pilot {store.folder} has few-shot samples or a test set from elsewhere: forecasts are for training and "
            "test examples drawn alike; run the pilot with n_train and without test_data"
        )
    grids = {mode: {cell: crossed(rows) for cell, rows in cells.items()} for mode, cells in sorted(runs.items())}
    forecasts = {mode: _forecast(mode, cells, bare) for mode, cells in grids.items()}
    return Pilot(summary=summary, forecasts=forecasts)


def check_same_layers(pilot: Pilot, shapes: Shapes, subspace_size: int | None = None, links: int = 1) -> None:
    """A pilot on other layers forecasts nothing here.

    Raises:
        InputError: its numbers of trainable parameters are not those of ``shapes``.
    """
    if (own := pilot.summary.config.links) != links:
        raise InputError(f"the pilot has chains of {own} links, the plan of {links}: plan with links {own}")
    for cell in pilot.summary.cells:
        if cell.mode == ZERO_SHOT:
            continue
        mode: Mode = cell.mode  # type: ignore[assignment]
        if (expected := trainable(shapes, mode, cell.rank, subspace_size, links)) != cell.n_params:
            raise InputError(
                f"the pilot trains {cell.n_params:,} parameters in {mode} at rank {cell.rank}, the layers of this plan "
                f"{expected:,}: plan for the layers of the pilot, or give no --pilot"
            )


# Runs of the cells (rank, N) as seeds x samples, and the runs of the model without an adapter by N and sample.
_Cells = dict[tuple[int, int], list[list[Row]]]
_Bare = dict[tuple[int, int], Row]


def _forecast(mode: str, cells: _Cells, bare: _Bare) -> ModeForecast:
    """The law of one mode; with several training samples the gap of a seed is its mean over them."""
    ranks, sizes = [r for r, _ in cells], [n for _, n in cells]
    gaps = [[float(np.mean([_gap(row, bare) for row in line])) for line in grid] for grid in cells.values()]
    shared = _shared(cells, bare, gaps)
    try:
        law = fit_power_law(ranks, sizes, gaps, None, 0.95, *shared)
    except InputError as error:
        return ModeForecast(mode=mode, law=None, reason=str(error).split(": ", 1)[1])
    return ModeForecast(
        mode=mode,
        law=law,
        held_out=leave_one_cell_out(ranks, sizes, gaps, FORECAST_LEVEL, *shared),
        largest_rank=leave_largest_out(ranks, sizes, gaps, "rank", FORECAST_LEVEL, *shared),
        largest_n=leave_largest_out(ranks, sizes, gaps, "n_train", FORECAST_LEVEL, *shared),
    )


def _shared(cells: _Cells, bare: _Bare, gaps: list[list[float]]) -> tuple[float, float]:
    """(shared_test, shared_sample): root mean squares over the cells.

    On the test examples the variance of the loss beyond the bare model's is measured, and the seeds' common part is
    added where every cell has the same seeds (Student's quantile over the normal one makes up for few seeds). On the
    training examples only means are stored. A share D of them must have changed their loss to move the mean by D, at
    least the share that changed in the test set is taken, and changes are +-1: variance d - D^2, divided by the number
    of samples.
    """
    test, sample = [], []
    for (_, n), grid in cells.items():
        rows = [row for line in grid for row in line]
        beyond = np.mean([_beyond(row, bare) for row in rows], axis=0)
        test.append(beyond.var(ddof=1) / len(beyond))
        before = float(np.mean([_train(bare[n, row.sample]) for row in grid[0]]))
        moved = before - float(np.mean([_train(row) for row in rows]))
        changed = max(abs(moved), float(np.mean([np.mean(_beyond(row, bare) ** 2) for row in rows])))
        sample.append((changed - moved**2) / len(grid[0]))
    seeds = {tuple(line[0].seed for line in grid) for grid in cells.values()}
    variance = float(np.mean(test))
    if len(seeds) == 1 and (count := len(gaps[0])) > 1:
        tail = (1 - FORECAST_LEVEL) / 2
        widen = float(stats.t.isf(tail, count - 1) / stats.norm.isf(tail))
        variance += widen**2 * float(np.mean(gaps, axis=0).var(ddof=1)) / count
    return math.sqrt(variance), math.sqrt(max(float(np.mean(sample)), 0.0))


def _gap(row: Row, bare: _Bare) -> float:
    """The gap of a run beyond that of the model without an adapter on the same examples."""
    return _train(bare[row.n_train, row.sample]) - _train(row) + float(_beyond(row, bare).mean())


def _beyond(row: Row, bare: _Bare) -> NDArray[np.float64]:
    """0-1 losses on the test examples minus those of the model without an adapter."""
    without = bare[row.n_train, row.sample]
    return np.asarray(row.test_errors, dtype=np.float64) - np.asarray(without.test_errors, dtype=np.float64)


def _train(row: Row) -> float:
    assert row.train_error is not None
    return row.train_error
