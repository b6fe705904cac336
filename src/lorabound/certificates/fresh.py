"""What fresh rows prove about K predictors, the choice among them counted. Plain arrays, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from lorabound.arguments import probability
from lorabound.bounds import Bound, holdout
from lorabound.errors import InputError
from lorabound.stats import not_worse_than_best


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One predictor on the fresh rows.

    Attributes:
        name: name in messages and tables.
        n_wrong: number of rows it got wrong.
        limit: upper limit on its error on new data, at delta/K. Where rows repeat one another, the larger one of the
            limit from all rows and the limit from each row once.
        may_be_best: whether it cannot be told apart from the best of the predictors, by all rows or by each row once.
        n_params: number of trained parameters; None where it is not known.
    """

    name: str
    n_wrong: int
    limit: Bound
    may_be_best: bool
    n_params: int | None = None


@dataclass(frozen=True, kw_only=True)
class FreshCheck:
    """The result of a check.

    Attributes:
        predictors: results of the predictors, in the order they were given.
        best: predictor with the fewest wrong rows; of several, the one with the fewest parameters, then the first.
        n_rows: number of fresh rows.
        n_repeated: number of them that repeat an earlier one.
        delta: probability that any of the limits is wrong.
        notes: sentences on what was unusual about the rows and on how they were read.
        assumption: one sentence on what must be true of the rows.
    """

    predictors: list[Checked]
    best: Checked
    n_rows: int
    n_repeated: int
    delta: float
    notes: tuple[str, ...]
    assumption: str

    def frame(self) -> pl.DataFrame:
        """One row per predictor, in the order they were given.

        Columns: ``name``, ``n_params`` (null where it is not known), ``n_rows`` and ``n_wrong`` of the fresh rows,
        ``error`` on them, ``error_at_most`` (limit on the error on new data, all of them right at once with probability
        1 - ``delta``), ``delta``, ``best``, ``may_be_best``.
        """
        return pl.DataFrame(
            {
                "name": [one.name for one in self.predictors],
                "n_params": pl.Series([one.n_params for one in self.predictors], dtype=pl.Int64),
                "n_rows": self.n_rows,
                "n_wrong": [one.n_wrong for one in self.predictors],
                "error": [one.n_wrong / self.n_rows for one in self.predictors],
                "error_at_most": [float(one.limit.value) for one in self.predictors],
                "delta": self.delta,
                "best": [one is self.best for one in self.predictors],
                "may_be_best": [one.may_be_best for one in self.predictors],
            }
        )

    def __repr__(self) -> str:
        """The best predictor and its limit; ``lorabound.show`` says the rest."""
        best, others = self.best, f", best of {len(self.predictors)}" if len(self.predictors) > 1 else ""
        return (
            f"FreshCheck: {best.name}{others}, {best.n_wrong:,} of {self.n_rows:,} fresh rows wrong; error on new data "
            f"<= {float(best.limit.value):.4g} with probability {1 - self.delta:g}"
        )


def check_errors(
    names: Sequence[str],
    wrong: ArrayLike,
    delta: float = 0.05,
    repeated: NDArray[np.bool_] | None = None,
    n_params: Sequence[int] | None = None,
    notes: tuple[str, ...] = (),
    origin: str = "nobody used them to train or to choose",
) -> FreshCheck:
    """Limits on the error of K predictors on new data, all of them right at once with probability 1 - delta.

        error of k <= the largest R with P( Bin(n, R) <= wrong_k ) >= delta/K     (exact, Clopper-Pearson)

    So the limit of the predictor that is taken is right however it was chosen among these K by these rows.

    Args:
        names: names of the K predictors.
        wrong: (K, n) bool, whether a predictor got a row wrong.
        delta: probability that one of the limits is wrong, in (0, 1).
        repeated: (n,) bool, rows that repeat an earlier one. Copies prove nothing new: the limit is then also computed
            from each row once, and the larger one is given, which is right whether the repeats are copies or not.
        n_params: number of trained parameters of each predictor, to choose among equally good ones.
        notes: sentences on what was unusual about the rows.
        origin: clause of the assumption on what must not have happened to the rows.
    Raises:
        InputError: no rows, shapes that do not agree, or a delta outside (0, 1).
    Source: Langford 2005, Theorem 3.3, with a union bound over the K predictors.
    """
    probability("check", "delta", delta)
    errors = np.asarray(wrong, dtype=np.bool_)
    if errors.ndim != 2 or errors.shape[0] != len(names) or not errors.size:
        raise InputError(f"check: need one row of errors per predictor and at least one fresh row, got {errors.shape}")
    n_rows, share = errors.shape[1], delta / len(names)
    once = np.ones(n_rows, dtype=np.bool_) if repeated is None else ~repeated
    limits = []
    for row in errors:
        every, distinct = holdout(int(row.sum()), n_rows, share), holdout(int(row[once].sum()), int(once.sum()), share)
        limits.append(max(every, distinct, key=lambda bound: float(bound.value)))
    members = {*_may_be_best(errors, 1 - delta), *_may_be_best(errors[:, once], 1 - delta)}
    checked = [
        Checked(
            name=name,
            n_wrong=int(errors[k].sum()),
            limit=limits[k],
            may_be_best=k in members,
            n_params=n_params[k] if n_params else None,
        )
        for k, name in enumerate(names)
    ]
    best = min(checked, key=lambda one: (one.n_wrong, one.n_params or 0))
    assumption = f"This holds if the rows are drawn like the data to come, independently of one another, and {origin}."
    return FreshCheck(
        predictors=checked,
        best=best,
        n_rows=n_rows,
        n_repeated=int((~once).sum()),
        delta=delta,
        notes=notes,
        assumption=assumption,
    )


def one_class(name: str, labels: Sequence[str]) -> list[str]:
    """A sentence where all fresh rows have one label."""
    if len(set(labels)) != 1:
        return []
    return [
        f"All {len(labels):,} fresh rows of {name} have the label {labels[0]!r}: the limit is about new data of that "
        "class alone, and a model that always says it makes no error there."
    ]


def _may_be_best(errors: NDArray[np.bool_], level: float) -> Sequence[int]:
    if errors.shape[1] < 2:
        return range(len(errors))
    return not_worse_than_best(errors[:, None, :].astype(np.float64), level=level).members
