"""A check in two plain sentences, the answer first; a table where there are several predictors."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from lorabound.certificates.fresh import Checked, FreshCheck
from lorabound.certificates.words import at_most, percent
from lorabound.data.phrases import listed
from lorabound.reports.show import Part, parts, table


def sentences(check: FreshCheck) -> list[str]:
    """The answer with its evidence, then what it rests on."""
    best, sure = check.best, f"{100 * (1 - check.delta):.6g}%"
    most, rows = at_most(best.limit), f"{best.n_wrong:,} of {check.n_rows:,} fresh rows wrong"
    seen = f"({percent(best.n_wrong / check.n_rows)})"
    if len(check.predictors) == 1:
        answer = f"On new data, {best.name} is wrong on at most {most} of the rows ({sure} sure): it got {rows} {seen}."
        nothing = f"Nothing limits how often {best.name} is wrong on new data ({sure} sure): it got {rows} {seen}."
        return [nothing if best.limit.silent else answer, check.assumption]
    count = len(check.predictors)
    limited = f"it is wrong on at most {most} of the rows" if not best.limit.silent else "nothing limits its error"
    answer = (
        f"Take {best.name}: on new data {limited} ({sure} sure, the choice among {count} counted); it got {rows} "
        f"{seen}, the fewest."
    )
    alike = [one for one in check.predictors if one.may_be_best and one is not best]
    cheaper = [one for one in alike if one.n_params and best.n_params and one.n_params < best.n_params]
    if cheaper:
        one = min(cheaper, key=lambda other: other.n_params or 0)
        told = (
            f"{one.name} has {(best.n_params or 0) / (one.n_params or 1):.1f} times fewer trained parameters and "
            f"cannot be told apart from it by these rows ({one.n_wrong:,} wrong)."
        )
    elif alike:
        told = f"These rows cannot tell it apart from {listed((one.name for one in alike), 3, 80)}."
    else:
        told = "The others are shown to be worse." if count > 2 else "The other one is shown to be worse."
    return [answer, told, check.assumption]


@parts.register
def _(check: FreshCheck, _: int) -> Iterator[Part]:
    """The sentences, every predictor where there are several, and what was unusual about the rows."""
    answer, *others = sentences(check)
    yield Text(answer, style="bold")
    yield from others
    if len(check.predictors) > 1:
        counted = any(one.n_params is not None for one in check.predictors)
        shown = table("<", *(["parameters"] if counted else []), "wrong", "error", "at most")
        for one in check.predictors:
            shown.add_row(*_row(one, check, counted))
        yield shown
        alike = sum(one.may_be_best for one in check.predictors) > 1
        yield Text(
            f"> the fewest wrong rows{'; ~ cannot be told apart from it by these rows' if alike else ''}. At most: "
            "limit on the error on new data, the choice counted.",
            style="dim",
        )
    yield from check.notes
    if check.n_repeated:
        yield Text(
            f"{check.n_repeated:,} rows repeat an earlier one. Copies prove nothing new: the limit is the larger "
            "one of that from all rows and that from each row once.",
            style="dim",
        )


def _row(one: Checked, check: FreshCheck, counted: bool) -> list[str]:
    mark = ">" if one is check.best else "~" if one.may_be_best else " "
    parameters = ["" if one.n_params is None else f"{one.n_params:,}"] if counted else []
    error = percent(one.n_wrong / check.n_rows)
    return [f"{mark} {one.name}", *parameters, f"{one.n_wrong:,}", error, at_most(one.limit)]
