"""What a recommendation is asked for: settings of its own, beside those of the sweeps it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lorabound.config import (
    BOUNDS,
    DATA,
    RESOURCES,
    TRAINING,
    Settings,
    Source,
    checked,
    list_of,
    once,
    read_record,
    setting,
)
from lorabound.errors import InputError
from lorabound.modes import PEFT_MODES
from lorabound.notation import OF_WEIGHTS, RESIDUAL_LAW
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.fields import Positive

# Settings of a sweep that a recommendation decides by itself.
DECIDED = (
    "n_train",
    "shots",
    "samples",
    "test_data",
    "n_test",
    "window",
    "unlabelled",
    "cross_fit",
    "blocks",
    "augment",
)
# What pilots take where nothing is said.
_DEFAULTS: dict[str, Any] = {"ranks": [1, 2, 4, 8, 16, 32, 64], "seeds": [0, 1]}
_DURATION = re.compile(
    r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?)?\s*",
    re.I,
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _time(value: Any) -> Any:
    """A duration such as 90s, 10m, 1.5h; a bare number is seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _DURATION.fullmatch(str(value)):
        raise ValueError("give a time, as 90s, 10m or 2h")
    if seconds_of(str(value)) < 1:
        raise ValueError("a budget is at least a second: give a time, as 90s, 10m or 2h")
    return str(value).strip()


def seconds_of(time: str) -> float:
    """Seconds of a duration such as 90s, 10m, 1.5h.

    >>> seconds_of("1.5h")
    5400.0
    """
    found = _DURATION.fullmatch(time)
    assert found is not None
    unit = next((letter for letter in found.groups()[1:] if letter), "s")
    return float(found[1]) * _UNITS[unit.lower()]


class RecommendConfig(Settings):
    """The settings of a recommendation beside those of its pilots, which are those of a sweep.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    budget: Annotated[str, BeforeValidator(_time)] = setting(
        "10m", "Time it may take in all, as 90s, 10m or 2h.", RESOURCES
    )
    n_train: Annotated[int, Field(ge=8, strict=True)] | None = setting(
        None, "Number of rows that the recommendation is for, of those in --data.", DATA, shown="all"
    )
    holdout: str | None = setting(
        None,
        "Rows for testing that nobody trains on, in the same forms.",
        DATA,
        shown="none: pilots are tested on rows of --data that only the final adapter is trained on",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = setting(
        None, "Share of --data for testing, which the final adapter is not trained on either.", DATA, shown="none"
    )
    lrs: Annotated[list[Positive] | None, list_of(float), once] = setting(
        None,
        "Learning rates to compare before the ranks.",
        TRAINING,
        shown="a third of --lr, --lr, three times --lr, and further while the best one is at an end",
    )
    delta: Annotated[float, Field(gt=0, lt=1)] = setting(
        0.05, "Probability that the limit on the error on new data is wrong.", BOUNDS
    )

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return seconds_of(self.budget)


def read_recommendation(source: Source, flags: Mapping[str, Any]) -> tuple[RecommendConfig, SweepConfig, set[str]]:
    """Both kinds of settings from one YAML file, flags, or both; and the names of those of the pilots that were given.

    Raises:
        InputError: a missing or malformed file, an unknown name, a value out of range, or a setting of sweeps that a
            recommendation decides by itself.
    """
    record = read_record(SweepConfig, source, {**flags, "n_train": None, "test_data": None})
    record |= {name: flags[name] for name in RecommendConfig.model_fields if flags.get(name) is not None}
    own = {name: record.pop(name) for name in list(record) if name in RecommendConfig.model_fields}
    _refuse_decided(record)
    asked = checked(RecommendConfig, own, source, flags)
    if asked.holdout is not None and asked.test_fraction is not None:
        raise InputError("holdout and test_fraction both say what is tested on: give one of them")
    _refuse_alike(asked.lrs or [])
    pilots = checked(SweepConfig, _DEFAULTS | record, source, flags)
    if pilots.law == RESIDUAL_LAW:
        raise InputError(
            f"law {RESIDUAL_LAW} is for sweeps (lorabound sweep), whose table shows what the start is worth: recommend "
            "compares ranks and modes under one of the random laws, kaiming_uniform or gaussian"
        )
    _refuse_outside_peft(pilots)
    return asked, pilots, set(record)


def _refuse_outside_peft(pilots: SweepConfig) -> None:
    """What is recommended must be what any training loop of PEFT can do."""
    if odd := [mode for mode in pilots.modes if mode not in PEFT_MODES]:
        raise InputError(
            f"modes: recommend answers with settings for PEFT, which cannot train {', '.join(odd)}: give modes among "
            f"{', '.join(PEFT_MODES)}, or compare {odd[0]} with  lorabound sweep"
        )
    if pilots.links > 1:
        raise InputError(
            "links: recommend answers with settings for PEFT, which trains one link: leave it out, or compare chains "
            "with  lorabound sweep"
        )
    if pilots.law == OF_WEIGHTS:
        raise InputError(
            f"law: recommend answers with settings for PEFT, which does not draw factors by law {pilots.law}: leave "
            "it out, or compare it with  lorabound sweep"
        )


def exact_time(seconds: float) -> str:
    """A budget as one would type it: "90 s", "10 min", "2 h"."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _refuse_alike(lrs: Sequence[float]) -> None:
    shown: dict[str, float] = {}
    for lr in lrs:
        if (same := f"{lr:.3g}") in shown:
            raise InputError(
                f"lrs: {shown[same]:g} and {lr:g} are both {same} to three digits, too near to tell apart: give one"
            )
        shown[same] = lr


def _refuse_decided(record: Mapping[str, Any]) -> None:
    instead = {
        "test_data": "rows for testing are --holdout FILE here",
        "n_test": "the share for testing is --test-fraction here",
        "shots": "it takes rows as the data have them",
    }
    for name in DECIDED:
        if record.get(name) not in (None, False) and name not in RecommendConfig.model_fields:
            raise InputError(
                f"{name}: recommend decides this by itself{'; ' + instead[name] if name in instead else ''}: "
                "leave it out"
            )
