"""The sentences about a plan: the answer that stands first, and the lines that say how to read the table."""

from __future__ import annotations

import math
from collections import Counter

from lorabound.bounds import Bound
from lorabound.plans import Plan
from lorabound.plans.gap_bounds import MOST
from lorabound.plans.pilot import ModeForecast, Pilot
from lorabound.reports.sentences import ceiled, cell_name
from lorabound.sweeps.verdict import Verdict

FEW_BITS = 4
_GAP = "gap (error on new data minus training error)"


def answer(plan: Plan) -> list[str]:
    """At most three sentences: which adapter, what is forecast, what is guaranteed."""
    if plan.pilot is None:
        sentences = [
            _guaranteed(plan),
            "No theorem says which rank fits your task: train a small sweep (lorabound sweep --out DIR) and add "
            "--pilot DIR.",
        ]
    elif plan.pilot.summary.verdicts:
        verdict = plan.pilot.summary.verdicts[0]
        sentences = [_choice(plan.pilot, verdict), *_forecast(plan, plan.pilot, verdict), _guaranteed(plan)]
    else:
        sentences = [
            "The pilot does not say which adapter to take: no cell of it holds all of its seeds.",
            _guaranteed(plan),
        ]
    first = next(index for index, sentence in enumerate(sentences) if " gap" in sentence)
    sentences[first] = sentences[first].replace("gap", _GAP, 1)
    return sentences


def _choice(pilot: Pilot, verdict: Verdict) -> str:
    """What the pilot measured at its largest N."""
    best, bare, cheapest = verdict.best, verdict.zero_shot, verdict.cheapest
    seen = f"in the pilot (N = {verdict.n_train:,})"
    lowest = f"the lowest test error, {best.test_loss:.3f}"
    if bare is best:
        return f"Take no adapter: {seen} the model without one has {lowest}."
    if bare is not None and not verdict.beats_zero_shot:
        return (
            f"No adapter is shown to be better than none: {seen} {cell_name(best)} has {lowest}, the model without one "
            f"{bare.test_loss:.3f}, and the test examples cannot tell the two apart."
        )
    take = f"Take {cell_name(best)}: {seen} it has {lowest}"
    if any(best is cell for cell in pilot.summary.unfinished):
        return f"{take}, though its training may not have finished: raise --epochs or --lr of the pilot first."
    if cheapest is best:
        return f"{take}."
    return (
        f"{take}; {cell_name(cheapest)} ({cheapest.test_loss:.3f}) trains fewer parameters and cannot be told "
        "apart from it."
    )


def _forecast(plan: Plan, pilot: Pilot, verdict: Verdict) -> list[str]:
    """What the pilot forecasts for the adapter with the lowest test error, at the largest N of the plan."""
    best, n = verdict.best, plan.n_train[-1]
    if best is verdict.zero_shot:
        return []
    seen = pilot.forecast(best.mode, best.rank, n)
    if seen is None:
        return [f"Forecast for {cell_name(best)} at N = {n:,}: none, as said below."]
    interval = "" if math.isnan(seen.low) else f" ({seen.level:.0%} interval {seen.low:.3f} to {seen.high:.3f})"
    text = f"Forecast for {cell_name(best)} at N = {n:,}, no guarantee: a gap of {seen.value:.3f}{interval}"
    if seen.value > pilot.ceiling:
        text += f"; that is above the pilot's largest test error, {pilot.ceiling:.3f}: the law ends before"
    elif plan.target_gap is not None:
        needed = pilot.n_train_for(plan.target_gap, best.mode, best.rank)
        if needed is not None and math.isnan(needed):
            text += "; the pilot does not show that it falls with N"
        elif needed is not None:
            text += f"; it is {plan.target_gap:g} at N = {count(needed)}, at even odds"
    return [f"{text}."]


def _guaranteed(plan: Plan) -> str:
    """What theory guarantees at the largest N, and the N that it takes."""
    n, target = plan.n_train[-1], plan.target_gap
    least = min(plan.needs, key=lambda need: need.n_params)
    told = [row.bounds for row in plan.rows if row.bounds.n_train == n and not row.bounds.guarantee.silent]
    if not told:
        at_target = "" if target is None else f" ({target:g} from N = {count(least.guarantee)} on)"
        fewer = " or fewer" if len(plan.n_train) > 1 else ""
        return (
            f"Guaranteed: nothing at N = {n:,} training examples{fewer}, as each limit on the gap is 1 or more; the "
            f"first limit below 1 is that of {least.mode}, rank {least.rank}, from N = {count(least.says_something)} "
            f"on{at_target}."
        )
    enough = [limits for limits in told if target is not None and float(limits.guarantee.value) <= target]
    if enough:
        most = max(enough, key=lambda limits: limits.n_params)
        return (
            f"Guaranteed at N = {n:,} training examples: a gap of at most {target:g} for each adapter of the plan with "
            f"at most {most.n_params:,} trained parameters, such as {most.mode}, rank {most.rank}."
        )
    best = min(told, key=lambda limits: float(limits.guarantee.value))
    at_target = "" if target is None else f"; of {target:g} from N = {count(least.guarantee)} on"
    return (
        f"Guaranteed at N = {n:,} training examples: a gap of at most {at_most(best.guarantee)} for "
        f"{best.mode}, rank {best.rank}{at_target}."
    )


