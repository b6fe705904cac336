"""What methods say about one adapter, with everything that is needed to compute it again. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from lorabound.bounds import Bound
from lorabound.certificates.fresh import FreshCheck

CLASSES_KNOWN = "the classes were known before the examples"
CLASSES_COUNTED = (
    "--min-class-rows {} left out classes by counting the labels of these rows: new data are of the classes that "
    "stayed, and those would have stayed whatever these rows had been"
)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One certificate by one method.

    Attributes:
        method: name of the method in options, tables and files: "holdout", "progressive", "occam", "pac-bayes", ...
        speaks_of: the predictor it is about, in plain words that follow "the error of": "the adapter as stored",
            "the compressed adapter (1,204 bytes)", "one adapter drawn at random around the trained one".
        bound: limit on the error of that predictor on new data, with its level, terms and assumptions.
        error: share of errors of that predictor on the examples that the bound uses (before Monte Carlo limits).
        seconds: seconds that it took.
        record: JSON values that, with ``files`` and the data, are enough to compute ``bound`` again.
        files: name -> content of files that are written beside ``certificate.json`` (a message, a posterior).
        notes: sentences that a reader of the number must know.
    """

    method: str
    speaks_of: str
    bound: Bound
    error: float
    seconds: float = 0.0
    record: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def limit(self) -> float:
        """The limit on the error on new data; 1 or more says nothing."""
        return float(self.bound.value)

    @property
    def vacuous(self) -> bool:
        """Whether the limit says nothing that is not true of every predictor."""
        return bool(self.bound.vacuous)

    @property
    def silent(self) -> bool:
        """Whether the limit says nothing as readers see it (:func:`lorabound.notation.says_nothing`)."""
        return self.bound.silent


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How bad an adapter can be on new data, by one or several methods; all limits hold at once.

    Attributes:
        name: name of what is certified.
        delta: probability that any of the limits of ``statements`` is wrong; each of m methods has delta/m.
        statements: what each method says, in the order they were asked for.
        zero_shot: the same for the model without an adapter, at ``delta`` on its own: the line to beat; None where
            there is no such model.
        gain: least gain of the adapter over the model without one, at ``delta`` on its own; None where no method says.
        gain_by: name of the method that shows ``gain``; None without one.
        fresh: table of the predictors on fresh rows, where some were given.
        notes: sentences on what was unusual.
        record: what was certified, as JSON values: files and hashes of adapter, model and data.
    """

    name: str
    delta: float
    statements: tuple[Statement, ...]
    zero_shot: Statement | None = None
    gain: Bound | None = None
    gain_by: str | None = None
    fresh: FreshCheck | None = None
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Statement:
        """The statement with the least limit."""
        return min(self.statements, key=lambda one: one.limit)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Everything that must be true for all statements to hold, each sentence once."""
        said = [one for statement in self.statements for one in statement.bound.assumptions]
        of_training = "training" in self.record  # says itself whether there are classes and a choice
        if not of_training and any(statement.method != "holdout" for statement in self.statements):
            said.append(CLASSES_KNOWN)
        if (rows := self.record.get("min_class_rows", 1)) > 1:
            said.append(CLASSES_COUNTED.format(rows))
        if not of_training and self.n_choices == 1 and CLASSES_KNOWN in said:
            said.append(
                "the run, its rank, mode and seed, was not chosen by looking at the results of others (certifying the "
                "folder of the sweep counts the choice)"
            )
        return tuple(dict.fromkeys(said))

    @property
    def n_choices(self) -> int:
        """Number of runs or predictors among which this one was chosen, all of them paid for."""
        return int(self.record.get("candidates") or len(self.record.get("choices", ())) or self._n_tables)

    @property
    def _n_tables(self) -> int:
        return len(self.record.get("table", {}).get("predicted", ())) or 1

    def frame(self) -> pl.DataFrame:
        """One row per method, in the order they were asked for, and one for the model without an adapter.

        Columns: ``method``, ``speaks_of``, ``error`` (share of errors on the examples that the limit uses),
        ``error_at_most`` (limit on the error on new data), ``vacuous``, ``delta``, ``n_samples``, ``best``,
        ``seconds``.
        """
        every = [*self.statements, *([self.zero_shot] if self.zero_shot else [])]
        return pl.DataFrame(
            {
                "method": [one.method for one in every],
                "speaks_of": [one.speaks_of for one in every],
                "error": [one.error for one in every],
                "error_at_most": [one.limit for one in every],
                "vacuous": [one.vacuous for one in every],
                "delta": pl.Series([one.bound.delta for one in every], dtype=pl.Float64),
                "n_samples": [int(one.bound.n_samples) for one in every],
                "best": [one is self.best for one in every],
                "seconds": [one.seconds for one in every],
            }
        )

    def __repr__(self) -> str:
        """The best limit in one line; ``lorabound.show`` says the rest."""
        best = self.best
        others = f", the best of {len(self.statements)} methods" if len(self.statements) > 1 else ""
        return (
            f"Certificate: {self.name}, error on new data <= {best.limit:.4g} with probability {1 - self.delta:g} "
            f"({best.method}{others})"
        )
