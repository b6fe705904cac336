"""What a sweep leaves beside its adapters, so that they can be used and checked later.

    adapters/RUN/task.json    how the adapter reads an example: model, prompt, classes, length
    rows.json                 fingerprints of the rows it trained and tested on, in their order

A fingerprint is the start of the SHA-256 of what makes two examples the same (:func:`lorabound.data.identity`), so the
file gives no text away but tells whether a row was seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from lorabound.data import Example, Reads, identity
from lorabound.errors import AdapterError, StoreError
from lorabound.files import write_text
from lorabound.notation import Base

ADAPTERS, TASK, ROWS = "adapters", "task.json", "rows.json"
_DIGITS = 20


class AdapterTask(BaseModel):
    """How an adapter of a sweep reads an example.

    Attributes:
        model, model_sha256: the frozen model by name, and the hash over its files.
        takes: texts, images or dialogues.
        head: prompts, or trained with the adapter.
        prompt, classes, logit_scale: class prompt, class names in the order of the scores, factor of the scores.
        max_length: tokens a text is cut to.
        precision: number format of the frozen model.
        base: format that its weights are rounded to; None for weights as they are, and then left out of files.
        n_train: size of its training set.
        first_row: place in ``rows.json`` where its training set begins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    model: str
    model_sha256: str
    takes: Reads
    head: Literal["prompts", "trained"]
    prompt: str
    classes: list[str]
    logit_scale: float | None
    max_length: int
    precision: Literal["float32", "bfloat16"]
    n_train: int
    first_row: int = 0
    base: Base | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name != "base" or value is not None}


@dataclass(frozen=True)
class SeenRows:
    """Fingerprints of the rows of a sweep: of the training samples in their order, and of the test set."""

    train: list[str]
    test: list[str]


def write_task(folder: Path, task: AdapterTask) -> None:
    """Write ``task.json`` into an adapter folder, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / TASK, task.model_dump_json(indent=2) + "\n")


def read_task(folder: Path) -> AdapterTask | None:
    """The task of an adapter folder; None where it has none, as one from elsewhere.

    Raises:
        AdapterError: a file that is not one of ours.
    """
    path = folder / TASK
    if not path.is_file():
        return None
    try:
        return AdapterTask.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise AdapterError(
            f"{path} cannot be read ({reason}): remove it and name --model, --prompt, --classes"
        ) from None


def fingerprint(example: Example) -> str:
    """The start of the SHA-256 of what makes two examples the same."""
    return hashlib.sha256(identity(example).encode()).hexdigest()[:_DIGITS]


def write_rows(folder: Path, train: Sequence[Example], test: Sequence[Example]) -> None:
    """Record the rows of a sweep; a record of the same rows with as many for training stays as it is.

    Raises:
        StoreError: the file records other rows: adapters of another sweep stand beside it, and neither record would
            tell what all of them have seen.
        OutputError: the file cannot be written.
    """
    known = read_rows(folder)
    seen = SeenRows([fingerprint(example) for example in train], [fingerprint(example) for example in test])
    if known:
        both = min(len(known.train), len(train))
        if known.train[:both] != seen.train[:both] or known.test != seen.test:
            raise StoreError(
                f"{folder / ROWS} records other rows than this sweep's: adapters of another one stand beside it; move "
                f"{ROWS} and adapters away, or choose another --out"
            )
        if len(known.train) >= len(train):
            return
    write_text(folder / ROWS, json.dumps(asdict(seen)) + "\n")


def read_rows(folder: Path) -> SeenRows | None:
    """The rows of a sweep; None where they are not recorded.

    Raises:
        StoreError: a file that is not one of ours.
    """
    path = folder / ROWS
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return SeenRows(list(map(str, record["train"])), list(map(str, record["test"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): move it away") from None
