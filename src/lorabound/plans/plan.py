"""A plan: the bounds and the forecast of every (mode, rank, N), and the N that a target gap needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorabound.arguments import choice, probability, real
from lorabound.bounds import information_gap, occam_gap
from lorabound.errors import InputError
from lorabound.notation import MODES, Mode
from lorabound.plans.gap_bounds import MOST, GapBounds, gap_bounds, smallest_n, trainable
from lorabound.plans.pilot import FORECAST_LEVEL, Pilot, check_same_layers
from lorabound.plans.shapes import Shapes
from lorabound.stats import PowerLaw, Prediction


@dataclass(frozen=True)
class PlanRow:
    """One (mode, rank, N): its bounds, and the pilot's forecast where there is one."""

    bounds: GapBounds
    forecast: Prediction | None


@dataclass(frozen=True)
class Need:
    """The smallest N for the target gap at one (mode, rank).

    Attributes:
        guarantee, average: exact integers, by the bound of that name; None beyond 10^15.
        forecast: by the power law, at even odds; None without one, nan when the 95% interval of gamma reaches 0: the
            pilot then does not show a gap that falls with N.
    """

    mode: Mode
    rank: int
    n_params: int
    guarantee: int | None
    average: int | None
    forecast: float | None


@dataclass(frozen=True)
class Pair:
    """The paper's guideline (section 4.3): freeze A and double the rank; equal parameters where layers are square."""

    frozen: GapBounds
    both: GapBounds


@dataclass(frozen=True)
class Plan:
    """Everything ``lorabound plan`` prints.

    ``share`` is the failure probability of one (mode, rank): at each N all of them, the pairs included, hold at once at
    ``delta``.
    """

    shapes: Shapes
    rows: list[PlanRow]
    needs: list[Need]
    pairs: list[Pair]
    pilot: Pilot | None
    bits: int
    delta: float
    share: float
    target: float | None


def make_plan(
    shapes: Shapes,
    modes: Sequence[Mode],
    ranks: Sequence[int],
    sizes: Sequence[int],
    delta: float = 0.05,
    bits: int = 32,
    target: float | None = None,
    pilot: Pilot | None = None,
    n_classes: int | None = None,
) -> Plan:
    """Bounds, needs and forecasts; nothing is trained.

    Args:
        shapes: layer -> (d_out, d_in).
        modes, ranks, sizes: every combination is planned; at each N the guarantees of all (mode, rank) hold together
            with probability >= 1 - delta, so one of them may be chosen after training.
        bits: b, bits in which a trained parameter is stored.
        target: a gap in (0, 1).
        pilot: a sweep over the same layers.
        n_classes: of the task; by default the pilot's.
    Raises:
        InputError: an argument outside its range, fewer examples than classes, a rank above a layer's width, a pilot
            over other layers.
    """
    name = "plan"
    probability(name, "delta", delta)
    real(name, "bits", bits, 1, 64, whole=True)
    for values, what in ((ranks, "ranks"), (sizes, "n_train")):
        real(name, what, list(values), 1, MOST, whole=True)
    for mode in modes:
        choice(name, "mode", mode, MODES)
    if not (modes and ranks and sizes):
        raise InputError(f"{name}: give one mode, one rank and one n_train at least")
    if target is not None and not 0 < target < 1:
        raise InputError(
            f"{name}: target_gap must lie in (0, 1), got {target:g}: the gap of a loss in [0, 1] is never above 1, and "
            "0 is reached at no N"
        )
    classes = n_classes if n_classes is not None else pilot.n_classes if pilot else None
    if classes is not None and min(sizes) < classes:
        raise InputError(
            f"{name}: n_train {min(sizes)} is below the {classes} classes, so a class has no example: "
            f"give at least {classes}"
        )
    cells = [(mode, rank, trainable(shapes, mode, rank)) for mode in modes for rank in sorted(ranks)]
    if pilot:
        check_same_layers(pilot, shapes)
    largest, width = max(sizes), min(min(shape) for shape in shapes.values())
    paired = [rank for rank in sorted(ranks) if 2 * rank <= width]
    spoken_of = {(mode, rank) for mode, rank, _ in cells}
    spoken_of |= {pair for rank in paired for pair in (("freeze_a", 2 * rank), ("train_both", rank))}
    share = delta / len(spoken_of)

    def limits(mode: Mode, rank: int, n: int) -> GapBounds:
        return gap_bounds(shapes, mode, rank, n, bits, share)

    rows = [
        PlanRow(limits(mode, rank, n), _forecast(pilot, mode, rank, n))
        for n in sorted(sizes)
        for mode, rank, _ in cells
    ]
    pairs = [Pair(limits("freeze_a", 2 * rank, largest), limits("train_both", rank, largest)) for rank in paired]
    needs = [] if target is None else [
        Need(
            mode, rank, q,
            smallest_n(lambda n, q=q: float(occam_gap(n, q * bits, share).value), target),  # type: ignore[misc]
            smallest_n(lambda n, q=q: float(information_gap(q, n, bits).value), target),  # type: ignore[misc]
            _needed(pilot, mode, rank, target),
        )
        for mode, rank, q in cells
    ]  # fmt: skip
    return Plan(shapes, rows, needs, pairs, pilot, bits, delta, share, target)


def _law(pilot: Pilot | None, mode: Mode) -> PowerLaw | None:
    return pilot.forecasts[mode].law if pilot and mode in pilot.forecasts else None


def _forecast(pilot: Pilot | None, mode: Mode, rank: int, n_train: int) -> Prediction | None:
    """The pilot's forecast; None where it has no law, or cannot be extrapolated to this rank or N."""
    law = _law(pilot, mode)
    try:
        return law.predict(rank, n_train, FORECAST_LEVEL) if law else None
    except InputError:
        return None


def _needed(pilot: Pilot | None, mode: Mode, rank: int, target: float) -> float | None:
    law = _law(pilot, mode)
    try:
        if law is None:
            return None
        n = max(float(np.ceil(law.n_train_for(target, rank))), 1.0)
        return n if law.gamma is not None and law.gamma.low > 0 else math.nan
    except InputError:
        return None
