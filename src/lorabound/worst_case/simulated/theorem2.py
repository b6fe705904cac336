"""Theorem 2 simulated: how often the ball holds f(x) = x, and how large the coin then makes the gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

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
from lorabound.worst_case.simulated.cells import simulate_cells
from lorabound.worst_case.simulated.constructions import (
    CONSTRUCTIONS,
    RANK_ONE,
    Construction,
    frozen_weights,
    outputs,
    shifts,
)
from lorabound.worst_case.simulated.results import AdmissionRow, CoinRow, Frequency, LowerSimulation, TheoremRow

# Failure probability of the upper bounds.
DELTA = 0.05
# Draws in which every entry of A is drawn and the whole network is run; fewer where one costs too much.
COMPLETE = 2000
_WORK = 2**33
# Numbers that one step of a simulation may hold.
_BLOCK = 2**22


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
        admitted = _fits(size, moved, settings, random)
        fitting += admitted.sum(axis=0)
        for j, (n, bound) in enumerate(zip(settings.n_train, bounds, strict=True)):
            gap = np.abs(random.binomial(n, 0.5, size) - n / 2) / n
            # The bound is a gap of this list up to rounding.
            hits = gap >= float(bound.value) * (1 - 1e-12)
            large[j] += hits.sum()
            both[:, j] += (admitted & hits[:, None]).sum(axis=0)
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
