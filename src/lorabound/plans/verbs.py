"""What Python users do with plans: make one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from lorabound.arguments import probability, real
from lorabound.bounds import information_gap, occam_gap
from lorabound.errors import InputError
from lorabound.modes import Mode, guideline
from lorabound.plans.gap_bounds import MOST, GapBounds, gap_bounds, smallest_n, trainable
from lorabound.plans.pilot import Pilot, check_same_layers, read_pilot
from lorabound.plans.plan import Need, Pair, Plan, PlanRow
from lorabound.plans.shapes import Shapes, check_shapes, model_shapes, parse_shapes
from lorabound.sweeps import Sweep, SweepConfig, read_config

SIZES = (1_000, 10_000, 100_000)
# A limit below 1 says something: the largest number below 1.
_BELOW_ONE = math.nextafter(1.0, 0.0)


def plan(
    shapes: Mapping[str, tuple[int, int]] | str | None = None,
    *,
    model: str | None = None,
    ranks: Sequence[int] | str | None = None,
    modes: Sequence[Mode] | str | None = None,
    n_train: Sequence[int] | str | None = None,
    delta: float = 0.05,
    target_gap: float | None = None,
    pilot: Sweep | str | PathLike[str] | None = None,
    bits: int = 32,
    classes: int | None = None,
    targets: Sequence[str] | str | None = None,
    layers: Sequence[int] | str | None = None,
    encoder: str | None = None,
    subspace_size: int | None = None,
    links: int | None = None,
) -> Plan:
    """Before training: what is guaranteed for each mode, rank and amount of data, and what a pilot sweep forecasts.

    At each N the guarantees of all (mode, rank) hold together with probability >= 1 - ``delta``, so one of them may be
    chosen after training. The adapted layers are ``shapes``, or those of ``model``, or those of the pilot.

    Args:
        shapes: (d_out, d_in) of each adapted layer, by name; or text such as "384x384,1536x384".
        model: package, folder or hub name of a model, whose configuration is read and whose weights are not.
        ranks: LoRA ranks; by default the pilot's, or 1, 2, 4, 8.
        modes: any of the modes of a sweep; by default the pilot's, or freeze_a and train_both.
        n_train: training set sizes; by default the pilot's, or 1,000, 10,000 and 100,000.
        delta: failure probability, in (0, 1).
        target_gap: a gap in (0, 1), for which the N needed is worked out.
        pilot: a small sweep over the same layers, or its folder.
        bits: b, number of bits in which one trained parameter is stored, 1 to 64.
        classes: number of classes of the task, to refuse a smaller N; by default the pilot's.
        targets: names of the linear layers of ``model`` that are adapted.
        layers: indices of the layers of ``model`` that are adapted, or a position as in a sweep.
        encoder: vision, text or both, of a CLIP.
        subspace_size: size of the vector that mode subspace trains; by default the pilot's, or 512.
        links: number of links of a chain, each of the rank that is named; by default the pilot's, or 1.
    Raises:
        InputError: an argument outside its range, fewer examples than classes, a rank above a layer's width, a pilot
            over other layers.
        ModelError: no such model, layer or target.
        StoreError: the pilot's folder holds no sweep.

    >>> import lorabound as lb
    >>> made = lb.plan("384x384", ranks=[1], modes=["freeze_a"], n_train=[1_000_000], bits=4)
    >>> print(made.rows[0].bounds.guarantee.vacuous, round(made.rows[0].bounds.guarantee.value, 4))
    False 0.0231
    >>> made.needs[0].says_something  # below so many examples the guarantee is 1 or more
    535
    """
    if shapes is not None and (model or targets or layers):
        raise InputError("give --shapes, or --model with --targets and --layers, not both")
    if shapes is None and model is None and pilot is None:
        raise InputError("say what is adapted: --shapes 384x384,384x384, or --model NAME, or --pilot DIR")
    store = pilot if isinstance(pilot, Sweep) or pilot is None else Sweep.open(str(pilot))
    known = read_pilot(store) if store else None
    given = {
        "model": model,
        "targets": targets,
        "encoder": encoder,
        "layers": layers,
        "ranks": ranks,
        "modes": modes,
        "n_train": n_train,
        "subspace_size": subspace_size,
        "links": links,
    }
    base = store.config.model_dump(mode="json") if store else {"n_train": list(SIZES)}
    config = read_config(None, {**base, **{name: value for name, value in given.items() if value is not None}})
    probability("plan", "delta", delta)
    real("plan", "bits", bits, 1, 64, whole=True)
    _check(config, target_gap, classes if classes is not None else known.n_classes if known else None)
    if isinstance(shapes, str):
        planned = parse_shapes(shapes)
    else:
        planned = check_shapes(shapes) if shapes is not None else model_shapes(config)
    return _plan(planned, config, bits, delta, target_gap, known)


def _check(config: SweepConfig, target: float | None, classes: int | None) -> None:
    for values, what in ((config.ranks, "ranks"), (config.sizes, "n_train")):
        real("plan", what, list(values), 1, MOST, whole=True)
    if target is not None and not 0 < target < 1:
        raise InputError(
            f"plan: target_gap must lie in (0, 1), got {target:g}: the gap of a loss in [0, 1] is never above 1, and "
            "0 is reached at no N"
        )
    if classes is not None and min(config.sizes) < classes:
        raise InputError(
            f"plan: n_train {min(config.sizes)} is below the {classes} classes, so a class has no example: "
            f"give at least {classes}"
        )


def _plan(
    shapes: Shapes, config: SweepConfig, bits: int, delta: float, target: float | None, pilot: Pilot | None
) -> Plan:
    modes, ranks, sizes = tuple(config.modes), tuple(sorted(config.ranks)), tuple(sorted(config.sizes))
    size, links = config.subspace_size, config.links
    choices = [(mode, rank, trainable(shapes, mode, rank, size, links)) for mode in modes for rank in ranks]
    if pilot:
        check_same_layers(pilot, shapes, size, links)
    width = min(min(shape) for shape in shapes.values())
    doubled = [rank for rank in ranks if 2 * links * rank <= width]
    spoken_of = {(mode, rank) for mode, rank, _ in choices}
    spoken_of |= {pair for rank in doubled for pair in guideline(rank)}
    share = delta / len(spoken_of)

    def limits(mode: Mode, rank: int, n: int) -> GapBounds:
        return gap_bounds(shapes, mode, rank, n, bits, share, size, links)

    def pair(rank: int) -> Pair:
        frozen, both = guideline(rank)
        return Pair(frozen=limits(*frozen, sizes[-1]), both=limits(*both, sizes[-1]))

    return Plan(
        shapes=shapes,
        modes=modes,
        ranks=ranks,
        n_train=sizes,
        bits=bits,
        delta=delta,
        share=share,
        target_gap=target,
        rows=tuple(
            PlanRow(bounds=limits(mode, rank, n), forecast=pilot.forecast(mode, rank, n) if pilot else None)
            for n in sizes
            for mode, rank, _ in choices
        ),
        needs=tuple(_need(mode, rank, q, bits, share, target, pilot) for mode, rank, q in choices),
        pairs=tuple(map(pair, doubled)),
        pilot=pilot,
        links=links,
    )


def _need(mode: Mode, rank: int, q: int, bits: int, share: float, target: float | None, pilot: Pilot | None) -> Need:
    def guarantee(n: int) -> float:
        return float(occam_gap(n, q * bits, share).value)

    def average(n: int) -> float:
        return float(information_gap(q, n, bits).value)

    wanted: dict[str, Any] = {"guarantee": None, "average": None, "forecast": None}
    if target is not None:
        wanted = {
            "guarantee": smallest_n(guarantee, target),
            "average": smallest_n(average, target),
            "forecast": pilot.n_train_for(target, mode, rank) if pilot else None,
        }
    return Need(mode=mode, rank=rank, n_params=q, says_something=smallest_n(guarantee, _BELOW_ONE), **wanted)
