"""Which pilots are trained, in which order: successive halving over nested training sizes, within a budget of time.

    sizes     P/16, P/4 and P of the P rows that pilots may use; nearer to P, or P/2 and P, where rows are few
    stage 1   every candidate (mode and rank) at the smallest size, with half of the seeds
    stage 2   half of them at the next size, with half of the seeds
    last      the best few at P, with half of the seeds; with all of them where these leave it open which is the best
    then      whoever is now forecast to be better than these, at P too

Those go on that are most likely to be the best, within half a point, at the size that the recommendation is for, by all
pilots so far (:mod:`lorabound.stats.curves`): a rank that is behind at P/16 and may gain more from data stays in.
Nothing here trains or reads a clock, so that every decision can be made again from the runs that are stored.

Source: successive halving (Jamieson & Talwalkar 2016), with forecasts in place of the last measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Candidate = tuple[str, int]
"""Mode and rank."""

# Pilots of one candidate grow by these factors from size to size.
_MOST_RATIO, _LEAST_RATIO = 4.0, 2.0
# Pilots have at least so many rows, and so many of each class on average.
_LEAST_ROWS, _ROWS_PER_CLASS = 32, 4
# Steps below which training is cut off before an adapter shows what it can do: at 12 steps (40 words, 6 epochs) rank 1
# came out best, at 60 steps (300 words) worst. Where rows are few, smaller steps are taken from size to size.
_LEAST_STEPS = 64
# Shares of all candidates that go on to the largest size and to the one before it; at least so many go on.
_LAST_SHARE, _LAST_OF_TWO, _MIDDLE_SHARE, _FEWEST = 0.15, 0.2, 0.5, 2
# Chance of being the best within half a point below which a candidate needs no more pilots.
HOPELESS = 0.02
# Chance of being the best of the last few within half a point from which on they need no more seeds. On five tasks half
# of the seeds gave 0.70 and 0.73 where all of them changed the choice, and 0.76 to 0.95 where they did not.
SURE = 0.75


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Pilots that are trained before anything is decided anew.

    Attributes:
        size: training size.
        most: largest number of candidates.
        n_seeds: number of seeds, those of earlier stages of this size counted.
        if_open: whether it is left out where the pilots so far already say which candidate to take.
    """

    size: int
    most: int
    n_seeds: int
    if_open: bool = False


def least_rows(n_classes: int) -> int:
    """Number of rows that pilots need at least."""
    return max(_LEAST_ROWS, _ROWS_PER_CLASS * n_classes)


def pilot_sizes(n_pool: int, n_classes: int, batch_size: int, epochs: int) -> list[int]:
    """Nested training sizes up to ``n_pool``, smallest first.

    >>> pilot_sizes(22500, 10, 32, 6), pilot_sizes(225, 10, 32, 6), pilot_sizes(50, 2, 32, 6)
    ([1406, 5625, 22500], [112, 225], [50])
    """
    least = least_rows(n_classes)
    wanted = max(least, _LEAST_STEPS * batch_size / epochs)
    ratio = min(math.sqrt(n_pool / wanted), _MOST_RATIO)
    sizes = {round(n_pool / ratio), round(n_pool / ratio**2)} if ratio >= _LEAST_RATIO else {n_pool // 2}
    return [*sorted(size for size in sizes if size >= least), n_pool]


def stages(sizes: Sequence[int], n_candidates: int, n_seeds: int) -> list[Stage]:
    """The stages of the pilots: all candidates at the smallest size, the best few at the largest.

    >>> [(stage.size, stage.most, stage.n_seeds) for stage in stages([400, 1600, 6400], 14, 2)]
    [(400, 14, 1), (1600, 7, 1), (6400, 2, 1), (6400, 2, 2)]
    """
    if len(sizes) == 1:
        return [Stage(size=sizes[0], most=n_candidates, n_seeds=n_seeds)]
    half = -(-n_seeds // 2)
    made = [Stage(size=sizes[0], most=n_candidates, n_seeds=half)]
    last = _LAST_SHARE if len(sizes) > 2 else _LAST_OF_TWO
    for size in sizes[1:]:
        share = last if size == sizes[-1] else _MIDDLE_SHARE
        few = max(_FEWEST, round(share * n_candidates))
        made.append(Stage(size=size, most=min(few, made[-1].most), n_seeds=half))
    if half < n_seeds:
        made.append(Stage(size=sizes[-1], most=made[-1].most, n_seeds=n_seeds, if_open=True))
    return made


def new_runs(planned: Sequence[Stage]) -> list[tuple[Stage, int]]:
    """Each stage with its number of runs, without those of the stage before where that had the same size.

    >>> [count for _, count in new_runs(stages([400, 1600, 6400], 14, 2))]
    [14, 7, 2, 2]
    """
    before = dict[int, int]()
    counted = []
    for stage in planned:
        whole = stage.most * stage.n_seeds
        counted.append((stage, whole - before.get(stage.size, 0)))
        before[stage.size] = whole
    return counted


def kept(
    candidates: Sequence[Candidate], expected_loss: Sequence[float], close: Sequence[float], most: int
) -> list[Candidate]:
    """The candidates that go on: the most likely ones to be the best, without the hopeless; in the order they came.

    Args:
        expected_loss: forecast distance of each above the best, which decides between equals.
        close: probability that no other one is better by more than half a point.
        most: largest number that goes on.
    """
    order = sorted(range(len(candidates)), key=lambda i: (-close[i], expected_loss[i], i))
    chosen = [i for place, i in enumerate(order[:most]) if place < _FEWEST or close[i] >= HOPELESS]
    return [candidates[i] for i in sorted(chosen)]


def spread_out(values: Sequence[int], count: int) -> list[int]:
    """So many of the sorted values, from the smallest to the largest in even steps.

    >>> spread_out([1, 2, 4, 8, 16, 32, 64], 3)
    [1, 8, 64]
    """
    values = sorted(values)
    if count >= len(values):
        return values
    if count == 1:
        return [values[len(values) // 2]]
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
