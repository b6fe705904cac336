"""One constructor for every bound: (N, delta, risk, complexity) -> Bound, for the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lorabound.bounds import (
    Bound,
    LoraNetwork,
    best_of,
    cross_fit,
    holdout,
    holdout_bounded,
    information_gap,
    net_kl,
    occam,
    occam_gap,
    over_radii,
    pac_bayes,
    progressive,
    rank_lower_bound,
    uniform_gap,
)


@dataclass(frozen=True)
class Case:
    """What ``make`` reads of its four arguments, and whether it is a lower bound."""

    name: str
    make: Callable[..., Bound]
    delta: bool = True
    risk: bool = False
    complexity: bool = True
    counts: bool = False
    upper: bool = True

    def __str__(self) -> str:
        return self.name


def blocks(complexity):
    """Two factors of 30 and 5 parameters, ln K = complexity and half of it."""
    return [(30, complexity), (5, complexity / 2)]


def network(radius):
    return LoraNetwork([6, 8, 2], 2, "freeze_a", [1.0, 0.5], [0.1, 0.0], [2.0, 1.0], [radius, radius])


def gap(method, **options):
    return lambda n, delta, risk, c: uniform_gap(blocks(c), n, delta, method, **options)


CASES = [
    Case("chaining", gap("chaining")),
    Case("chaining two-sided", gap("chaining", sides=2)),
    Case("chaining cube", gap("chaining", form="cube")),
    Case("net", gap("net")),
    Case("net frobenius", gap("net", form="frobenius")),
    Case("dudley", gap("dudley")),
    Case("dudley paper", gap("dudley", constants="paper")),
    Case("net_kl", lambda n, delta, risk, c: net_kl(blocks(c), n, delta, risk), risk=True),
    Case("over_radii", lambda n, delta, risk, c: over_radii(network, min(abs(c), 1e9), n, delta)),
    Case(
        "over_radii net_kl",
        lambda n, delta, risk, c: over_radii(network, min(abs(c), 1e9), n, delta, method="net_kl", empirical_risk=risk),
        risk=True,
    ),
    Case("information", lambda n, delta, risk, c: information_gap(abs(c), n), delta=False),
    Case("occam", lambda n, delta, risk, c: occam(risk, n, abs(c), delta), risk=True),
    Case("occam gap", lambda n, delta, risk, c: occam_gap(n, abs(c), delta)),
    Case(
        "occam zero-one",
        lambda n, delta, risk, c: occam(risk, n, abs(c), delta, zero_one=True),
        risk=True,
        counts=True,
    ),
    Case("pac_bayes", lambda n, delta, risk, c: pac_bayes(risk, n, abs(c), delta), risk=True),
    Case(
        "pac_bayes drawn",
        lambda n, delta, risk, c: pac_bayes(risk, n, abs(c), delta / 2, draws=100, delta_draws=delta / 2),
        risk=True,
    ),
    Case(
        "holdout",
        lambda n, delta, risk, c: holdout(np.rint(risk * np.nan_to_num(n, posinf=0.0)), n, delta),
        risk=True,
        complexity=False,
        counts=True,
    ),
    Case(
        "holdout_bounded",
        lambda n, delta, risk, c: holdout_bounded(risk, n, delta),
        risk=True,
        complexity=False,
    ),
    Case("progressive", lambda n, delta, risk, c: progressive(risk, n, delta, lam=0.7), risk=True, complexity=False),
    Case("cross_fit", lambda n, delta, risk, c: cross_fit(risk, n, 1, delta, lam=0.7), risk=True, complexity=False),
    Case(
        "best_of",
        lambda n, delta, risk, c: (
            best_of([occam(risk, n, abs(c), delta / 2), holdout_bounded(risk, n, delta / 2)], delta)
            if np.ndim(n) == 0
            else best_of([occam(risk, n, abs(c), delta / 2), occam(risk, n, 2 * abs(c), delta / 2)], delta)
        ),
        risk=True,
    ),
    Case(
        "rank_lower mean",
        lambda n, delta, risk, c: rank_lower_bound(n, np.floor(1 + abs(c))),
        delta=False,
        upper=False,
    ),
]
