"""What theory says of a rank, a mode and an amount of data before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lorabound.bounds import Bound, information_gap, lower_bound, occam_gap, rank_lower_bound
from lorabound.errors import InputError
from lorabound.modes import MODES, Mode
from lorabound.plans.shapes import Shapes

# Beyond this many examples "never" is the better word.
MOST = 10**15


@dataclass(frozen=True, kw_only=True)
class GapBounds:
    """The bounds of one (mode, rank, N).

    Attributes:
        mode: frozen factor.
        rank: LoRA rank r.
        n_params: q, number of trained parameters.
        n_train: N, size of the training sample.
        guarantee: limit on the gap of every adapter stored in b bits per parameter (Occam).
        average: limit on the gap averaged over samples, factors and training runs (information).
        floor: value that no guarantee for the worst adapter on every task can go below (two points, Theorem 2).
        rank_floor: lower limit on the mean gap of the worst adapter, growing with the rank (theory 5.4); None where its
            conditions are not met.
    """

    mode: Mode
    rank: int
    n_params: int
    n_train: int
    guarantee: Bound
    average: Bound
    floor: Bound
    rank_floor: Bound | None


def trainable(shapes: Shapes, mode: Mode, rank: int, subspace_size: int | None = None, links: int = 1) -> int:
    """q, the trainable parameters of all adapted layers, those of all links of a chain together.

    Raises:
        InputError: a rank that a layer cannot hold, or a vector larger than the factors that it fills.
    """
    chain = f"links {links} of " if links > 1 else ""
    for name, (d_out, d_in) in shapes.items():
        most = min(d_out, d_in) // links
        if not 1 <= rank <= most:
            raise InputError(
                f"{chain}rank {rank} does not fit {name} ({d_out} x {d_in}): choose "
                + (f"ranks from 1 to {most}" if most else "fewer links")
            )
    return MODES[mode].n_params(links * rank, shapes.values(), subspace_size)


def gap_bounds(
    shapes: Shapes,
    mode: Mode,
    rank: int,
    n_train: int,
    bits: int,
    delta: float,
    subspace_size: int | None = None,
    links: int = 1,
) -> GapBounds:
    """All bounds that apply, at failure probability ``delta``.

    ``rank_floor`` needs one adapted layer and a trained B: m = min(r, d_in) inputs times d_out outputs. A chain of T
    links is an adapter of rank T r, of which a part is trained at a time: ``rank_floor`` does not speak of it, for no
    step fits all of B.
    """
    q = trainable(shapes, mode, rank, subspace_size, links)
    rank_floor = None
    if len(shapes) == 1 and "b" in MODES[mode].trained and links == 1:
        ((d_out, d_in),) = shapes.values()
        rank_floor = rank_lower_bound(n_train, min(rank, d_in) * d_out)
    return GapBounds(
        mode=mode,
        rank=rank,
        n_params=q,
        n_train=n_train,
        guarantee=occam_gap(n_train, q * bits, delta),
        average=information_gap(q, n_train, bits),
        floor=lower_bound(n_train),
        rank_floor=rank_floor,
    )


def smallest_n(bound: Callable[[int], float], target: float, most: int = MOST) -> int | None:
    """The smallest N >= 1 with bound(N) <= target, for a bound that does not grow with N; None if above ``most``.

    Exact: doubling, then bisection on integers.
    """
    high = 1
    while bound(high) > target:
        high *= 2
        if high > most:
            return None
    low = high // 2  # bound(low) > target, or low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= target else (middle, high)
    return high
