"""A plan in the terminal: the answer, one table, how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lorabound.plans import Plan
from lorabound.plans.pilot import FORECAST_LEVEL
from lorabound.reports.plan_sentences import answer, at_most, count, reading
from lorabound.reports.sentences import chain_sentence
from lorabound.reports.show import Part, parts, table
from lorabound.stats import Prediction


@parts.register
def _(plan: Plan, width: int) -> Iterator[Part]:
    """Which adapter, what is forecast and what is guaranteed; the table; at most ten lines on how to read it."""
    for sentence in answer(plan):
        yield Text(sentence, style="bold")
    shown, hidden = (_with_forecasts(plan), ()) if plan.pilot else _by_size(plan, width)
    yield shown
    if plan.links > 1:
        yield chain_sentence(plan.links)
    for line in reading(plan, hidden):
        yield Text(line, style="dim")


def _by_size(plan: Plan, width: int) -> tuple[Table, tuple[int, ...]]:
    """One row per (mode, rank), one column per N: the largest N that there is room for, and the other N."""
    wide = Console(width=10_000)
    for start in range(len(plan.n_train)):
        shown = _guarantees(plan, plan.n_train[start:])
        if Measurement.get(wide, wide.options, shown).maximum <= width:
            break
    return shown, plan.n_train[:start]


def _guarantees(plan: Plan, sizes: tuple[int, ...]) -> Table:
    wanted = "gap below 1" if plan.target_gap is None else f"gap of {plan.target_gap:g}"
    heads = [f"gap <= at\nN = {n:,}" if n == sizes[0] else f"N =\n{n:,}" for n in sizes]
    shown = table("<mode", "rank", "trained\nparameters", *heads, f"N for a\n{wanted}")
    limits = {(row.bounds.mode, row.bounds.rank, row.bounds.n_train): row.bounds.guarantee for row in plan.rows}
    for need in plan.needs:
        needed = need.says_something if plan.target_gap is None else need.guarantee
        limit_texts = [at_most(limits[need.mode, need.rank, n]) for n in sizes]
        shown.add_row(need.mode, str(need.rank), f"{need.n_params:,}", *limit_texts, count(needed))
    return shown


def _with_forecasts(plan: Plan) -> Table:
    """A section per N, of limits and forecasts; and one of the N that the target gap needs."""
    assert plan.pilot is not None
    shown = table(
        "<mode", "rank", "trained\nparameters", "guaranteed\ngap <=", f"forecast\n[{FORECAST_LEVEL:.0%} interval]"
    )
    for n in plan.n_train:
        shown.add_row(f"N = {n:,}", style="bold")
        rows = [row for row in plan.rows if row.bounds.n_train == n]
        for row in rows:
            limits = row.bounds
            shown.add_row(
                limits.mode,
                str(limits.rank),
                f"{limits.n_params:,}",
                at_most(limits.guarantee),
                _prediction(row.forecast, plan.pilot.ceiling),
                end_section=row is rows[-1],
            )
    if plan.target_gap is not None:
        shown.add_row(f"N for gap {plan.target_gap:g}", style="bold")
        for need in plan.needs:
            forecast = "no forecast" if need.forecast is None else count(need.forecast)
            shown.add_row(need.mode, str(need.rank), f"{need.n_params:,}", count(need.guarantee), forecast)
    return shown


def _prediction(forecast: Prediction | None, ceiling: float) -> str:
    if forecast is None:
        return "no forecast"
    over = "!" if forecast.value > ceiling else ""
    if math.isnan(forecast.low):
        return f"{forecast.value:.3f}{over} [no interval]"
    return f"{forecast.value:.3f}{over} [{forecast.low:.3f}, {forecast.high:.3f}]"
