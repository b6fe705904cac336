"""A recommendation as a file, ``recommendation.json``: written, and read again with what damage it may have told.

The numbers are read as they were written, not computed again. Places are not believed: folder and adapter of a
recommendation that was moved are where its file is found. No torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lorabound.errors import InputError, first_line
from lorabound.files import is_whole, sealed, write_text
from lorabound.modes import MODES
from lorabound.recommendations.recommendation import ADAPTER, PILOTS, Recommendation
from lorabound.sweeps.places import RECOMMENDATION, holds_recommendation, holds_sweep, is_free

FILE, FORMAT = RECOMMENDATION, 1
_AGAIN = "give the command that made it again, with the same --out: no pilot is trained twice"


def write_recommendation(made: Recommendation) -> Path:
    """Write ``recommendation.json`` into its folder; returns its path.

    Raises:
        OutputError: it cannot be written.
    """
    record = {"format": FORMAT, **asdict(made), "limit": None if made.limit is None else made.limit.to_dict()}
    record = sealed(json.loads(json.dumps(record, default=_plain)))
    return write_text(Path(made.folder) / FILE, json.dumps(record, indent=1) + "\n")


def is_recommendation(folder: str | PathLike[str]) -> bool:
    """Whether a folder is that of a recommendation, finished or not."""
    return holds_recommendation(Path(folder))


def refuse_folder_of_sweep(folder: str | PathLike[str]) -> None:
    """See that a recommendation is not written into the folder of a sweep.

    Raises:
        InputError: it is one.
    """
    if holds_sweep(Path(folder)):
        raise InputError(f"{folder} holds a sweep, and a recommendation needs a folder of its own: give another --out")


def open_recommendation(folder: str | PathLike[str]) -> Recommendation:
    """The recommendation in a folder that :func:`lorabound.recommend` wrote.

    Raises:
        InputError: there is none, or its file is damaged; the message names the file, the fault and what mends it.

    >>> open_recommendation("nowhere")
    Traceback (most recent call last):
        ...
    lorabound.errors.InputError: nowhere holds no recommendation (recommendation.json): run  lorabound recommend --out \
nowhere  first
    """
    folder = Path(folder)
    path = folder / FILE
    record = _read(folder, path)
    if record.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {str(record.get('format'))[:40]}, and this version of lorabound reads {FORMAT}: "
            "read it with the version that wrote it"
        )
    whole = is_whole(record, ("format", *(field.name for field in fields(Recommendation))))
    record.pop("sha256", None)
    try:
        made = _schema().validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path} is damaged: {where}: {said[:1].lower()}{said[1:]}; {_AGAIN}") from None
    except (TypeError, ArithmeticError, LookupError) as error:  # of records that check themselves
        raise InputError(f"{path} is damaged: {first_line(error)}; {_AGAIN}") from None
    made = replace(made, folder=str(folder), adapter=str(folder / ADAPTER))
    fault = next(_faults(made), None) or (None if whole else "a number or a word in it is not what was written")
    if fault:
        raise InputError(f"{path} is damaged: {fault}; {_AGAIN}")
    return made


@cache
def _schema() -> TypeAdapter[Recommendation]:
    return TypeAdapter(Recommendation)


def _read(folder: Path, path: Path) -> dict[str, Any]:
    if folder.is_file():
        raise InputError(f"{folder} is a file: give the folder that  lorabound recommend --out FOLDER  wrote")
    if not path.exists():
        if (folder / PILOTS).is_dir():
            raise InputError(f"{folder} holds pilots and no answer yet (no {FILE}): {_AGAIN}")
        if holds_sweep(folder):
            raise InputError(
                f"{folder} holds a sweep, and a recommendation is wanted here: give the folder of one, which  "
                f"lorabound recommend --out OTHER  makes; lorabound report {folder}  shows the sweep"
            )
        if not is_free(folder):
            raise InputError(
                f"{folder} holds no recommendation ({FILE}): give the folder that  lorabound recommend "
                "--out FOLDER  wrote"
            )
        raise InputError(f"{folder} holds no recommendation ({FILE}): run  lorabound recommend --out {folder}  first")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: it is no JSON, or was cut off; {_AGAIN}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object; {_AGAIN}")
    return record


def _faults(made: Recommendation) -> Iterator[str]:
    """What no recommendation says, as clauses."""
    places = [(one.mode, one.rank) for one in made.options]
    if (made.mode, made.rank) not in places:
        yield "the recommended rank and mode are not among its candidates"
    for mode, rank in (*places, *((one.mode, one.rank) for one in made.points)):
        if mode not in MODES:
            yield f"there is no mode {mode[:40]!r}"
        if rank < 1:
            yield f"a rank is {rank}, and the smallest one is 1"
    limit = made.limit
    if limit is not None and ((limit.kind, limit.direction) != ("risk", "upper") or len(limit.terms) != 2):
        yield "its limit is no upper bound on an error, of a mean and a margin"
    for name, value in _numbers(made, ""):
        if not math.isfinite(value) and (name, value) != (
            "settings.clip_norm",
            math.inf,
        ):  # no limit
            yield f"{name} is not finite"
        elif name.endswith(("n_train", "n_rows", "n_choices", "adapter_rows", "rules.rank")) and value < 1:
            yield f"{name} is {value:g}, and it is at least 1"


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """All numbers of a record with the names of their fields."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield name, value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name), f"{name}.{field.name}".lstrip("."))
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _numbers(entry, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _numbers(entry, name)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
