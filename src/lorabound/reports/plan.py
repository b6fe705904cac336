"""A plan in the terminal: which number is a guarantee, which a forecast, which says nothing."""

from __future__ import annotations

import math
from itertools import zip_longest

from rich import box
from rich.console import Console
from rich.table import Table

from lorabound.bounds import Bound
from lorabound.plans.gap_bounds import MOST
from lorabound.plans.pilot import FORECAST_LEVEL, ModeForecast
from lorabound.plans.plan import Need, Plan, PlanRow
from lorabound.reports.sentences import comparison_sentence
from lorabound.stats import Prediction


def print_plan(plan: Plan, console: Console) -> None:
    """Print what is guaranteed, the gap at each N, the N for a target, the guideline, the laws, how to read them."""

    def say(line: str, style: str | None = None) -> None:
        console.print(line, highlight=False, markup=False, style=style)

    say(_answer(plan), style="bold")
    say("")
    say(_title(plan))
    say("")
    say("Gap = true risk minus training risk, for a loss in [0, 1]:")
    heads = ["mode", "rank", "params", "N", "guarantee\ngap <=", "on average\ngap <="]
    if plan.pilot:
        heads.append(f"forecast\n[{FORECAST_LEVEL:.0%} interval]")
    table = _table(heads)
    for row, following in zip_longest(plan.rows, plan.rows[1:]):
        last = following is None or following.bounds.n_train != row.bounds.n_train
        table.add_row(*_row(row, plan), end_section=last)
    console.print(table)
    if plan.target_gap is not None:
        say(f"Examples needed for a gap of {plan.target_gap:g}:")
        heads = ["mode", "rank", "params", "N, guarantee", "N, on average"]
        table = _table([*heads, "N, forecast"] if plan.pilot else heads)
        for need in plan.needs:
            table.add_row(*_need(need, plan))
        console.print(table)
    for line in (*_guideline(plan), *_pilot(plan), *_floors(plan)):
        say(line)
    for line in _reading(plan):
        say(line, style="dim")


def _table(heads: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="left" if head == "mode" else "right", no_wrap=True)
    return table


def _title(plan: Plan) -> str:
    kinds: dict[tuple[int, int], int] = {}
    for shape in plan.shapes.values():
        kinds[shape] = kinds.get(shape, 0) + 1
    layers = ", ".join(f"{count} of {d_out} x {d_in}" for (d_out, d_in), count in kinds.items())
    plural = "layer" if len(plan.shapes) == 1 else "layers"
    return (
        f"{len(plan.shapes)} adapted {plural} ({layers}); {plan.bits} bits a trained parameter; delta = {plan.delta:g}"
    )


def _answer(plan: Plan) -> str:
    """What is guaranteed, before any table."""
    told = [row.bounds for row in plan.rows if not row.bounds.guarantee.vacuous]
    if told:
        best = min(told, key=lambda at: float(at.guarantee.value))
        silent = len(plan.rows) - len(told)
        answer = (
            f"Guaranteed: a gap of at most {float(best.guarantee.value):.3f} for {best.mode}, rank {best.rank}, at N = "
            f"{best.n_train:,}"
            + (
                f"; {silent} of {len(plan.rows)} rows have a limit of 1 or more, which says nothing (*)."
                if silent
                else "."
            )
        )
    else:
        answer = "Guaranteed: nothing at these ranks and N, as every limit on the gap is 1 or more (*)."
    needs = [(need.guarantee, need) for need in plan.needs if need.guarantee is not None]
    if needs:
        n, least = min(needs, key=lambda pair: pair[0])
        answer += f" A gap of {plan.target_gap:g} is guaranteed from N = {n:,} on for {least.mode}, rank {least.rank}."
    return answer


def _row(row: PlanRow, plan: Plan) -> list[str]:
    at = row.bounds
    cells = [at.mode, str(at.rank), f"{at.n_params:,}", f"{at.n_train:,}", _bound(at.guarantee), _bound(at.average)]
    return [*cells, _prediction(row.forecast, plan.pilot.ceiling)] if plan.pilot else cells


def _bound(bound: Bound) -> str:
    value = float(bound.value)
    return f"{value:.3g}*" if bound.vacuous else f"{value:.3f}"


def _prediction(forecast: Prediction | None, ceiling: float) -> str:
    if forecast is None:
        return "none"
    over = "!" if forecast.value > ceiling else ""
    if math.isnan(forecast.low):
        return f"{forecast.value:.3f}{over} [no interval]"
    return f"{forecast.value:.3f}{over} [{forecast.low:.3f}, {forecast.high:.3f}]"


def _need(need: Need, plan: Plan) -> list[str]:
    cells = [need.mode, str(need.rank), f"{need.n_params:,}", _count(need.guarantee), _count(need.average)]
    return [*cells, "none" if need.forecast is None else _count(need.forecast)] if plan.pilot else cells


def _count(n: float | None) -> str:
    if n is not None and math.isnan(n):
        return "unclear"
    return f"over {MOST:.0e}".replace("e+", "e") if n is None or n > MOST else f"{int(n):,}"


