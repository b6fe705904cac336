"""What a method says about one predictor, with everything that is needed to compute it again. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lorabound.bounds import Bound


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
