"""From what the pilots showed to the answer: which candidate, how sure, what it will give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorabound.bounds import Bound, holdout, holdout_bounded
from lorabound.modes import USUAL_MODE
from lorabound.recommendations.measured import Pilot, curves_of
from lorabound.recommendations.recommendation import Option, Point, RuleOfThumb, Value
from lorabound.recommendations.schedule import Candidate
from lorabound.recommendations.search import Search
from lorabound.stats import Forecast, crossed_mean, pick
from lorabound.sweeps.cells import Loss
from lorabound.sweeps.grid import Run
from lorabound.sweeps.records import ADAPTERS
from lorabound.sweeps.row import Row
from lorabound.trainers import Rule

# Coverage of forecast and measured intervals.
LEVEL = 0.8


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The recommended candidate and its evidence.

    Attributes:
        mode, rank, lr: what is trained, how fast.
        options: all candidates, the forecast best first.
        points: what all pilots measured, smallest size first.
        more_data: forecasts of the recommended one at N, 2N and 4N.
        zero_shot: error of the model without an adapter on the test rows.
        row: its run with the first seed at its largest size.
        place: folder of that run's adapter.
        n_test: number of test rows of its largest pilots, those of all folds.
        limit: limit on the error on new data of that adapter.
        n_choices: number of adapters that the limit's choice is among.
    """

    mode: str
    rank: int
    lr: float
    options: tuple[Option, ...]
    points: tuple[Point, ...]
    more_data: tuple[Value, ...]
    zero_shot: float
    row: Row
    place: Path
    n_test: int
    limit: Bound
    n_choices: int


def answer(search: Search, delta: float, n_choices: int) -> Answer:
    """The answer that the pilots of a search give, its limit paid for by so many choices."""
    loss, n_rows = search.loss, search.layout.n_rows
    rows, pilots = search.rows, search.measured
    curves = curves_of(pilots)
    largest = {(pilot.mode, pilot.rank): pilot for pilot in pilots}  # the sizes ascend
    known = list(largest)
    at_n = curves.forecast(known, n_rows, LEVEL)
    finalists = _finalists(largest, search.reached)
    params = {(row.mode, row.rank): row.n_params for row in rows}
    chosen = pick(curves.forecast(finalists, n_rows, LEVEL), [params[one] for one in finalists])
    mode, rank = finalists[chosen.index]
    noise = _within_noise(at_n)
    order = np.argsort(at_n.means, kind="stable")
    options = tuple(
        _option(known[i], search.lr_of[known[i][0]], params[known[i]], at_n, int(i), largest[known[i]], noise[i])
        for i in order
    )
    more = [curves.forecast([(mode, rank)], factor * n_rows, LEVEL) for factor in (1, 2, 4)]
    lr = search.lr_of[mode]
    first = _first_run(search.pilots.rows(lr), mode, rank)
    return Answer(
        mode=mode,
        rank=rank,
        lr=lr,
        options=options,
        points=tuple(Point(mode=one.mode, rank=one.rank, test=_measured(one), train=one.train) for one in pilots),
        more_data=tuple(_value(one, 0) for one in more),
        zero_shot=float(np.mean([loss.test(row).mean() for row in rows if not row.rank])),
        row=first,
        place=search.pilots.place_of(lr, first.seed) / ADAPTERS / _run(first).name,
        n_test=largest[mode, rank].tested.shape[1],
        limit=_limit(first, loss, delta / n_choices),
        n_choices=n_choices,
    )


def rules_of_thumb(search: Search, rules: Sequence[Rule]) -> tuple[RuleOfThumb, ...]:
    """Public rules for the rank, with what the pilots forecast for them (both factors trained)."""
    curves = curves_of(search.measured)
    if USUAL_MODE not in search.lr_of:
        return tuple(RuleOfThumb(name=one.name, rank=one.rank, source=one.source, forecast=None) for one in rules)
    found = []
    for rule in rules:
        at_n = curves.forecast([(USUAL_MODE, rule.rank)], search.layout.n_rows, LEVEL)
        found.append(RuleOfThumb(name=rule.name, rank=rule.rank, source=rule.source, forecast=_value(at_n, 0)))
    return tuple(found)


def _finalists(largest: dict[Candidate, Pilot], reached: int) -> list[Candidate]:
    """Candidates that were trained in the last stage there was; larger pilots of learning rates prefer no rank."""
    return [one for one, pilot in largest.items() if pilot.n_train >= reached]


def _within_noise(at_n: Forecast) -> list[bool]:
    """Whether the 80% interval of the difference to the forecast best one holds 0."""
    found = []
    for i in range(len(at_n.candidates)):
        low, _ = at_n.difference(i, at_n.best, LEVEL)
        found.append(i == at_n.best or low <= 0)
    return found


def _option(
    one: Candidate, lr: float, n_params: int, at_n: Forecast, place: int, pilot: Pilot, within_noise: bool
) -> Option:
    return Option(
        mode=one[0],
        rank=one[1],
        lr=lr,
        n_params=n_params,
        forecast=_value(at_n, place),
        expected_loss=float(at_n.expected_loss[place]),
        close=float(at_n.close()[place]),
        measured=_measured(pilot),
        train=pilot.train,
        n_seeds=pilot.n_seeds,
        within_noise=within_noise,
    )


def _measured(pilot: Pilot) -> Value:
    mean = crossed_mean(pilot.tested[:, None, :], 0.0, LEVEL)
    return Value(value=mean.mean, low=mean.low, high=mean.high, level=LEVEL, n_train=pilot.n_train)


def _value(forecast: Forecast, place: int) -> Value:
    return Value(
        value=float(forecast.means[place]),
        low=float(forecast.lows[place]),
        high=float(forecast.highs[place]),
        level=forecast.level,
        n_train=round(forecast.n),
    )


def _run(row: Row) -> Run:
    return Run(row.rank, row.mode, row.n_train, row.seed, row.sample)  # type: ignore[arg-type]


def _first_run(rows: Sequence[Row], mode: str, rank: int) -> Row:
    """The finished run with the first seed at the largest size."""
    own = [row for row in rows if (row.mode, row.rank, row.status) == (mode, rank, "done")]
    most = max(row.n_train for row in own)
    return min((row for row in own if row.n_train == most), key=lambda row: row.seed)


def _limit(row: Row, loss: Loss, delta: float) -> Bound:
    """Limit on the error on new data of one adapter, by test rows that it was not trained on."""
    losses = loss.test(row)
    if loss.column == "error":
        return holdout(losses.sum(), len(losses), delta)
    return holdout_bounded(float(losses.mean()), len(losses), delta)
