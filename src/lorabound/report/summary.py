"""From stored runs to what the table, the charts and the page show: cells, comparisons, exponents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.bounds import Bound, holdout_bounded, information_gap
from lorabound.stats import CrossedMean, Exponent, crossed_mean, growth_exponent
from lorabound.sweep import ZERO_SHOT, Row, Store, SweepConfig, runs_of

DELTA = 0.05
# Trained factors are stored as float32.
BITS = 32
LEVEL = 0.95
# Exponents of the upper bound, over all training algorithms and distributions (Kratsios et al. 2025, Theorem 1).
WORST_CASE = {"rank": 0.5, "n_train": -0.5}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """A loss the gap is measured in: its name in columns and for readers, and its values on the test examples."""

    column: str
    title: str
    test: Callable[[Row], Array]

    def train(self, row: Row) -> float:
        """Mean loss on the training set."""
        return float(getattr(row, f"train_{self.column}"))


def _log_losses(row: Row) -> Array:
    return np.asarray(row.test_log_losses, dtype=np.float64)


LOSSES = (
    Loss("error", "0-1 error", lambda row: np.asarray(row.test_errors, dtype=np.float64)),
    Loss("risk", "1 - p(correct)", lambda row: -np.expm1(-_log_losses(row))),
    Loss("ce", "cross-entropy, nats", _log_losses),
)


@dataclass(frozen=True)
class Cell:
    """All seeds of one (mode, rank, N).

    Attributes:
        gaps: test minus train of each loss, by column name, with its interval.
        train, test: mean over seeds of each loss, by column name.
        holdout: what the test set proves about the 0-1 risk of the cell's adapters, one picked at random.
        information: bound on the expected gap from the bits of the trained factors; None where training and
            test examples are not drawn alike: few-shot samples, a test set of its own.
        n_diverged: seeds that diverged and are not in the means.
    """

    mode: str
    rank: int
    n_train: int
    n_params: int
    n_seeds: int
    n_diverged: int
    train: dict[str, float]
    test: dict[str, float]
    gaps: dict[str, CrossedMean]
    holdout: Bound
    information: Bound | None


@dataclass(frozen=True)
class Comparison:
    """freeze_a at rank 2r against train_both at rank r, seed by seed: test and gap of the first minus the second."""

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
    """Everything a report says about a sweep."""

    config: SweepConfig
    about: dict[str, Any]
    rows: list[Row]
    cells: list[Cell]
    comparisons: list[Comparison]
    growth: list[Growth]
    n_missing: int


def summarize(store: Store) -> Summary:
    """Read a store and work out what its runs show; nothing is trained or measured here."""
    rows = store.rows()
    n_missing = len(runs_of(store.config)) - len(rows)
    by_cell: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        by_cell[row.mode, row.rank, row.n_train].append(row)
    done = {key: [row for row in group if row.status == "done"] for key, group in by_cell.items()}
    done = {key: group for key, group in done.items() if group}
    cells = [_cell(group, len(by_cell[key]) - len(group), drawn_apart(store)) for key, group in done.items()]
    cells.sort(key=lambda cell: (cell.n_train, cell.mode != ZERO_SHOT, cell.mode, cell.rank))
    return Summary(
        store.config, store.about, rows, cells, _comparisons(done), [*_growth(done, "rank"), *_growth(done, "n_train")],
        n_missing,
    )  # fmt: skip


def drawn_apart(sweep: Store | Summary) -> bool:
    """Whether training and test examples come from different draws, so that no bound on the expected gap applies."""
    config, about = sweep.config, sweep.about
    return bool(config.shots or config.test_data or about.get("own_test_set"))


def _cell(rows: Sequence[Row], n_diverged: int, drawn_apart: bool) -> Cell:
    first = rows[0]
    gaps = {loss.column: _gap(rows, loss) for loss in LOSSES}
    test = {loss.column: float(np.mean([loss.test(row).mean() for row in rows])) for loss in LOSSES}
    return Cell(
        mode=first.mode,
        rank=first.rank,
        n_train=first.n_train,
        n_params=first.n_params,
        n_seeds=len(rows),
        n_diverged=n_diverged,
        train={loss.column: float(np.mean([loss.train(row) for row in rows])) for loss in LOSSES},
        test=test,
        gaps=gaps,
        holdout=holdout_bounded(test["error"], gaps["error"].n_test, DELTA),
        information=None if drawn_apart else information_gap(first.n_params, first.n_train, BITS),
    )


def _gap(rows: Sequence[Row], loss: Loss) -> CrossedMean:
    return crossed_mean([loss.test(row) for row in rows], [loss.train(row) for row in rows], LEVEL)


def _comparisons(done: dict[tuple[str, int, int], list[Row]]) -> list[Comparison]:
    """The paper's guideline (section 4.3): at one budget of parameters, freeze A and double the rank."""
    found = []
    for (mode, rank, n_train), both in sorted(done.items(), key=lambda item: (item[0][2], item[0][1])):
        frozen = done.get(("freeze_a", 2 * rank, n_train))
        if mode != "train_both" or not frozen:
            continue
        partners = {row.seed: row for row in frozen}
        pairs = [(partners[row.seed], row) for row in both if row.seed in partners]
        if not pairs:
            continue
        loss = LOSSES[0]
        differences = np.stack([loss.test(a) - loss.test(b) for a, b in pairs])
        trained = [loss.train(a) - loss.train(b) for a, b in pairs]
        found.append(
            Comparison(
                rank, n_train, (pairs[0][0].n_params, pairs[0][1].n_params),
                crossed_mean(differences, trained, LEVEL), crossed_mean(differences, 0.0, LEVEL),
            )
        )  # fmt: skip
    return found


def _growth(done: dict[tuple[str, int, int], list[Row]], axis: str) -> list[Growth]:
    """Exponents along an axis, over the seeds that every cell on it holds."""
    lines: dict[tuple[str, int], dict[int, list[Row]]] = defaultdict(dict)
    for (mode, rank, n_train), group in done.items():
        if mode != ZERO_SHOT:
            x, fixed = (rank, n_train) if axis == "rank" else (n_train, rank)
            lines[mode, fixed][x] = group
    found = []
    for (mode, fixed), line in sorted(lines.items()):
        seeds = set.intersection(*({row.seed for row in group} for group in line.values()))
        if len(line) < 2 or not seeds:
            continue
        xs = sorted(line)
        paired = [sorted((r for r in line[x] if r.seed in seeds), key=lambda r: r.seed) for x in xs]
        for loss in LOSSES:
            exponent = growth_exponent(
                xs,
                [np.stack([loss.test(row) for row in group]) for group in paired],
                [[loss.train(row) for row in group] for group in paired],
                LEVEL,
            )
            found.append(Growth(axis, mode, fixed, loss, exponent))
    return found
