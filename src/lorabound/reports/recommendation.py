"""A recommendation in the terminal: the answer and what to do with it, the candidates, the evidence, the caveats."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import cast

from rich.table import Table
from rich.text import Text

from lorabound.data import counted as number_of
from lorabound.modes import MODES, Mode
from lorabound.notation import says_nothing
from lorabound.recommendations import Recommendation
from lorabound.recommendations.config import exact_time
from lorabound.recommendations.outlook import Outlook
from lorabound.recommendations.recommendation import Option, Value
from lorabound.reports.sentences import ceiled
from lorabound.reports.show import Part, parts, table
from lorabound.sweeps.notes import about_time

# Share of a full grid above which pilots saved too little to speak of.
_WORTH_SAYING = 0.5


@parts.register
def _(made: Recommendation, _: int) -> Iterator[Part]:
    """Which rank and which factor to freeze; forecast, limit, adapter; the candidates; rules, more data, cost."""
    first, *others = answer_sentences(made)
    yield Text(first, style="bold")
    yield from others
    yield _candidates(made)
    for line in legend(made):
        yield Text(line, style="dim")
    yield from evidence(made)
    if command := certify_command(made):
        yield f"Rows that nobody used limit the error of this adapter itself: {command}"
    for line in made.notes:
        yield Text(line, style="dim")


def answer_sentences(made: Recommendation) -> list[str]:
    """What to take, how bad it will be, how sure that is, what is guaranteed, where the adapter lies."""
    best = made.best
    now = best.forecast
    lines = [
        f"Take rank {made.rank} and {_trained(made.mode)}, with lora_alpha {made.alpha:g} and learning rate "
        f"{made.lr:.2g}: {best.n_params:,} trained parameters.",
        f"Its {made.error_name} on new data is forecast to be {now.value:.3f} after training on all {now.n_train:,} "
        f"rows ({now.low:.3f} to {now.high:.3f}, {now.level:.0%}); the model without an adapter has "
        f"{made.zero_shot:.3f} on the test rows.",
        _how_sure(made),
    ]
    if made.stopped:
        lines.insert(1, f"Not finished: {made.stopped}. A larger --budget and the same --out go on.")
    if made.limit is not None and not says_nothing(float(made.limit.value)):
        lines.append(
            f"Guaranteed: the {made.error_name} of {made.limit_of} is at most {ceiled(float(made.limit.value))} on new "
            f"data ({sure(made)}, the choice among {made.n_choices} counted)."
            + (f" {made.limit_if}" if made.limit_if else "")
        )
    if made.own_limit is not None and not says_nothing(made.own_limit):
        lines.append(own_limit_sentence(made))
    lines.append(f"The adapter, trained on {made.adapter_rows:,} rows, is a PEFT folder: {made.adapter}")
    return lines


def own_limit_sentence(made: Recommendation) -> str:
    """What the final training shows by itself, and how to compute it again."""
    return f"{own_limit_said(made)}: certificate.json; {verify_command(made)}  computes it again."


def verify_command(made: Recommendation) -> str:
    """The command that computes the limit of the final training again."""
    return shlex.join(["lorabound", "verify", made.folder])


def own_limit_said(made: Recommendation) -> str:
    """What the final training shows by itself, without the point at the end."""
    return (
        f"Its training shows by itself that the {made.error_name} of a checkpoint drawn at random from the last half "
        f"of the first epoch is at most {ceiled(made.own_limit or 1.0)} ({sure(made)}, the choice counted)"
    )


def certify_command(made: Recommendation) -> str:
    """The command that limits the error of the adapter by fresh rows; "" for completions, which it does not run."""
    if made.settings.get("task") == "completions":
        return ""
    return shlex.join(["lorabound", "certify", made.adapter, "--holdout", "FILE"])


def evidence(made: Recommendation) -> list[str]:
    """Public rules, more data, cost."""
    lr = _learning_rates(made) if made.lr_trials else ""
    return [line for line in (more_data_sentence(made), rules_sentence(made), lr, cost_sentence(made)) if line]


def more_data_sentence(made: Recommendation) -> str:
    """What 2N and 4N rows would bring; "" where nothing is forecast."""
    if not made.more_data[1:]:
        return ""
    now, *later = made.more_data
    more = ", ".join(f"{interval(one)} with {one.n_train:,} rows" for one in later)
    if min(one.value for one in later) >= now.value:
        return f"No gain is in sight from more data for the same candidate: its forecast is {more}."
    return f"With more data the {made.error_name} of the same candidate is forecast to be {more}."


def rules_sentence(made: Recommendation) -> str:
    """The ranks that public rules give; "" without any."""
    if not made.rules:
        return ""
    said = "; ".join(
        f"{one.name} says rank {one.rank}" + (f" ({interval(one.forecast)})" if one.forecast else "")
        for one in made.rules
    )
    return f"Public rules, with both factors trained: {said}."


def cost_sentence(made: Recommendation) -> str:
    """How many pilots, how long, and what share of training everything on all rows."""
    final = " and the final adapter" if made.refit else ""
    took = f"{number_of(made.n_runs, 'pilot')}{final} took {about_time(made.seconds).removeprefix('about ')}"
    if made.share > _WORTH_SAYING:  # few rows or few candidates: nothing was to be saved
        return f"{took}."
    return f"{took}, {percent(made.share)} of the work of training every candidate with every seed on all rows."


def legend(made: Recommendation) -> list[str]:
    """What the columns are."""
    return [
        f"> recommended; ~ cannot be told apart from the lowest forecast. Forecast: {made.error_name} on new data "
        f"after training on {made.n_rows:,} rows, by the learning curves of all pilots (short trainings on a part of "
        f"the rows); no guarantee. Chance best: that no other candidate's {made.error_name} is lower by more than "
        f"0.005. Test error: of its largest pilots, on {made.n_test:,} {made.tested_on}.",
    ]


def _how_sure(made: Recommendation) -> str:
    """Which ranks are within noise, and the chance that nothing is clearly better."""
    best = made.best
    if len(made.options) == 1:
        return "No other candidate was trained, so nothing was compared."
    chance = (
        f"The chance that no other candidate's {made.error_name} is lower by more than 0.005 is "
        f"{percent(best.close)} by the forecasts."
    )
    ranks = sorted(one.rank for one in made.options if one.mode == made.mode)
    same = sorted(one.rank for one in made.options if one.mode == made.mode and one.within_noise)
    lowest = made.options[0]
    if len(same) > 1 and made.rank == same[0]:
        without_gap = len(same) > 2 and [rank for rank in ranks if same[0] <= rank <= same[-1]] == same
        which = f"{same[0]} to {same[-1]}" if without_gap else f"{', '.join(map(str, same[:-1]))} and {same[-1]}"
        return f"Ranks {which} of {made.mode} are within noise here: the smallest is recommended. {chance}"
    if lowest is not best:
        return f"{_not_lowest(best, lowest)} {chance}"
    return chance


def _not_lowest(best: Option, lowest: Option) -> str:
    """Why the candidate with the lowest forecast is not the recommended one."""
    text = (
        f"{lowest.mode} of rank {lowest.rank} has the lowest forecast, {lowest.forecast.value:.3f}; that of the "
        f"recommended one is {max(best.forecast.value - lowest.forecast.value, 0.0):.4f} higher"
    )
    if lowest.measured.n_train < best.measured.n_train:
        return f"{text} and rests on pilots on {best.measured.n_train:,} rows, not on {lowest.measured.n_train:,}."
    return f"{text}, and it trains {best.n_params:,} parameters in place of {lowest.n_params:,}."


def percent(share: float) -> str:
    """A share in percent; no 100% or 0% where it is not."""
    if 0.995 <= share < 1:
        return ">99%"
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _learning_rates(made: Recommendation) -> str:
    """What each learning rate gave, by mode."""
    first = made.lr_trials[0]
    said = []
    for mode in dict.fromkeys(trial.mode for trial in made.lr_trials):
        errors = ", ".join(
            f"{trial.lr:.2g} {'diverged' if trial.error is None else format(trial.error, '.3f')}"
            for trial in made.lr_trials
            if trial.mode == mode
        )
        chosen = next(one.lr for one in made.options if one.mode == mode)
        said.append(f"{mode} {chosen:.2g} (of {errors})")
    return (
        f"Learning rates, by the {made.error_name} of rank {first.rank} on {first.n_train:,} rows: {'; '.join(said)}."
    )


def _trained(mode: str) -> str:
    facts = MODES[cast("Mode", mode)]
    what = " and ".join(factor.upper() for factor in facts.frozen) or "nothing"
    return f"freeze {what} (mode {mode}: {facts.sentence})"


def sure(made: Recommendation) -> str:
    """How sure the limit is."""
    return f"{100 * (1 - made.delta):.10g}% sure"


def _candidates(made: Recommendation) -> Table:
    shown = table(
        "<  mode", "rank", "params", "forecast,\n80% interval", "chance\nbest", "test\nerror", "at N", "train\nerror"
    )
    for one in made.options:
        mark = ">" if one is made.best else "~" if one.within_noise else " "
        shown.add_row(*_row(one, mark))
    return shown


def _row(one: Option, mark: str) -> list[str]:
    return [
        f"{mark} {one.mode}",
        str(one.rank),
        str(one.n_params),
        f"{one.forecast.value:.3f} {one.forecast.low:.3f}-{one.forecast.high:.3f}",
        percent(one.close),
        f"{one.measured.value:.3f}",
        str(one.measured.n_train),
        f"{one.train:.3f}",
    ]


def interval(value: Value) -> str:
    """A loss and its interval, in words."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


@parts.register
def _(outlook: Outlook, _: int) -> Iterator[Part]:
    """What would be trained, and how long it takes."""
    shown = table("<what", "rows", "runs", "time")
    for part in outlook.parts:
        shown.add_row(part.what, f"{part.n_train:,}", str(part.n_runs), about_time(part.seconds).removeprefix("about "))
    yield shown
    yield f"Tests: {outlook.tested_on}."
    whole = f"{about_time(outlook.seconds)} on this machine ({outlook.precision}) if nothing else runs"
    if outlook.seconds <= outlook.budget:
        yield f"In all {whole}, within the budget of {exact_time(outlook.budget)}."
    else:
        yield (
            f"In all {whole}: the budget of {exact_time(outlook.budget)} is shorter, so fewer seeds, candidates or "
            "stages are trained, and the answer is less sure; --budget changes that."
        )
