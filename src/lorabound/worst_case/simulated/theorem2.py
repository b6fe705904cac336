"""Theorem 2 simulated: how often the ball holds f(x) = x, and how large the coin then makes the gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import stats

from lorabound.arguments import Array
from lorabound.bounds import (
    Bound,
    LoraNetwork,
    admissibility,
    lower_bound,
    operator_norm_radius,
    rank_lower_bound,
    uniform_gap,
)
from lorabound.modes import PAPER_MODE
from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated.cells import CellsRow, simulate_cells
from lorabound.worst_case.simulated.constructions import frozen_weights, full_factor, outputs, rank_one_factor

Construction = Literal["rank_one", "full"]

# Level of the intervals of frequencies; failure probability of the upper bounds.
FREQUENCY_LEVEL = 0.99
DELTA = 0.05
# Draws in which every entry of A is drawn and the whole network is run; fewer where one costs too much.
COMPLETE = 2000
_WORK = 2**33
# Numbers that one step of a simulation may hold.
_BLOCK = 2**22


@dataclass(frozen=True)
class Frequency:
    """``hits`` of ``trials``, beside the probability the theory gives: exactly, or at least.

    Attributes:
        low, high: Clopper & Pearson 1934 interval at FREQUENCY_LEVEL.
        theory: the probability.
        exact: whether theory is the probability itself; otherwise a lower bound on it.
    """

    hits: int
    trials: int
    low: float
    high: float
    theory: float
    exact: bool

    @classmethod
    def of(cls, hits: int, trials: int, theory: float, exact: bool = True) -> Frequency:
        """The frequency with its interval."""
        interval = stats.binomtest(hits, trials).proportion_ci(FREQUENCY_LEVEL, method="exact")
        return cls(hits, trials, float(interval.low), float(interval.high), theory, exact)

    @property
    def value(self) -> float:
        """hits / trials."""
        return self.hits / self.trials

    @property
    def agrees(self) -> bool:
        """Whether the interval holds the exact probability, or reaches above the lower bound."""
        return self.theory <= self.high and (not self.exact or self.low <= self.theory)


@dataclass(frozen=True)
class AdmissionRow:
    """One construction at one rank.

    Attributes:
        frequency: of draws whose factors all fit the ball; None where the construction does not exist.
        max_error: largest |f(x) - x e_1| over complete draws and a grid of [0, 1].
        n_complete: how many networks were run for it.
    """

    rank: int
    construction: Construction
    frequency: Frequency | None
    max_error: float
    n_complete: int


@dataclass(frozen=True)
class CoinRow:
    """The gap |mean - 1/2| of f(x) = x on N tosses.

    Attributes:
        bound: gap >= c_p(N)/sqrt(N).
        frequency: of that event, beside its exact probability.
        exact_mean, mean, standard_error: E |mean - 1/2|, exactly and in the simulation.
    """

    n_train: int
    bound: Bound
    frequency: Frequency
    exact_mean: float
    mean: float
    standard_error: float


@dataclass(frozen=True)
class TheoremRow:
    """Theorem 2 beside Theorem 1, for the same network, ball and laws.

    Attributes:
        lower: G >= value, at probability admissible x p.
        frequency: of draws of A and sample where the ball holds f(x) = x and its gap is that large; exact
            probability admissible x attained.
        upper: |R - Rhat| <= value by chaining (ours), probability 1 - DELTA over A and the sample.
        published: the same by Theorem 1 as published.
    """

    rank: int
    n_train: int
    lower: Bound
    frequency: Frequency
    upper: Bound
    published: Bound


@dataclass(frozen=True)
class LowerSimulation:
    """Everything ``lorabound lower-bound`` prints."""

    settings: LowerConfig
    admissions: list[AdmissionRow]
    coins: list[CoinRow]
    theorem: list[TheoremRow]
    cells: list[CellsRow]


def simulate_lower_bound(settings: LowerConfig) -> LowerSimulation:
    """Draw W once; A, the coin and the labels anew in every trial; count.

    Source: theory 5.1 to 5.4. A trial of the rank-one construction needs the first columns of the A_t only;
    rank r uses the first r entries of the columns of the largest rank, so rows of different rank share draws.
    """
    random = np.random.default_rng(settings.seed)
    weights = frozen_weights(settings.widths, random)
    shifts = [float(np.linalg.norm(np.eye(len(w))[0] - w[:, 0])) for w in weights]
    exact = [
        float(admissibility(rank, shifts, settings.radius, settings.std, settings.scale)) for rank in settings.ranks
    ]
    bounds = [lower_bound(n, settings.probability) for n in settings.n_train]

    fitting = np.zeros(len(settings.ranks), dtype=np.int64)
    large = np.zeros(len(bounds), dtype=np.int64)
    both = np.zeros((len(settings.ranks), len(bounds)), dtype=np.int64)
    sums, squares = np.zeros(len(bounds)), np.zeros(len(bounds))
    for size in _blocks(settings.trials, max(settings.ranks) * len(weights)):
        fits = _fits(size, shifts, settings, random)
        fitting += fits.sum(axis=0)
        for j, (n, bound) in enumerate(zip(settings.n_train, bounds, strict=True)):
            gap = np.abs(random.binomial(n, 0.5, size) - n / 2) / n
            # The bound is a gap of this list up to rounding.
            hits = gap >= float(bound.value) * (1 - 1e-12)
            large[j] += hits.sum()
            both[:, j] += (fits & hits[:, None]).sum(axis=0)
            sums[j] += gap.sum()
            squares[j] += np.sum(gap**2)

    admissions = []
    for rank, probability, hits in zip(settings.ranks, exact, fitting, strict=True):
        frequency = Frequency.of(int(hits), settings.trials, probability)
        admissions += _admissions(rank, frequency, weights, settings, random)
    attained = [float(bound.terms["attained_probability"]) for bound in bounds]
    means = sums / settings.trials
    errors = np.sqrt(np.maximum(squares / settings.trials - means**2, 0) / settings.trials)
    coins = [
        CoinRow(
            n, bound, Frequency.of(int(large[j]), settings.trials, attained[j]),
            float(rank_lower_bound(n, 1).value), float(means[j]), float(errors[j]),
        )
        for j, (n, bound) in enumerate(zip(settings.n_train, bounds, strict=True))
    ]  # fmt: skip
    theorem = [
        TheoremRow(
            rank,
            n,
            lower_bound(n, settings.probability, exact[i]),
            Frequency.of(int(both[i, j]), settings.trials, exact[i] * attained[j]),
            *_upper(rank, n, weights, settings),
        )
        for i, rank in enumerate(settings.ranks)
        for j, n in enumerate(settings.n_train)
    ]
    return LowerSimulation(settings, admissions, coins, theorem, simulate_cells(settings, random))


def _blocks(trials: int, numbers: int) -> Iterator[int]:
    """Sizes of the steps in which ``trials`` are done, each of ``numbers`` numbers a trial."""
    step = max(1, _BLOCK // numbers)
    while trials > 0:
        yield min(step, trials)
        trials -= step


def _fits(
    trials: int, shifts: Sequence[float], settings: LowerConfig, random: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(trials, ranks): whether all ||B_t|| of the rank-one construction are at most M."""
    columns = settings.std * random.standard_normal((trials, len(shifts), max(settings.ranks)))
    squares = np.cumsum(columns**2, axis=2)[:, :, np.asarray(settings.ranks) - 1]
    reach = (settings.radius * abs(settings.scale)) ** 2 * squares
    return np.asarray(np.all(np.square(shifts)[:, None] <= reach, axis=1))


