"""The simulation of Theorem 2 in four short tables, a line of reading under each."""

from __future__ import annotations

from collections.abc import Iterator

from lorabound.bounds import Bound
from lorabound.reports.show import Part, parts, table
from lorabound.worst_case.simulated.constructions import CONSTRUCTIONS
from lorabound.worst_case.simulated.results import FREQUENCY_LEVEL, AdmissionRow, Frequency, LowerSimulation
from lorabound.worst_case.simulated.theorem2 import DELTA


@parts.register
def _(simulation: LowerSimulation, _: int) -> Iterator[Part]:
    """Admissibility, the coin, Theorem 2 beside Theorem 1, and the rank in the lower bound."""
    settings = simulation.settings
    yield (
        f"Widths {'-'.join(map(str, settings.widths))}, ReLU; A Gaussian, std {settings.std:g}; "
        f"scale {settings.scale:g}; every ||B||_F <= {settings.radius:g}. {settings.trials:,} trials, "
        f"seed {settings.seed}."
    )
    yield from _admissions(simulation)
    yield from _coins(simulation)
    yield from _theorem(simulation)
    yield from _cells(simulation)


def _admissions(simulation: LowerSimulation) -> Iterator[Part]:
    made = {construction.name: construction for construction in CONSTRUCTIONS}
    shown = table(
        "rank", "<construction", "theory", "frequency", f"{FREQUENCY_LEVEL:.0%} interval", "largest\n|f(x) - x|"
    )
    for row in simulation.admissions:
        if row.frequency is None:
            least = made[row.construction].least_rank(simulation.settings.widths)
            shown.add_row(str(row.rank), made[row.construction].title, f"needs r >= {least}", "", "", "")
            continue
        shown.add_row(str(row.rank), made[row.construction].title, *_frequency(row.frequency), f"{row.max_error:.0e}")
    yield shown
    exact = [row for row in simulation.admissions if row.frequency and row.frequency.exact]
    yield (
        "Probability that the ball holds factors with which the network computes f(x) = x. "
        + _closest(exact)
        + f" Networks run: {exact[0].n_complete:,} complete draws per row, x on a grid of [0, 1]. "
        "(>=: theory gives a lower bound, from Gordon's inequality.)"
    )


def _frequency(frequency: Frequency) -> tuple[str, str, str]:
    theory = f"{'' if frequency.exact else '>= '}{frequency.theory:.4f}"
    return theory, f"{frequency.value:.4f}", f"[{frequency.low:.3f}, {frequency.high:.3f}]"


def _closest(rows: list[AdmissionRow]) -> str:
    """The row in the middle, in words, and how many of all agree."""
    frequencies = [row.frequency for row in rows if row.frequency]
    middle = rows[len(rows) // 2]
    assert middle.frequency is not None
    distance = abs(middle.frequency.value - middle.frequency.theory)
    agreeing = sum(frequency.agrees for frequency in frequencies)
    return (
        f"At rank {middle.rank} the frequency {middle.frequency.value:.4f} lies within {distance:.1g} of the exact "
        f"{middle.frequency.theory:.4f}; {agreeing} of {len(rows)} intervals hold the exact probability."
    )


def _coins(simulation: LowerSimulation) -> Iterator[Part]:
    shown = table(
        "N", "gap >=", "theory", "seen", f"{FREQUENCY_LEVEL:.0%} interval", "E gap,\nexact", "mean gap\n± std. error"
    )
    for row in simulation.coins:
        shown.add_row(
            str(row.n_train),
            f"{float(row.bound.value):.3g}",
            *_frequency(row.frequency),
            f"{row.exact_mean:.3g}",
            f"{row.mean:.3g} ± {row.standard_error:.0e}",
        )
    yield shown
    row = simulation.coins[-1]
    agreeing = sum(coin.frequency.agrees for coin in simulation.coins)
    yield (
        f"The gap |mean - 1/2| of f(x) = x on N tosses of a fair coin: at N = {row.n_train} it is at least "
        f"{float(row.bound.value):.3g} = {float(row.bound.terms['c']):.3f}/sqrt(N) with probability "
        f"{row.frequency.theory:.4f}, seen {row.frequency.value:.4f}; {agreeing} of {len(simulation.coins)} intervals "
        "hold the exact probability."
    )


def _theorem(simulation: LowerSimulation) -> Iterator[Part]:
    shown = table(
        "rank", "N", "G >=", "theory", "frequency", f"{FREQUENCY_LEVEL:.0%} interval", "G <=\n(ours)", "G <=\n(paper)"
    )
    for row in simulation.theorem:
        shown.add_row(
            str(row.rank),
            str(row.n_train),
            f"{float(row.lower.value):.3g}",
            *_frequency(row.frequency),
            _starred(row.upper),
            _starred(row.published),
        )
    yield shown
    vacuous = sum(bool(row.upper.vacuous) for row in simulation.theorem)
    agreeing = sum(row.frequency.agrees for row in simulation.theorem)
    yield (
        "Theorem 2 (rank-one construction) beside Theorem 1 for the same network and ball: the largest gap G of the "
        f"class is at least 'G >=' with at least the probability 'theory' over A and the sample ({agreeing} of "
        f"{len(simulation.theorem)} intervals hold it), and at most 'G <=' with probability {1 - DELTA:.0%}. "
        f"* vacuous, 1 or more: {vacuous} of {len(simulation.theorem)} of ours."
    )


def _starred(bound: Bound) -> str:
    return f"{float(bound.value):.3g}{'*' if bound.vacuous else ''}"


def _cells(simulation: LowerSimulation) -> Iterator[Part]:
    shown = table(
        "rank", "cells", "N", "E gap,\nexact", "mean gap\n± std. error", "E gap\n<=", "||B||_F\nmedian", "max"
    )
    for row in simulation.cells:
        shown.add_row(
            str(row.rank),
            str(row.cells),
            str(row.n_train),
            f"{row.exact:.4g}",
            f"{row.mean:.4g} ± {row.standard_error:.0e}",
            f"{row.upper:.3g}{'*' if row.upper >= 1 else ''}",
            f"{row.norm:.2f}",
            f"{row.max_norm:.2f}",
        )
    yield shown
    row = simulation.cells[-1]
    error = max(cell.max_error for cell in simulation.cells)
    furthest = max(abs(cell.mean - cell.exact) / max(cell.standard_error, 1e-12) for cell in simulation.cells)
    yield (
        "The rank in the lower bound (ours): one layer, max(1, r/4) cells, fair-coin labels, the adapter outputs every "
        f"cell's majority label ({row.trials:,} draws of A and sample, outputs wrong by at most {error:.0e}). At rank "
        f"{row.rank}, N = {row.n_train} the mean gap {row.mean:.4g} stands beside the exact {row.exact:.4g}; the "
        f"furthest row is {furthest:.1f} standard errors off. 'E gap <=' is the chaining bound for the ball that holds "
        "these B."
    )
