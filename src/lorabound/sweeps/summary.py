"""From stored runs to what the table, the charts and the page show: cells, comparisons, exponents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from lorabound.modes import guideline
from lorabound.stats import CrossedMean, Exponent, crossed_mean, growth_exponent
from lorabound.sweeps import ZERO_SHOT, Row, Sweep, SweepConfig, runs_of
from lorabound.sweeps.cells import LEVEL, Cell, Loss, cell_of, crossed, losses_of, test_losses, train_losses
from lorabound.sweeps.choices import choices, of_cell
from lorabound.sweeps.grid import n_choices
from lorabound.sweeps.spread import Crossed, spread_of
from lorabound.sweeps.verdict import Verdict, unfinished, verdicts

_COLUMNS: dict[str, type[pl.DataType]] = {
    "mode": pl.String,
    **dict.fromkeys(("rank", "n_train", "n_params", "n_seeds", "n_samples", "n_diverged"), pl.Int64),
    **dict.fromkeys(
        ("train_error", "test_error", "train_wrong", "test_wrong", "gap", "gap_low", "gap_high", "error_at_most"),
        pl.Float64,
    ),
    "progressive_at_most": pl.Float64,
}


@dataclass(frozen=True)
class Comparison:
    """freeze_a at rank 2r against train_both at rank r, run by run: test and gap of the first minus the second."""

    rank: int
    n_train: int
    n_params: tuple[int, int]
    gap: CrossedMean
    test: CrossedMean


@dataclass(frozen=True)
class Growth:
    """How the gap in one loss grows along one axis ("rank" or "n_train") with everything else fixed."""

    axis: str
    mode: str
    fixed: int
    loss: Loss
    exponent: Exponent


@dataclass(frozen=True)
class Summary:
    """Everything a report says about a sweep.

    Attributes:
        config: settings of the sweep.
        about: facts about the whole sweep, as in :attr:`lorabound.Sweep.about`.
        rows: all runs.
        cells: runs of one mode, rank and training size, summed up, one entry for each.
        verdicts: adapter to take, one answer per training size, the largest first.
        unfinished: cells whose training error has hardly come down.
        comparisons: freeze_a at twice the rank against train_both, at equal numbers of trained parameters.
        growth: growth of the gap with the rank and with the training size.
        n_missing: number of runs of the grid that have not been run yet.
        spread: reading of what spreads the gap of a single run; None with fewer than 3 seeds or training samples.
        folder: folder of the sweep; "" where nobody knows.
    """

    config: SweepConfig
    about: dict[str, Any]
    rows: list[Row]
    cells: list[Cell]
    verdicts: list[Verdict]
    unfinished: list[Cell]
    comparisons: list[Comparison]
    growth: list[Growth]
    n_missing: int
    spread: Crossed | None = None
    folder: str = ""

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Losses of the runs, the one that decides first."""
        return losses_of(self.config)

    @property
    def completes(self) -> bool:
        """Whether the runs learnt completions, not classes."""
        return self.config.task == "completions"

    def frame(self) -> pl.DataFrame:
        """One row per cell (mode, rank, training size), as :meth:`lorabound.Sweep.cells` explains the columns."""
        rows = [
            {
                "mode": cell.mode,
                "rank": cell.rank,
                "n_train": cell.n_train,
                "n_params": cell.n_params,
                "n_seeds": cell.n_seeds,
                "n_samples": cell.n_samples,
                "n_diverged": cell.n_diverged,
                "train_error": cell.train["error"],
                "test_error": cell.test["error"],
                "train_wrong": cell.train.get("wrong"),
                "test_wrong": cell.test.get("wrong"),
                "gap": cell.gap.mean,
                "gap_low": cell.gap.low,
                "gap_high": cell.gap.high,
                "error_at_most": float(cell.holdout.value),
                "progressive_at_most": float(cell.progressive.value) if cell.progressive else None,
            }
            for cell in self.cells
        ]
        return pl.DataFrame(rows, schema=_COLUMNS)

    def __repr__(self) -> str:
        """Numbers of runs and cells, and the best cell; ``lorabound.show`` says the rest."""
        missing = f", {self.n_missing} missing" if self.n_missing else ""
        answer = "no verdict yet"
        if self.verdicts:
            best = self.verdicts[0].best
            answer = f"lowest test error {best.test_loss:.3g}: {best.mode}, rank {best.rank}, N = {best.n_train}"
        return f"Summary: {len(self.rows)} runs{missing}, {len(self.cells)} cells; {answer}"