def count(n: float | None) -> str:
    """A number of examples; "unclear" for nan, "over 1e15" beyond what is searched."""
    if n is not None and math.isnan(n):
        return "unclear"
    return f"over {MOST:.0e}".replace("e+", "e") if n is None or n > MOST else f"{int(n):,}"


def at_most(bound: Bound) -> str:
    """An upper limit with three decimals, rounded up; "none" where it says nothing."""
    return "none" if bound.silent else ceiled(float(bound.value))


def _at_least(bound: Bound) -> str:
    """A lower limit with three digits, rounded down."""
    value = float(bound.value)
    step = 10.0 ** (math.floor(math.log10(value)) - 2) if value > 0 else 1.0
    return f"{math.floor(value / step) * step:.3g}"


def reading(plan: Plan, hidden: tuple[int, ...] = ()) -> list[str]:
    """At most ten short lines below the table.

    Args:
        plan: the plan that is shown.
        hidden: training set sizes for which the table has no room.
    """
    lines = [
        f"gap <= holds with probability {1 - plan.delta:.4g} for all rows of one N at once: independent examples, "
        f"a loss in [0, 1], an adapter stored in {plan.bits} bits per parameter."
    ]
    silent = any(row.bounds.guarantee.silent for row in plan.rows if row.bounds.n_train not in hidden)
    signs = ["none: 1 or more, which says nothing."] if silent else []
    lines += _about_forecasts(plan, plan.pilot, signs) if plan.pilot else [*signs, *_about_theory(plan)]
    if hidden:
        lines.append(f"No room for N = {', '.join(f'{n:,}' for n in hidden)}: --csv FILE holds them.")
    return [*lines, "Every number: --csv FILE. What each one means: docs/plan.md."]


def _about_theory(plan: Plan) -> list[str]:
    kinds = Counter(plan.shapes.values())
    text = f"Layers: {', '.join(f'{n} of {d_out} x {d_in}' for (d_out, d_in), n in kinds.items())}."
    if plan.bits > FEW_BITS:
        text += f" With --bits {FEW_BITS} up to {plan.bits / FEW_BITS:g} times fewer examples."
    lines = [text]
    if plan.pairs and plan.pairs[0].both.mode in plan.modes:
        one = plan.pairs[0]
        first, second = one.frozen.mode, one.both.mode
        same = all(pair.frozen.n_params == pair.both.n_params for pair in plan.pairs)
        lines.append(
            f"{first} at rank 2r trains as many parameters as {second} at rank r."
            if same
            else f"{first} at rank {one.frozen.rank} trains {one.frozen.n_params:,} parameters, {second} at rank "
            f"{one.both.rank} {one.both.n_params:,}."
        )
    last = plan.rows[-1].bounds
    told = [
        f"{_at_least(row.bounds.rank_floor)} at rank {row.bounds.rank}"
        for row in plan.rows
        if row.bounds.rank_floor is not None and row.bounds.n_train == last.n_train
    ]
    if told:
        ends = " to ".join(dict.fromkeys((told[0], told[-1])))
        lines.append(
            f"One linear layer, coin-flip labels, N = {last.n_train:,}: the worst adapter that trains B has a mean gap "
            f"of at least {ends}."
        )
    else:
        lines.append(
            f"No guarantee for every task is below {_at_least(last.floor)} at N = {last.n_train:,}: on coin-flip "
            "labels the worst adapter of a ReLU network is that far off half of the time or more."
        )
    return lines


def _about_forecasts(plan: Plan, pilot: Pilot, signs: list[str]) -> list[str]:
    of = "0-1 gap"
    if pilot.summary.completes:
        of = "gap in the share of completions that are not exactly right"
    lines = [
        f"Forecast: no guarantee; the {of}, beyond that of the model without an adapter, that one more cell of the "
        "pilot would show. By power laws:"
    ]
    lines += [_law(mode, pilot.forecasts.get(mode)) for mode in plan.modes]
    if any(need.forecast is not None and math.isnan(need.forecast) for need in plan.needs):
        signs = [*signs, "unclear: not shown to fall with N."]
    if any(row.forecast and row.forecast.value > pilot.ceiling for row in plan.rows):
        over = f"!: above the pilot's largest test error, {pilot.ceiling:.3f}; the law ends before."
        signs = [*signs, over]
    return [*lines, *([" ".join(signs)] if signs else [])]


def _law(mode: str, forecast: ModeForecast | None) -> str:
    if forecast is None:
        return f"{mode}: no forecast, the pilot has no run of this mode."
    if forecast.law is None:
        return f"{mode}: no forecast: {forecast.reason}."
    law, held = forecast.law, forecast.held_out
    factors = [("r", law.beta, 1), ("N", law.gamma, -1)]
    powers = "".join(f" {symbol}^{sign * fitted.value:.2f}" for symbol, fitted, sign in factors if fitted is not None)
    text = f"{mode}: {law.c.value:.3g}{powers}"
    for axis, seen in (("rank", law.ranks), ("N", law.sizes)):
        if len(seen) == 1:
            text += f"; one {axis} in the pilot ({seen[0]:g}), so no forecast at another {axis}"
    if held and held.n_intervals:
        text += f"; {held.n_inside} of {held.n_intervals} held-out cells fall into their interval"
    return f"{text}."
