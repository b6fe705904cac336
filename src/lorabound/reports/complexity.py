"""What ``complexity`` measured: a table per family, their reading, and the files another program can read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lorabound.files import write_json, write_table
from lorabound.reports.sentences import exponent_text
from lorabound.reports.show import Part, parts, table
from lorabound.worst_case.measured.complexity import DELTA, LEVEL, Complexity, ComplexityGrowth, ComplexityRow
from lorabound.worst_case.measured.family import TRIVIAL, About

CSV, JSON = "complexity.csv", "complexity.json"
_STAR = "* says nothing: 1/2 needs no theorem."
_NOTHING = "Proved: nothing where the limit is 0 or below, which more sign draws (--signs) may mend."
# What float32 may add to a measured value.
_ROUNDING = 1e-6


@parts.register
def _(complexity: Complexity, _: int) -> Iterator[Part]:
    """How far the worst adapter goes; then every family: its table, its class, how near it comes to limits, growth."""
    settings = complexity.settings
    for about in complexity.families:
        yield Text(answer(about, [row for row in complexity.rows if row.family == about.name]), style="bold")
    yield (
        f"Rademacher complexity E_s sup_B (1/N) sum_n s_n loss_n: {settings.signs} sign draws in pairs s and -s, one "
        f"Gaussian A per pair (std {settings.std:g}), scale {settings.scale:g}, seed {settings.seed}. Every number is "
        "on this complexity; the mean of the largest gap is at most twice its mean."
    )
    for about in complexity.families:
        rows = [row for row in complexity.rows if row.family == about.name]
        known = all(row.supremum is not None for row in rows)
        yield _table(rows, known, about.bounded)
        sentences = [about.sentence, _found(rows) if known else "Measured is an estimate from below."]
        sentences += [verdict(rows), _STAR] if about.bounded else []
        sentences += [] if known else [_NOTHING]
        yield " ".join(sentences)
        yield from (growth_sentence(growth) for growth in complexity.growth if growth.family == about.name)
    yield from complexity.notes


def answer(about: About, rows: Sequence[ComplexityRow]) -> str:
    """How far the worst adapter of the largest rank goes on the largest sample, and what is known of the truth."""
    row = max(rows, key=lambda row: (row.rank, row.n_train))
    found = (
        f"{about.name}: at rank {row.rank} and N = {row.n_train:,}, the worst adapter that a search found fits random "
        f"labels by {row.mean:.4f}, of at most {TRIVIAL:g}"
    )
    if row.supremum is not None:
        found += f"; the worst there is, by {row.supremum:.4f}"
    elif row.proved > 0:
        found += f"; at least {row.proved:.4f} is proved ({1 - DELTA:.0%} sure)"
    if not about.bounded:
        return f"{found}; no theorem bounds it."
    limit = f"is {_upper(row).strip()}" if not row.vacuous else "says nothing"
    return f"{found}; its bound {limit}."


def _table(rows: Sequence[ComplexityRow], known: bool, bounded: bool) -> Table:
    """Rank, q, N and the measured value; then the supremum where it is known or else what is proved, and the bound."""
    limits = ["largest\nthere is", "exact\nmean"] if known else [f"proved\n{1 - DELTA:.0%} >="]
    heads = ["rank", "params", "N", "measured", f"{LEVEL:.0%} interval", *limits]
    shown = table(*heads, *(["bound\n<="] if bounded else []))
    for row in rows:
        cells = [f"{row.supremum:.4f}", f"{row.exact:.4f}"] if known else [_proved(row)]
        shown.add_row(*_measured(row), *cells, *([_upper(row)] if bounded else []))
    return shown


def _found(rows: Sequence[ComplexityRow]) -> str:
    shares = [row.mean / row.supremum for row in rows if row.supremum]
    return f"The search found {min(shares):.1%} to {max(shares):.1%} of it."


def verdict(rows: Sequence[ComplexityRow]) -> str:
    """Whether a measured value stands above its bound or its supremum, and how close a telling bound comes."""
    above = [row for row in rows if row.mean > min(row.upper, row.supremum or math.inf) + _ROUNDING]
    if above:
        return f"Measured values ABOVE their limit: {len(above)} of {len(rows)}. That is a fault, please report it."
    telling = [row for row in rows if not row.vacuous]
    if not telling:
        return "Every bound is vacuous."
    closest = max(telling, key=lambda row: row.mean / row.upper)
    return (
        f"All {len(rows)} measured values lie below their bound. Vacuous: {len(rows) - len(telling)}; of the others "
        f"the closest is {closest.upper / closest.mean:.1f} times the measured value (rank {closest.rank}, "
        f"N = {closest.n_train})."
    )


def growth_sentence(growth: ComplexityGrowth) -> str:
    """One line: the exponent along one axis, beside the theory's."""
    symbol, fixed, theory = ("r", "N", 0.5) if growth.axis == "rank" else ("N", "rank", -0.5)
    beside = "" if math.isnan(growth.upper) else f", the bound's {growth.upper:+.2f}"
    beside += "" if math.isnan(growth.exact) else f", the exact one's {growth.exact:+.2f}"
    return (
        f"{growth.family}, {fixed} = {growth.fixed}: the complexity grows like {symbol}^beta, "
        f"beta = {exponent_text(growth.exponent)}; theory {theory:+.1f}{beside}"
    )


def write_complexity(complexity: Complexity, folder: str | Path) -> list[Path]:
    """Write ``complexity.csv`` (one row per cell) and ``complexity.json`` (everything) into ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    record = {
        "settings": complexity.settings.model_dump(mode="json"),
        "families": [asdict(about) for about in complexity.families],
        "rows": [asdict(row) | {"vacuous": row.vacuous} for row in complexity.rows],
        "growth": [asdict(growth) for growth in complexity.growth],
        "notes": list(complexity.notes),
    }
    return [write_table(folder / CSV, complexity.frame()), write_json(folder / JSON, record)]


def _measured(row: ComplexityRow) -> tuple[str, ...]:
    return (
        str(row.rank),
        str(row.n_params),
        str(row.n_train),
        f"{row.mean:.4f}",
        f"[{row.low:.3f}, {row.high:.3f}]",
    )


def _proved(row: ComplexityRow) -> str:
    """0 is a lower limit of every such complexity without a proof."""
    return f"{row.proved:.4f}" if row.proved > 0 else "nothing"


def _upper(row: ComplexityRow) -> str:
    return f"{row.upper:.3f}{'*' if row.vacuous else ' '}"
