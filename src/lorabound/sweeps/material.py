"""What a sweep works on, looked at before any model is loaded: its data checked, its sizes settled, its split made.

Nothing here imports torch or transformers, so that a mistake in the data or the options is told within a second or two.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lorabound.data import (
    NAMED,
    DataCheck,
    Dialogues,
    Empty,
    Labelled,
    Picture,
    Reads,
    Split,
    check_data,
    check_dialogues,
    drawn,
    fit_sizes,
    form_of_data,
    load_dialogues,
    load_examples,
    read_unlabelled,
    renamed,
    set_aside,
    split,
    with_unlabelled,
    without_rare,
)
from lorabound.errors import DataError, InputError
from lorabound.models.kinds import Kind, find_kind
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import fitted
from lorabound.sweeps.tokens import count_tokens


@dataclass(frozen=True)
class Material:
    """Everything a sweep needs beside the model.

    Attributes:
        asked: configuration with the defaults of its model, sizes as they were given.
        config: configuration with the defaults of its model, ``n_train`` and ``n_test`` settled.
        kind: kind of the model.
        table, test_table: the data, and the test set where it has one of its own.
        own_test_set: whether a named task brought its test set along.
        check: findings on the data.
        divided: training pool and test set.
        lengths: (n,) tokens of texts evenly spaced in the data, as they will be cut; None for images, or where
            the tokenizer of the model is not on this machine.
        worked_out: sentences on a prompt and sizes that nobody gave, and on texts that lose their end; or "".
    """

    asked: SweepConfig
    config: SweepConfig
    kind: Kind
    table: Labelled | Dialogues
    test_table: Labelled | Dialogues | None
    own_test_set: bool
    check: DataCheck
    divided: Split
    lengths: NDArray[np.int64] | None
    worked_out: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """What a user should read before anything is trained."""
        lines = (f"{self.check.name}: {self.check.classes_line}.", *self.worked_out, *self.check.remarks)
        return [line for line in lines if line]


def read_material(config: SweepConfig) -> Material:
    """Read and check the data of a sweep, settle its sizes and divide it.

    Raises:
        DataError, InputError: the data cannot be used, with everything that is wrong with them; options do not fit.
        ModelError: no such model, or a configuration that cannot be read.
    """
    original = config
    config, kind = fitted(config)
    table, test, check = _read(config, kind)
    own_test_set = test is not None and not config.test_data
    sized, divided, faults = _divide(config, table, test, own_test_set, check.faults == ())
    check = check.with_faults(*faults)
    if divided is None:
        raise DataError(check.refusal)
    texts = isinstance(table, Labelled) and kind.n_tokens is None and not kind.writes
    counted = count_tokens(config, table, test) if texts else None  # type: ignore[arg-type]
    lengths, cut = (counted.lengths, counted.sentence) if counted else (None, "")
    settled = _settled(config, sized, len(table), own_test_set)
    return Material(
        config,
        sized,
        kind,
        table,
        test,
        own_test_set,
        check,
        divided,
        lengths,
        (_prompted(original, config), settled, cut),
    )


def _read(config: SweepConfig, kind: Kind) -> tuple[Labelled | Dialogues, Labelled | Dialogues | None, DataCheck]:
    """The data, the test set where it has one of its own, and what a look at both found."""
    if kind.reads == "dialogues":
        dialogues, others = read_dialogues(config)
        return dialogues, others, check_dialogues(dialogues, others)
    table, test = read_tables(config, kind.reads)
    return table, test, check_data(table, test, config.head == "prompts" and not kind.writes)


def read_dialogues(config: SweepConfig) -> tuple[Dialogues, Dialogues | None]:
    """The dialogues of ``data``, and of ``test_data`` where there are such.

    Raises:
        DataError: one or both cannot be read.
        InputError: settings that only labelled data have.
    """
    for name, what in (("rename_labels", "labels"), ("shots", "classes")):
        if getattr(config, name):
            raise InputError(f"{name} is about {what}, and {config.data} holds dialogues: leave it out")
    if config.metric != "exact-match" and (config.cross_fit or config.blocks):
        raise InputError("cross_fit and blocks count exact matches: give metric = exact-match, or leave them out")
    if config.unlabelled is not None:
        raise InputError(
            "unlabelled compares the classes that two adapters answer, and dialogues have none: leave it out"
        )
    empty: Literal["drop", "refuse"] = "drop" if config.drop_empty else "refuse"
    found, faults = [], []
    for source in (config.data, config.test_data):
        if source is not None:
            try:
                found.append(load_dialogues(source, config.form, config.columns, empty))
            except DataError as error:
                faults.append(str(error))
    if faults:
        raise DataError("; ".join(dict.fromkeys(faults)))
    return found[0], found[1] if len(found) > 1 else None


def divide_again(material: Material, without: Container[Any]) -> Material:
    """The same without these images or dialogues; sizes that were not given are settled anew.

    Raises:
        DataError: too little is left.
    """
    table = _without(material.table, without)
    test = material.test_table and _without(material.test_table, without)
    sized, divided, faults = _divide(material.asked, table, test, material.own_test_set, True)
    if divided is None:
        raise DataError("; ".join(faults))
    return replace(material, config=sized, table=table, test_table=test, divided=divided)


def leaving_out(material: Material, without: Container[Any]) -> Material:
    """The same tables without these images or dialogues, not divided anew.

    Raises:
        DataError: nothing is left.
    """
    test = material.test_table and _without(material.test_table, without)
    return replace(material, table=_without(material.table, without), test_table=test)


def with_sizes(
    material: Material, n_train: Sequence[int], n_test: int, n_rows: int | None = None, turn: int = 0
) -> Material:
    """The same divided anew, for other sizes.

    Args:
        n_rows: number of rows that are used, drawn at random by the seed of the split; None takes all.
        turn: number of shuffled rows that go from the front to the back (:func:`lorabound.data.split`).
    Raises:
        DataError: the sizes do not fit the data.
    """
    asked = material.asked.model_copy(update={"n_train": list(n_train), "n_test": n_test})
    table = material.table
    if n_rows is not None and n_rows < len(table):
        table = table.rows(sorted(drawn(len(table), n_rows, asked.data_seed)))
    sized, divided, faults = _divide(asked, table, material.test_table, material.own_test_set, True, turn)
    if divided is None:
        raise DataError("; ".join(faults))
    prompted, _, cut = material.worked_out
    return replace(material, asked=asked, config=sized, table=table, divided=divided, worked_out=(prompted, "", cut))


def read_tables(config: SweepConfig, holds: Reads) -> tuple[Labelled, Labelled | None]:
    """The data, and the test set where it has one of its own, with what was asked to be dropped and renamed.

    Empty texts and labels stay where they are not to be dropped.

    Raises:
        DataError: one or both cannot be read.
    """
    empty: Empty = "drop" if config.drop_empty else "keep"
    column = {"texts": config.text_column, "images": config.image_column}[holds]
    named = NAMED.get(config.data)
    tables: list[Labelled] = []
    faults: list[str] = []
    for source in (config.data, config.test_data):
        if source is None:
            continue
        try:
            table = load_examples(holds, source, column, config.label_column, empty)
            tables.append(renamed(table, config.rename_labels))
        except DataError as error:
            form = form_of_data(source)
            chats = form is not None and form != "text"  # texts without labels may be anything
            faults.append(_holds_dialogues(source, form, config) if chats else str(error))
    if faults:
        raise DataError("; ".join(dict.fromkeys(faults)))
    table, *rest = tables
    test = rest[0] if rest else named.test(empty) if named and named.test else None
    if test and not rest:
        test = renamed(test, config.rename_labels)
    return without_rare(table, test, config.min_class_rows)


def _holds_dialogues(source: str, form: str | None, config: SweepConfig) -> str:
    if config.task == "labels" and find_kind(config.model, config.head).writes:
        return f"{source} holds dialogues (in the form {form}), which have no labels: leave --task labels out"
    return (
        f"{source} holds dialogues (in the form {form}), which {config.model} does not read: name a causal language "
        "model, as "
        "--model smollm2-135m-instruct"
    )


def _divide(
    config: SweepConfig,
    table: Labelled | Dialogues,
    test: Labelled | Dialogues | None,
    own_test_set: bool,
    sound: bool,
    turn: int = 0,
) -> tuple[SweepConfig, Split | None, list[str]]:
    """Sizes and split; without a split, what keeps the data from being divided. ``sound``: without other faults.

    Raises:
        InputError: settings that do not fit the sizes, as more links than steps.
    """
    labels = {label for part in (table, test) if part for label in part.labels}
    asked = None if config.shots else config.n_train
    n_test = min(config.n_test, len(test)) if test and own_test_set and config.n_test else config.n_test
    share = config.unlabelled if isinstance(config.unlabelled, float) else 0.0
    n_aside = round(share * len(table))
    name = f"{table.name} without the unlabelled {share:.3g} of it" if n_aside else table.name
    try:
        sizes, n_test = fit_sizes(
            name, len(table) - n_aside, len(labels), asked, n_test, None if test is None else len(test), config.samples
        )
        shots = max(config.shots) if config.shots else None
        sized = config.model_copy(update={"n_train": sizes, "n_test": n_test})
        if not sound:
            return sized, None, []
        divided = split(table, config.samples * max(sizes), n_test, config.data_seed, test, shots, turn)
        if isinstance(table, Labelled):
            divided = _with_unlabelled(config, divided, n_aside, table)
    except DataError as error:
        return config, None, [str(error)]
    if config.shots and shots:
        per_shot = len(divided.train_examples) // shots
        sized = sized.model_copy(update={"n_train": [per_shot * count for count in sorted(config.shots)]})
    sized = SweepConfig(**sized.model_dump())  # checked once more, now that sizes are known
    sized.check_steps()
    return sized, divided, []


def _with_unlabelled(config: SweepConfig, divided: Split, n_aside: int, table: Labelled) -> Split:
    """The split with its unlabelled examples: a share of the pool, or the texts of a file.

    Raises:
        DataError: images in a file, or a share that holds no row.
        InputError: a file that cannot be used.
    """
    if config.unlabelled is None:
        return divided
    if isinstance(config.unlabelled, float):
        if not n_aside:
            raise DataError(f"unlabelled = {config.unlabelled:g} of {len(table):,} rows is no row: give a larger share")
        return set_aside(divided, n_aside)
    if not isinstance(table.examples[0], str):
        raise DataError("unlabelled images come from the data themselves: give a share, as --unlabelled 0.1")
    try:
        texts = read_unlabelled(config.unlabelled, config.text_column or "text")
        return with_unlabelled(divided, texts, config.unlabelled)
    except DataError as error:  # of another file than the one that _divide names
        raise InputError(f"--unlabelled: {error}") from None


def _prompted(original: SweepConfig, config: SweepConfig) -> str:
    """How a class is asked for, in one sentence; "" where the prompt was given, or classes are no prompts."""
    if original.prompt or original.template or not config.prompt:
        return ""
    if config.template:
        return f"No template is given: a label is asked for as {config.template!r}; --template changes that."
    return f"No prompt is given: a class is asked for as {config.prompt!r}; --prompt changes that."


def _settled(asked: SweepConfig, sized: SweepConfig, n_rows: int, own_test_set: bool) -> str:
    """What sizes were worked out, in one sentence."""
    if asked.n_test is not None and (asked.n_train is not None or asked.shots):
        return ""
    train = " and ".join(f"{n:,}" for n in sized.sizes)
    options = [
        name for name, value in (("--n-train", asked.n_train or asked.shots), ("--n-test", asked.n_test)) if not value
    ]
    whose = "the test set" if own_test_set or asked.test_data else f"{n_rows:,}"
    samples = f"{asked.samples} samples of " if asked.samples > 1 else ""
    return (
        f"Trains on {samples}{train} rows and tests on {sized.test_size:,} rows of {whose}; {' and '.join(options)} "
        f"{'change' if len(options) > 1 else 'changes'} that."
    )


def _without(table: Labelled | Dialogues, names: Container[Any]) -> Labelled | Dialogues:
    usable = [i for i, row in enumerate(table.examples) if (row.name if isinstance(row, Picture) else row) not in names]
    if not usable:
        what = "no image that can be decoded" if isinstance(table.examples[0], Picture) else "no example short enough"
        raise DataError(f"{table.name} holds {what}")
    return table.rows(usable)
