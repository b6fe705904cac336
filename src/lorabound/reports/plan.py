"""A plan in the terminal: the answer, one table, how to read it."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from lorabound.plans import Plan
from lorabound.plans.pilot import FORECAST_LEVEL
from lorabound.reports.plan_sentences import answer, at_most, count, reading
from lorabound.stats import Prediction


def print_plan(plan: Plan, console: Console) -> None:
    """Print which adapter, what is forecast and what is guaranteed; the table; at most ten lines on how to read it."""

    def say(line: str, style: str | None = None) -> None:
        console.print(line, highlight=False, markup=False, style=style)

    for sentence in answer(plan):
        say(sentence, style="bold")
    table, hidden = (_with_forecasts(plan), ()) if plan.pilot else _by_size(plan, console)
    console.print(table)
    for line in reading(plan, hidden):
        say(line, style="dim")


def _by_size(plan: Plan, console: Console) -> tuple[Table, tuple[int, ...]]:
    """One row per (mode, rank), one column per N: the largest N that the console has room for, and the other N."""
    for start in range(len(plan.n_train)):
        table = _guarantees(plan, plan.n_train[start:])
        if Measurement.get(console, console.options.update(width=10_000), table).maximum <= console.width:
            break
    return table, plan.n_train[:start]


def _guarantees(plan: Plan, sizes: tuple[int, ...]) -> Table:
    wanted = "gap below 1" if plan.target_gap is None else f"gap of {plan.target_gap:g}"
    heads = [f"gap <= at\nN = {n:,}" if n == sizes[0] else f"\n{n:,}" for n in sizes]
    table = _table(["mode", "rank", "trained\nparameters", *heads, f"N for a\n{wanted}"])
    limits = {(row.bounds.mode, row.bounds.rank, row.bounds.n_train): row.bounds.guarantee for row in plan.rows}
    for need in plan.needs:
        needed = need.says_something if plan.target_gap is None else need.guarantee
        shown = [at_most(limits[need.mode, need.rank, n]) for n in sizes]
        table.add_row(need.mode, str(need.rank), f"{need.n_params:,}", *shown, count(needed))
    return table


def _with_forecasts(plan: Plan) -> Table:
    """A section per N, of limits and forecasts; and one of the N that the target gap needs."""
    assert plan.pilot is not None
    table = _table(
        ["mode", "rank", "trained\nparameters", "guaranteed\ngap <=", f"forecast\n[{FORECAST_LEVEL:.0%} interval]"]
    )
    for n in plan.n_train:
        table.add_row(f"N = {n:,}", style="bold")
        rows = [row for row in plan.rows if row.bounds.n_train == n]
        for row in rows:
            limits = row.bounds
            table.add_row(
                limits.mode, str(limits.rank), f"{limits.n_params:,}", at_most(limits.guarantee),
                _prediction(row.forecast, plan.pilot.ceiling), end_section=row is rows[-1],
            )  # fmt: skip
    if plan.target_gap is not None:
        table.add_row(f"N for gap {plan.target_gap:g}", style="bold")
        for need in plan.needs:
            forecast = "no forecast" if need.forecast is None else count(need.forecast)
            table.add_row(need.mode, str(need.rank), f"{need.n_params:,}", count(need.guarantee), forecast)
    return table


def _table(heads: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="left" if head == "mode" else "right", no_wrap=True)
    return table


def _prediction(forecast: Prediction | None, ceiling: float) -> str:
    if forecast is None:
        return "no forecast"
    over = "!" if forecast.value > ceiling else ""
    if math.isnan(forecast.low):
        return f"{forecast.value:.3f}{over} [no interval]"
    return f"{forecast.value:.3f}{over} [{forecast.low:.3f}, {forecast.high:.3f}]"
