"""Theorem 2 simulated: how often the ball holds f(x) = x, and how large the coin then makes the gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

from lorabound.arguments import Array
from lorabound.bounds import (
    Bound,
    LoraNetwork,
    lower_bound,
    operator_norm_radius,
    rank_lower_bound,
    uniform_gap,
)
from lorabound.modes import PAPER_MODE
from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated.cells import CellsRow, simulate_cells
from lorabound.worst_case.simulated.constructions import (
    CONSTRUCTIONS,
    RANK_ONE,
    Construction,
    frozen_weights,
    outputs,
    shifts,
)

# Level of the intervals of frequencies; failure probability of the upper bounds.
FREQUENCY_LEVEL = 0.99
DELTA = 0.05
# Draws in which every entry of A is drawn and the whole network is run; fewer where one costs too much.
COMPLETE = 2000
_WORK = 2**33
# Numbers that one step of a simulation may hold.
_BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """How often an event was seen, beside the probability the theory gives: exactly, or at least.

    Attributes:
        hits: number of trials in which it was seen.
        trials: number of trials.
        low: lower end of the Clopper & Pearson 1934 interval at FREQUENCY_LEVEL.
        high: upper end of it.
        theory: probability of the event.
        exact: whether ``theory`` is the probability itself; otherwise it is a lower bound.
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
        return cls(
            hits=hits, trials=trials, low=float(interval.low), high=float(interval.high), theory=theory, exact=exact
        )

    @property
    def value(self) -> float:
        """hits / trials."""
        return self.hits / self.trials

    @property
    def agrees(self) -> bool:
        """Whether the interval holds the exact probability, or reaches above the lower bound."""
        return self.theory <= self.high and (not self.exact or self.low <= self.theory)


@dataclass(frozen=True, kw_only=True)
class AdmissionRow:
    """One construction at one rank.

    Attributes:
        rank: r.
        construction: name of the construction.
        frequency: frequency of draws whose factors all fit the ball; None where the construction does not exist.
        max_error: largest |f(x) - x e_1| over complete draws and a grid of [0, 1]; nan where it does not exist.
        n_complete: number of networks that were run for ``max_error``.
    """

    rank: int
    construction: str
    frequency: Frequency | None
    max_error: float
    n_complete: int


@dataclass(frozen=True, kw_only=True)
class CoinRow:
    """The gap |mean - 1/2| of f(x) = x on N tosses of a fair coin.

    Attributes:
        n_train: N.
        bound: lower bound c_p(N)/sqrt(N) on the gap.
        frequency: frequency of a gap that large, beside its exact probability.
        exact_mean: E |mean - 1/2|, exactly.
        mean: mean of |mean - 1/2| in the simulation.
        standard_error: standard error of that mean.
    """

    n_train: int
    bound: Bound
    frequency: Frequency
    exact_mean: float
    mean: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class TheoremRow:
    """Theorem 2 beside Theorem 1, for the same network, ball and laws.

    Attributes:
        rank: r.
        n_train: N.
        lower: lower bound on the largest gap G of the class, with probability admissible x p.
        frequency: frequency of draws of A and sample where the ball holds f(x) = x and its gap is that large, beside
            its exact probability, admissible x attained.
        upper: upper bound on |R - Rhat| by chaining (ours), with probability 1 - DELTA over A and the sample.
        published: upper bound on |R - Rhat| by Theorem 1 as published.
    """

    rank: int
    n_train: int
    lower: Bound
    frequency: Frequency
    upper: Bound
    published: Bound


