"""Paper symbols beside code names, and the ``Bound`` record every theorem returns.

Paper: Kratsios et al. 2025, *Sharp Generalization Bounds for Foundation Models with Asymmetric
Randomized Low-Rank Adapters*, arXiv 2506.14530.

| symbol     | meaning                                                        | code name        |
|------------|----------------------------------------------------------------|------------------|
| L          | number of weight layers                                        | `depth`          |
| d_0..d_L   | widths, d_0 of the input, d_L of the output                    | `widths`         |
| r          | LoRA rank                                                      | `rank`           |
| A_t        | factor that reads the input, (r, d_{t-1})                      | `a`              |
| B_t        | factor that writes the output, (d_t, r)                        | `b`              |
| s          | LoRA scale: the layer computes W x + s B A x                   | `scale`          |
| q          | number of trainable parameters                                 | `n_params`       |
| N          | size of the training sample                                    | `n_samples`, `n_train` |
| delta      | failure probability                                            | `delta`          |
| R, Rhat    | true risk, empirical (training) risk                           | `risk`, `empirical_risk` |
| G          | generalization gap, uniform over the class unless said otherwise | `gap`          |
| L_ell      | Lipschitz constant of the loss in the prediction, 2-norm       | `loss_lipschitz` |
| rho        | a-priori bound on the input norm                               | `input_radius`   |

Which factor is random and which is trained: :mod:`lorabound.modes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lorabound.errors import InputError

Law = Literal["kaiming_uniform", "gaussian", "svd", "loftq"]
# The laws of random numbers, and those that a factor is made by from a seed and the weights of its layer alone.
RANDOM_LAWS: tuple[Law, ...] = ("kaiming_uniform", "gaussian")
LAWS: tuple[Law, ...] = (*RANDOM_LAWS, "svd")
# The law that reads the weights of the model in place of random numbers (:mod:`lorabound.adapters.singular`).
OF_WEIGHTS: Law = "svd"
# The law by which both factors start at what rounding took from the weights (:mod:`lorabound.adapters.residual`).
RESIDUAL_LAW: Law = "loftq"

# Number formats that the weights of a frozen model may be rounded to.
Base = Literal["nf4", "int8"]

Number = float | NDArray[np.float64]
Scope = Literal["single run", "expectation", "uniform"]


@dataclass(frozen=True)
class Bound:
    """What a theorem says, with everything needed to judge it.

    ``value`` is never clipped: a bound above the ``trivial`` value (what is true without any theorem)
    says so through ``vacuous``. ``value``, ``n_samples`` and the entries of ``terms`` are floats, or arrays
    of one shape where a curve was asked for.

    Attributes:
        value: the number bounded from above, or from below when ``direction`` is "lower".
        kind: "gap" (R - Rhat), "risk" (R), or "gain" (R of a reference predictor - R).
        delta: failure probability; None for a bound that holds in expectation.
        n_samples: N, the number of independent examples it rests on.
        terms: the named parts of ``value``.
        combine: formula that makes the value of the parts.
        theorem: author, year, numbered statement; or "ours".
        predictor: predictor that the bound speaks of (as stored, decoded, randomized, every one of a class).
        scope: "single run" (one predictor), "uniform" (all of the class at once), "expectation".
        assumptions: sentences that must be true of the data and the procedure.
        trivial: the value that is true without any theorem (1 for a loss in [0, 1]).
    """

    value: Number
    kind: Literal["gap", "risk", "gain"]
    delta: float | None
    n_samples: Number
    terms: Mapping[str, Number]
    combine: str
    theorem: str
    predictor: str
    scope: Scope
    assumptions: tuple[str, ...]
    trivial: float = 1.0
    direction: Literal["upper", "lower"] = "upper"
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.any(np.isnan(self.value)):
            raise InputError(f"Bound: value must be a number, got {self.value} from {self.theorem}")

    @property
    def vacuous(self) -> bool | NDArray[np.bool_]:
        """Whether the bound says nothing: an upper bound >= ``trivial``, a lower bound <= 0, or delta >= 1."""
        says_nothing = (
            np.asarray(self.value) >= self.trivial if self.direction == "upper" else np.asarray(self.value) <= 0.0
        ) | (self.delta is not None and self.delta >= 1)
        return bool(says_nothing) if says_nothing.ndim == 0 else says_nothing

    @property
    def silent(self) -> bool:
        """Whether a number says nothing as readers see it (:func:`says_nothing`); vacuous ones all do."""
        if self.direction == "lower":
            return bool(self.vacuous) or (self.kind == "gain" and rounded_down(float(self.value)) <= 0)
        return bool(self.vacuous) or says_nothing(float(self.value), self.trivial)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON; ``from_dict`` is its inverse."""
        return {
            "value": _plain(self.value),
            "kind": self.kind,
            "delta": _plain(self.delta),
            "n_samples": _plain(self.n_samples),
            "terms": {name: _plain(term) for name, term in self.terms.items()},
            "combine": self.combine,
            "theorem": self.theorem,
            "predictor": self.predictor,
            "scope": self.scope,
            "assumptions": list(self.assumptions),
            "trivial": self.trivial,
            "direction": self.direction,
            "inputs": {name: _plain(value) for name, value in self.inputs.items()},
            "vacuous": _plain(self.vacuous),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Bound:
        """Rebuild a ``Bound`` from ``to_dict``; ``vacuous`` is recomputed, not believed."""
        fields = {name: value for name, value in record.items() if name != "vacuous"}
        fields["value"] = _number(fields["value"])
        fields["n_samples"] = _number(fields["n_samples"])
        fields["terms"] = {name: _number(term) for name, term in fields["terms"].items()}
        fields["assumptions"] = tuple(fields["assumptions"])
        return cls(**fields)

    def frame(self) -> pl.DataFrame:
        """One row per entry of ``value``: value, vacuous, N, delta, what it bounds and by which theorem, its terms.

        Columns: ``kind``, ``direction``, ``value``, ``vacuous``, ``n_samples``, ``delta``, ``theorem``, ``predictor``,
        ``scope``, and ``term_NAME`` for each term.
        """
        values = np.atleast_1d(self.value).ravel()

        def column(entry: Any) -> NDArray[Any]:
            return np.broadcast_to(entry, np.shape(self.value) or (1,)).ravel()

        return pl.DataFrame(
            {
                "kind": [self.kind] * len(values),
                "direction": self.direction,
                "value": values,
                "vacuous": column(self.vacuous),
                "n_samples": column(self.n_samples),
                "delta": pl.Series([self.delta] * len(values), dtype=pl.Float64),
                "theorem": self.theorem,
                "predictor": self.predictor,
                "scope": self.scope,
                **{f"term_{name}": column(term) for name, term in self.terms.items()},
            }
        )

    def __repr__(self) -> str:
        """The number with its level and theorem, in one line; ``print`` says the rest."""
        return f"Bound: {str(self).splitlines()[0]} ({self.theorem})"

    def __str__(self) -> str:
        relation = "<=" if self.direction == "upper" else ">="
        gap = "|R - Rhat|" if self.inputs.get("sides", 1) == 2 else "R - Rhat"
        quantity = {"gap": gap, "risk": "R", "gain": "R_0 - R"}[self.kind]
        level = "in expectation" if self.delta is None else f"with probability >= 1 - {self.delta:g}"
        empty = np.any(self.vacuous)
        trivial = self.trivial if self.direction == "upper" else 0.0
        lines = [
            f"{quantity} {relation} {_show(self.value)}  {level}"
            + (f"  [vacuous: {relation} {trivial:g} needs no theorem]" if empty else ""),
            f"  theorem     {self.theorem}",
            f"  speaks of   {self.predictor} ({self.scope})",
            f"  from        {self.combine}; "
            + ", ".join(f"{name} = {_show(term)}" for name, term in self.terms.items()),
            f"  samples     {_show(self.n_samples)}",
            *(f"  assumes     {assumption}" for assumption in self.assumptions),
        ]
        return "\n".join(lines)


def rounded_up(limit: float) -> float:
    """A limit from above with three digits behind the point, as readers see it: never lower than it is."""
    return math.ceil(limit * 1000 - 1e-9) / 1000


def rounded_down(limit: float) -> float:
    """A limit from below with three digits behind the point, as readers see it: never higher than it is."""
    return math.floor(limit * 1000 + 1e-9) / 1000


def says_nothing(limit: float, trivial: float = 1.0) -> bool:
    """Whether a limit from above says nothing as readers see it: rounded up to three digits it is ``trivial``, which
    is true without any theorem. Whatever shows a limit asks this; ``Bound.vacuous`` is about the number itself.

    >>> says_nothing(0.9991), says_nothing(0.999)
    (True, False)
    """
    return rounded_up(limit) >= trivial


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _number(value: Any) -> Number:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else value


def _show(value: Number) -> str:
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{float(array):.6g}"
    return f"[{array.flat[0]:.6g} .. {array.flat[-1]:.6g}] ({array.size} values)"