def summarize(store: Sweep) -> Summary:
    """Read a store and work out what its runs show; nothing is trained or measured here."""
    rows, config, about = store.rows(), store.config, store.about
    n_missing = len(runs_of(config)) - len(rows)
    by_cell: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        by_cell[row.mode, row.rank, row.n_train].append(row)
    done = {key: [row for row in group if row.status == "done"] for key, group in by_cell.items()}
    done = {key: group for key, group in done.items() if group}
    losses = losses_of(config)
    cells = [
        cell_of(
            group,
            len(by_cell[key]) - len(group),
            drawn_apart(store),
            losses,
            partial(of_cell, config=config, of_sweep=rows),
        )
        for key, group in done.items()
    ]
    cells.sort(key=lambda cell: (cell.n_train, cell.mode != ZERO_SHOT, cell.mode, cell.rank))
    return Summary(
        config=config,
        about=about,
        rows=rows,
        cells=cells,
        verdicts=verdicts(
            cells,
            done,
            config.seeds,
            config.samples,
            choices(rows, config),
            losses[0],
            {n_train: n_choices(config, n_train) for n_train in config.sizes},
        ),
        unfinished=unfinished(cells, None if config.task == "completions" else about.get("majority_error")),
        comparisons=_comparisons(done, losses[0]),
        growth=[*_growth(done, "rank", losses), *_growth(done, "n_train", losses)],
        n_missing=n_missing,
        spread=spread_of(config, about, rows),
        folder=str(store.folder),
    )


def drawn_apart(sweep: Sweep | Summary) -> bool:
    """Whether training and test examples come from different draws, so that no bound on the expected gap applies."""
    config, about = sweep.config, sweep.about
    return bool(config.shots or config.test_data or about.get("own_test_set"))


def _comparisons(done: dict[tuple[str, int, int], list[Row]], loss: Loss) -> list[Comparison]:
    """The paper's guideline (section 4.3): at one budget of parameters, freeze A and double the rank."""
    found = []
    for (mode, rank, n_train), both in sorted(done.items(), key=lambda item: (item[0][2], item[0][1])):
        first, second = guideline(rank)
        frozen = done.get((*first, n_train))
        if (mode, rank) != second or not frozen:
            continue
        partners = {(row.seed, row.sample): row for row in frozen}
        pairs = [row for row in both if (row.seed, row.sample) in partners]
        if not pairs:
            continue
        both_grid = crossed(pairs)
        frozen_grid = [[partners[row.seed, row.sample] for row in line] for line in both_grid]
        differences = test_losses(frozen_grid, loss) - test_losses(both_grid, loss)
        trained = train_losses(frozen_grid, loss) - train_losses(both_grid, loss)
        found.append(
            Comparison(
                rank,
                n_train,
                (frozen[0].n_params, both[0].n_params),
                crossed_mean(differences, trained, LEVEL),
                crossed_mean(differences, 0.0, LEVEL),
            )
        )
    return found


def _growth(done: dict[tuple[str, int, int], list[Row]], axis: str, losses: Sequence[Loss]) -> list[Growth]:
    """Exponents along an axis, over the seeds and samples that every cell on it holds."""
    lines: dict[tuple[str, int], dict[int, list[Row]]] = defaultdict(dict)
    for (mode, rank, n_train), group in done.items():
        if mode != ZERO_SHOT:
            x, fixed = (rank, n_train) if axis == "rank" else (n_train, rank)
            lines[mode, fixed][x] = group
    found = []
    for (mode, fixed), line in sorted(lines.items()):
        draws = set.intersection(*({(row.seed, row.sample) for row in group} for group in line.values()))
        if len(line) < 2 or not draws:
            continue
        xs = sorted(line)
        paired = [crossed([row for row in line[x] if (row.seed, row.sample) in draws]) for x in xs]
        for loss in losses:
            exponent = growth_exponent(
                xs,
                [test_losses(grid, loss) for grid in paired],
                [train_losses(grid, loss) for grid in paired],
                LEVEL,
            )
            found.append(Growth(axis, mode, fixed, loss, exponent))
    return found
