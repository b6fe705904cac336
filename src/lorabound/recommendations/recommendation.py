"""What a recommendation says, and the numbers it rests on. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import PlainValidator

from lorabound.bounds import Bound
from lorabound.errors import InputError
from lorabound.sweeps import places

ADAPTER, PILOTS = "adapter", places.PILOTS


def _read_bound(record: Any) -> Bound | None:
    """The limit of a file.

    Raises:
        ValueError: it is no bound.
    """
    try:
        return None if record is None else Bound.from_dict(record)
    except (InputError, TypeError, KeyError, AttributeError):
        raise ValueError("it is no bound") from None


@dataclass(frozen=True, kw_only=True)
class Value:
    """A loss with its interval.

    Attributes:
        value: forecast or mean.
        low, high: limits of the interval.
        level: probability that the interval covers, as far as its assumptions hold.
        n_train: training size that it speaks of.
    """

    value: float
    low: float
    high: float
    level: float
    n_train: int


@dataclass(frozen=True, kw_only=True)
class Option:
    """One candidate.

    Attributes:
        mode, rank, lr: what is trained, and with which learning rate.
        n_params: number of trained parameters.
        forecast: error on new data at the size that the recommendation is for.
        expected_loss: forecast distance above the best candidate.
        close: probability that no other candidate is better by more than half a point.
        measured: error on the test rows at the largest size it was trained at; None where all its runs diverged.
        train: error on the training rows at the same size.
        n_seeds: number of runs in ``measured``.
        within_noise: whether it cannot be told apart from the best one.
    """

    mode: str
    rank: int
    lr: float
    n_params: int
    forecast: Value
    expected_loss: float
    close: float
    measured: Value
    train: float
    n_seeds: int
    within_noise: bool


@dataclass(frozen=True, kw_only=True)
class Point:
    """One candidate at one pilot size: mean errors over its seeds, with the interval of the one on test rows."""

    mode: str
    rank: int
    test: Value
    train: float


@dataclass(frozen=True, kw_only=True)
class RuleOfThumb:
    """A public rule for the rank, with the forecast of what it would give here.

    Attributes:
        name: name of the rule.
        rank: rank that it gives here.
        source: address where it stands.
        forecast: error on new data with both factors trained at that rank; None where the rank was not among those
            that pilots say something about.
    """

    name: str
    rank: int
    source: str
    forecast: Value | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was trained at one size, and what went on.

    Attributes:
        n_train: training size.
        n_runs: number of runs.
        candidates: (mode, rank) of the candidates.
        seconds: time that the runs took.
        what: "learning rates" or "ranks".
    """

    n_train: int
    n_runs: int
    candidates: tuple[tuple[str, int], ...]
    seconds: float
    what: str


@dataclass(frozen=True, kw_only=True)
class LrTrial:
    """The mean error on the test rows of one learning rate, in one mode, before the ranks were compared."""

    mode: str
    lr: float
    rank: int
    n_train: int
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a recommendation comes from: what is needed to make it again.

    Attributes:
        command: words of the command line that makes it again.
        environment: date, versions, machine and fingerprints, by name.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which rank to take, which factor to freeze, and the evidence.

    Attributes:
        folder: folder of the recommendation.
        data, model: names of the data and of the frozen model.
        error_name: the loss that decides, in words.
        n_rows: N, rows that the final adapter is trained on.
        n_pilot: rows of the largest pilots.
        n_test, tested_on: number of test rows, and which these are, in words.
        refit: whether the final adapter was trained on the test rows as well, after all decisions.
        mode, rank, lr, alpha: the answer.
        options: all candidates, the forecast best first.
        points: what all pilots measured, smallest size first.
        more_data: forecasts for the answer at N, 2N and 4N.
        zero_shot: error of the model without an adapter on the test rows.
        limit: limit on the error on new data of what ``limit_of`` says; None where a mean cannot be limited.
        limit_of: predictor of ``limit``, in words that follow "the error of".
        limit_if: sentence on what the limit takes for granted beside draws of one population, "" for nothing.
        own_limit: limit that ``certificate.json`` gives, by the final training alone, on the error on new data of a
            checkpoint drawn at random from the last half of its first epoch; None without such a certificate.
        delta: probability that the limit is wrong, and that the own one is.
        n_choices: number of adapters that could have been chosen: each has delta/n_choices.
        rules: public rules for the rank, with their forecasts.
        steps, lr_trials: what was trained on the way.
        n_runs: number of pilots, those of earlier commands on the same folder counted.
        seconds: time it took in all; ``share`` is that of training each candidate with each seed on all rows.
        stopped: why it stopped early; None where it came to its end.
        adapter: folder of the trained adapter.
        adapter_rows: number of rows that this adapter was trained on.
        settings: settings of the final adapter's training, by name.
        origin: the command that makes it again, versions and machine.
        notes: sentences on what was unusual about data and model.
    """

    folder: str
    data: str
    model: str
    error_name: str
    n_rows: int
    n_pilot: int
    n_test: int
    tested_on: str
    refit: bool
    mode: str
    rank: int
    lr: float
    alpha: float
    options: tuple[Option, ...]
    points: tuple[Point, ...]
    more_data: tuple[Value, ...]
    zero_shot: float
    limit: Annotated[Bound | None, PlainValidator(_read_bound)]
    limit_of: str
    limit_if: str
    delta: float
    n_choices: int
    rules: tuple[RuleOfThumb, ...]
    steps: tuple[Step, ...]
    lr_trials: tuple[LrTrial, ...]
    n_runs: int
    seconds: float
    share: float
    stopped: str | None
    adapter: str
    adapter_rows: int
    settings: Mapping[str, Any]
    origin: Origin
    notes: tuple[str, ...] = ()
    own_limit: float | None = None

    @property
    def best(self) -> Option:
        """The recommended candidate."""
        return next(one for one in self.options if (one.mode, one.rank) == (self.mode, self.rank))

    def frame(self) -> pl.DataFrame:
        """One row per candidate, the forecast best first.

        Columns: ``mode``, ``rank``; ``forecast``, ``forecast_low``, ``forecast_high`` (error on new data at N, 80%
        interval), ``expected_loss``, ``close`` (see :class:`Option`); ``test_error``, ``train_error``, ``n_train``,
        ``n_seeds`` (measured at its largest size); ``lr``, ``n_params``, ``within_noise``, ``recommended``.
        """
        return pl.DataFrame(
            [
                {
                    "mode": one.mode,
                    "rank": one.rank,
                    "forecast": one.forecast.value,
                    "forecast_low": one.forecast.low,
                    "forecast_high": one.forecast.high,
                    "expected_loss": one.expected_loss,
                    "close": one.close,
                    "test_error": one.measured.value,
                    "train_error": one.train,
                    "n_train": one.measured.n_train,
                    "n_seeds": one.n_seeds,
                    "lr": one.lr,
                    "n_params": one.n_params,
                    "within_noise": one.within_noise,
                    "recommended": one is self.best,
                }
                for one in self.options
            ]
        )

    def __repr__(self) -> str:
        """The answer in one line; ``lorabound.show`` says the rest."""
        now = self.best.forecast
        return (
            f"Recommendation: {self.mode}, rank {self.rank}, lr {self.lr:.3g} for {self.n_rows:,} rows of {self.data}; "
            f"forecast {self.error_name} {now.value:.3g} ({now.low:.3g} to {now.high:.3g})"
        )