@dataclass(frozen=True, kw_only=True)
class LowerSimulation:
    """Everything ``lorabound lower-bound`` prints.

    Attributes:
        settings: settings of the simulation.
        admissions: one row per rank and construction.
        coins: one row per N.
        theorem: one row per rank and N.
        cells: one row per rank and N.
    """

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
    moved = shifts(weights)
    exact = [RANK_ONE.admitted(weights, rank, settings) for rank in settings.ranks]
    bounds = [lower_bound(n, settings.probability) for n in settings.n_train]

    fitting = np.zeros(len(settings.ranks), dtype=np.int64)
    large = np.zeros(len(bounds), dtype=np.int64)
    both = np.zeros((len(settings.ranks), len(bounds)), dtype=np.int64)
    sums, squares = np.zeros(len(bounds)), np.zeros(len(bounds))
    for size in _blocks(settings.trials, max(settings.ranks) * len(weights)):
        fits = _fits(size, moved, settings, random)
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
            n_train=n,
            bound=bound,
            frequency=Frequency.of(int(large[j]), settings.trials, attained[j]),
            exact_mean=float(rank_lower_bound(n, 1).value),
            mean=float(means[j]),
            standard_error=float(errors[j]),
        )
        for j, (n, bound) in enumerate(zip(settings.n_train, bounds, strict=True))
    ]
    theorem = [
        TheoremRow(
            rank=rank,
            n_train=n,
            lower=lower_bound(n, settings.probability, exact[i]),
            frequency=Frequency.of(int(both[i, j]), settings.trials, exact[i] * attained[j]),
            upper=upper,
            published=published,
        )
        for i, rank in enumerate(settings.ranks)
        for j, n in enumerate(settings.n_train)
        for upper, published in [_upper(rank, n, weights, settings)]
    ]
    return LowerSimulation(
        settings=settings,
        admissions=admissions,
        coins=coins,
        theorem=theorem,
        cells=simulate_cells(settings, random),
    )


def _blocks(trials: int, numbers: int) -> Iterator[int]:
    """Sizes of the steps in which ``trials`` are done, each of ``numbers`` numbers per trial."""
    step = max(1, _BLOCK // numbers)
    while trials > 0:
        yield min(step, trials)
        trials -= step


def _fits(
    trials: int, moved: Sequence[float], settings: LowerConfig, random: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(trials, ranks): whether all ||B_t|| of the rank-one construction are at most M."""
    columns = settings.std * random.standard_normal((trials, len(moved), max(settings.ranks)))
    squares = np.cumsum(columns**2, axis=2)[:, :, np.asarray(settings.ranks) - 1]
    reach = (settings.radius * abs(settings.scale)) ** 2 * squares
    return np.asarray(np.all(np.square(moved)[:, None] <= reach, axis=1))


def _admissions(
    rank: int, columns: Frequency, weights: list[Array], settings: LowerConfig, random: np.random.Generator
) -> list[AdmissionRow]:
    """Every construction on complete draws: its error, and how often it fits where ``columns`` does not tell."""
    numbers = rank * max(settings.widths[:-1]) * len(weights)
    grid = np.linspace(0.0, 1.0, 11)[:, None] * np.eye(settings.widths[0])[0]
    truth = np.linspace(0.0, 1.0, 11)[:, None] * np.eye(settings.widths[-1])[0]
    existing = [made for made in CONSTRUCTIONS if rank >= made.least_rank(settings.widths)]
    errors, hits = dict.fromkeys(CONSTRUCTIONS, 0.0), dict.fromkeys(CONSTRUCTIONS, 0)
    complete = min(COMPLETE, settings.trials, max(10, _WORK // (numbers * max(settings.widths))))
    for size in _blocks(complete, numbers):
        a = [settings.std * random.standard_normal((size, rank, w.shape[1])) for w in weights]
        for made in existing:
            b = [made.factor(w, factor, settings.scale) for w, factor in zip(weights, a, strict=True)]
            error = np.abs(outputs(weights, a, b, settings.scale, grid) - truth).max()
            errors[made] = max(errors[made], float(error))
            norms = np.stack([np.linalg.norm(factor, axis=(1, 2)) for factor in b])
            hits[made] += int(np.all(norms <= settings.radius, axis=0).sum())

    def row(made: Construction) -> AdmissionRow:
        if made not in existing:
            return AdmissionRow(rank=rank, construction=made.name, frequency=None, max_error=float("nan"), n_complete=0)
        frequency = columns
        if made is not RANK_ONE:
            frequency = Frequency.of(hits[made], complete, made.admitted(weights, rank, settings), made.exact)
        return AdmissionRow(
            rank=rank, construction=made.name, frequency=frequency, max_error=errors[made], n_complete=complete
        )

    return [row(made) for made in CONSTRUCTIONS]


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