def _guideline(plan: Plan) -> list[str]:
    if not plan.pairs:
        return []
    n = plan.rows[-1].bounds.n_train
    lines = [
        "Freeze A and double the rank: equal parameters where the layers are square, and the guarantee counts nothing "
        f"else (N = {n:,}):"
    ]
    lines += [
        "  " + "; ".join(
            f"{at.mode} r={at.rank}: {at.n_params:,} parameters, gap <= {_bound(at.guarantee)}"
            for at in (pair.frozen, pair.both)
        )
        for pair in plan.pairs
    ]  # fmt: skip
    measured = plan.pilot.summary.comparisons if plan.pilot else []
    largest = max((comparison.n_train for comparison in measured), default=0)
    lines += [
        f"  measured in the pilot: {comparison_sentence(comparison)}"
        for comparison in measured
        if comparison.n_train == largest
    ]
    if plan.pilot and not measured:
        lines.append("  not measured: the pilot has no freeze_a at twice a rank of train_both")
    return lines


def _pilot(plan: Plan) -> list[str]:
    if plan.pilot is None:
        return []
    lines = []
    for mode in dict.fromkeys(row.bounds.mode for row in plan.rows):
        forecast = plan.pilot.forecasts.get(mode)
        if forecast is None:
            lines.append(f"Forecast, {mode}: none, the pilot has no run of this mode.")
        elif forecast.law is None:
            lines.append(f"Forecast, {mode}: none: {forecast.reason}.")
        else:
            lines.append(_law(forecast))
    return lines


def _law(forecast: ModeForecast) -> str:
    law, held = forecast.law, forecast.held_out
    assert law is not None
    assert held is not None
    exponents = [("r", law.beta, 1), ("N", law.gamma, -1)]
    parts = [
        f"{symbol}^{sign * c.value:.2f}" + ("" if math.isnan(c.low) else _interval(sign * c.low, sign * c.high))
        for symbol, c, sign in exponents
        if c is not None
    ]
    text = f"Forecast, {forecast.mode}: gap = {law.c.value:.3g} {' '.join(parts)} from {law.n_cells} cells"
    for axis, seen in (("rank", law.ranks), ("N", law.sizes)):
        if len(seen) == 1:
            text += f"; one {axis} in the pilot ({seen[0]:g}), so nothing is forecast at another {axis}"
    if held.n_intervals:
        text += f"; each cell held out: {held.n_inside} of {held.n_intervals} inside the interval"
    if held.cells:
        text += f", median error {held.median_relative_error:.0%}"
    for axis, edge in (("rank", forecast.largest_rank), ("N", forecast.largest_n)):
        if edge is not None and edge.cells:
            inside = f"{edge.n_inside} of {edge.n_intervals} inside, " if edge.n_intervals else ""
            text += f"; largest {axis} from the smaller: {inside}median error {edge.median_relative_error:.0%}"
    return text + "."


def _interval(one: float, other: float) -> str:
    return f" [{min(one, other):.2f}, {max(one, other):.2f}]"


def _floors(plan: Plan) -> list[str]:
    floors = {row.bounds.n_train: row.bounds.floor for row in plan.rows}
    values = ", ".join(f"{float(floor.value):.3g} at N = {n:,}" for n, floor in floors.items())
    lines = [
        f"Lower limit: {values}. No guarantee on |gap| for every adapter and every task can be below: on a fair coin "
        "the worst adapter of a feed-forward ReLU network reaches it with probability 1/2 or more (Theorem 2). Your "
        "task may be easier."
    ]
    n = plan.rows[-1].bounds.n_train
    cells = {
        at.rank: at.rank_floor for row in plan.rows if (at := row.bounds).rank_floor is not None and at.n_train == n
    }
    if cells:
        values = ", ".join(f"{float(bound.value):.3g} at rank {rank}" for rank, bound in cells.items() if bound)
        lines.append(
            "With one linear layer it grows with the rank: mean gap of the worst adapter that trains B, on coin "
            f"labels, N = {n:,}: at least {values} (docs/theory.md, 5.4)."
        )
    return lines


def _reading(plan: Plan) -> list[str]:
    lines = [
        f"Guarantee: with probability {1 - plan.delta:.0%} over the training sample, at one N for all modes and ranks "
        "named here at once, whatever the model, the task and the training: for the adapter as stored in "
        f"{plan.bits} bits a parameter (Occam). On average: on the mean over samples and factors, not on one run (Zhu "
        "et al. 2024). They differ by ln(1/delta) only.",
        "* vacuous: 1 or more, which holds for any loss in [0, 1] without a theorem.",
        "No uniform bound is given: it needs Lipschitz constants (norms of all weights, radii of the factors, a limit "
        "on the inputs), which are not known for attention. For a feed-forward network: lorabound.bounds.uniform_gap.",
    ]
    if plan.pilot:
        n_test = plan.pilot.summary.about["n_test"]
        lines.append(
            "Forecast: no guarantee. A power law is fitted to the pilot's gaps in 0-1 error beyond that of the model "
            "without an adapter (whose gap is chance); it says what one more cell would measure, with as many seeds, "
            f"on the same {n_test} test examples and from the same training pool. Far "
            "beyond the pilot's ranks and N it is an assumption. N, forecast: at even odds; unclear where the pilot "
            "does not show that the gap falls with N. ! above "
            f"{plan.pilot.ceiling:.3f}, the pilot's largest test error: a gap is never above the test error, so the "
            "law cannot go on so far."
        )
    return lines