def _admissions(
    rank: int, columns: Frequency, weights: list[Array], settings: LowerConfig, random: np.random.Generator
) -> list[AdmissionRow]:
    """Both constructions on complete draws: their errors, and how often the full one fits."""
    numbers = rank * max(settings.widths[:-1]) * len(weights)
    grid = np.linspace(0.0, 1.0, 11)[:, None] * np.eye(settings.widths[0])[0]
    truth = np.linspace(0.0, 1.0, 11)[:, None] * np.eye(settings.widths[-1])[0]
    exists = rank >= max(settings.widths[:-1])
    errors, hits = {"rank_one": 0.0, "full": 0.0}, 0
    complete = min(COMPLETE, settings.trials, max(10, _WORK // (numbers * max(settings.widths))))
    for size in _blocks(complete, numbers):
        a = [settings.std * random.standard_normal((size, rank, w.shape[1])) for w in weights]
        for name, build in (("rank_one", rank_one_factor), ("full", full_factor)):
            if name == "full" and not exists:
                continue
            b = [build(w, factor, settings.scale) for w, factor in zip(weights, a, strict=True)]
            error = np.abs(outputs(weights, a, b, settings.scale, grid) - truth).max()
            errors[name] = max(errors[name], float(error))
            if name == "full":
                norms = np.stack([np.linalg.norm(factor, axis=(1, 2)) for factor in b])
                hits += int(np.all(norms <= settings.radius, axis=0).sum())
    rows = [AdmissionRow(rank, "rank_one", columns, errors["rank_one"], complete)]
    if not exists:
        return [*rows, AdmissionRow(rank, "full", None, float("nan"), 0)]
    shifts = [float(np.linalg.norm(np.eye(*w.shape) - w)) for w in weights]
    least = admissibility(
        rank, shifts, settings.radius, settings.std, settings.scale, "full", [w.shape[1] for w in weights]
    )
    return [
        *rows,
        AdmissionRow(rank, "full", Frequency.of(hits, complete, float(least), False), errors["full"], complete),
    ]


def _upper(rank: int, n: int, weights: list[Array], settings: LowerConfig) -> tuple[Bound, Bound]:
    """(chaining, as published) on |R - Rhat|, at DELTA/2 for the draw of A and DELTA/2 for the sample."""
    depth = len(weights)
    network = LoraNetwork(
        widths=settings.widths,
        rank=rank,
        mode=PAPER_MODE,
        weight_norms=[float(np.linalg.norm(w, 2)) for w in weights],
        bias_norms=[0.0] * depth,
        factor_norms=[
            operator_norm_radius(settings.std, rank, d_in, depth, DELTA / 2) for d_in, _ in pairwise(settings.widths)
        ],
        radii=[settings.radius] * depth,
        scale=settings.scale,
    )
    blocks = network.blocks()
    return (
        uniform_gap(blocks, n, DELTA / 2, sides=2),
        uniform_gap(blocks, n, DELTA / 2, "dudley", "paper", sides=2),
    )
