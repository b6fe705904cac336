"""A look at a data set without a model: texts, images or dialogues, whatever it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorabound.data import NAMED, DataCheck, Reads, check_data, check_dialogues, fit_sizes, form_of_data, is_export
from lorabound.errors import DataError
from lorabound.models.kinds import ENCODER
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.material import read_dialogues, read_tables


def look_at(config: SweepConfig) -> DataCheck:
    """The check of ``config.data`` and ``config.test_data``, images decoded.

    Raises:
        DataError: the data cannot be read.
    """
    holds = content_of(config.data)
    if holds == "dialogues" or _is_dialogues(config):
        chats, others = read_dialogues(config)
        return _sized(config, check_dialogues(chats, others), len(others) if others else None)
    try:
        table, test = read_tables(config, holds or "texts")
    except DataError as error:
        if holds is not None:
            raise
        try:  # a table with a column of images
            table, test = read_tables(config, "images")
        except DataError:
            if form_of_data(config.data) != "text":
                raise error from None
            raise DataError(f"{error}; if the texts themselves are to be learnt, add --form text") from None
    check = check_data(table, test, max_length=config.max_length or ENCODER.max_length, decode=True)
    return _sized(config, check, None if test is None else len(test))


def _sized(config: SweepConfig, check: DataCheck, n_own_test: int | None) -> DataCheck:
    """The check with the sizes that a sweep would take."""
    try:
        sizes, n_test = fit_sizes(check.name, check.n_rows, check.n_classes, config.n_train, config.n_test, n_own_test)
    except DataError as error:
        return check.with_faults(str(error))
    train = " and ".join(f"{n:,}" for n in sizes)
    return replace(check, sizes=f"A sweep trains on {train} rows and tests on {n_test:,} (--n-train, --n-test).")


def _is_dialogues(config: SweepConfig) -> bool:
    """Whether data are read as dialogues: as asked, or by their columns; texts alone may lack their labels."""
    return config.form is not None or form_of_data(config.data) not in (None, "text")


def content_of(data: str) -> Reads | None:
    """What data hold, as far as their name tells; None for tables, which may hold either."""
    if data in NAMED:
        return NAMED[data].holds
    path = Path(data)
    return "images" if path.is_dir() and not is_export(path) else None
