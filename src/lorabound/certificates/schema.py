"""What stands in ``certificate.json``: every field with its kind, so that damage is told in one sentence. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from lorabound.certificates.methods import METHODS
from lorabound.data import Empty
from lorabound.errors import InputError
from lorabound.sweeps.records import AdapterTask

_Words = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=10_000)]
_Place = Annotated[str, Field(min_length=1, max_length=4_000, pattern=r"^[^\x00]+$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Level = Annotated[float, Field(gt=0, lt=1)]
_Count = Annotated[int, Field(ge=1, lt=2**53)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Number = Annotated[float, Field(gt=-1e6, lt=1e6)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class _Bound(_Part):
    value: _Number
    kind: Literal["risk", "gain"]
    delta: _Level
    n_samples: Annotated[float, Field(ge=1, lt=2**53)]
    terms: dict[_Words, float]
    combine: _Words
    theorem: _Words
    predictor: _Words
    scope: Literal["single run", "expectation", "uniform"]
    assumptions: list[_Words]
    trivial: _Number
    direction: Literal["upper", "lower"]
    inputs: dict[_Words, Any]
    vacuous: bool


class _Statement(_Part):
    method: _Words
    speaks_of: _Words
    bound: _Bound
    error: _Share
    seconds: Annotated[float, Field(ge=0, lt=1e9)]
    record: dict[_Words, Any]
    files: dict[_Words, _Hash]
    notes: list[_Words]


class _Rows(_Part):
    name: _Place
    n: _Count
    sha256: _Hash


class _Table(_Part):
    name: _Place
    n: _Count
    sha256: list[_Hash]
    predicted: Annotated[list[_Name], Field(min_length=1)]
    label_column: _Name


class _Read(_Part):
    text_column: _Name | None
    label_column: _Name
    empty: Empty
    rename_labels: dict[_Words, _Words]


class _Folder(_Part):
    folder: _Place
    sha256: dict[_Words, _Hash]


class _Choice(_Folder):
    name: _Words


class _Model(_Part):
    name: _Place
    sha256: _Hash


class _Task(AdapterTask):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Subject(_Part):
    adapter: _Folder
    model: _Model
    task: _Task
    read: _Read
    data: _Rows | None = None
    holdout: _Rows | None = None
    min_class_rows: Annotated[int, Field(ge=2, lt=2**53)] = 2
    candidates: _Count = 1
    choices: list[_Choice] = []


class _Answers(_Part):
    table: _Table


class _Training(_Part):
    loss: Literal["error", "wrong_tokens", "probability"]
    model: _Words
    n_params: Annotated[int, Field(ge=0, lt=2**53)]
    rows: _Count
    step_rows: _Count
    order_sha256: _Hash | None


class _Trained(_Part):
    training: _Training
    kept: _Folder | None = None
    min_class_rows: Annotated[int, Field(ge=2, lt=2**53)] = 2
    candidates: _Count = 1


def _kind(value: Any) -> str:
    kinds = ("table", "training") if isinstance(value, dict) else ()
    return next((kind for kind in kinds if kind in value), "subject")


class _Certificate(_Part):
    format: int
    lorabound: _Words
    name: _Words
    delta: _Level
    of: Annotated[
        Annotated[_Answers, Tag("table")] | Annotated[_Trained, Tag("training")] | Annotated[_Subject, Tag("subject")],
        Discriminator(_kind),
    ]
    statements: Annotated[list[_Statement], Field(min_length=1)]
    zero_shot: _Statement | None
    gain: _Bound | None
    gain_by: _Words | None
    notes: list[_Words]
    assumptions: list[_Words]
    sha256: _Hash

    @model_validator(mode="after")
    def _together(self) -> _Certificate:
        """What one field says of another."""
        methods = [one.method for one in self.statements]
        if unknown := [name for name in methods if name not in METHODS]:
            raise ValueError(f"there is no method {unknown[0][:40]!r}")
        if len(set(methods)) < len(methods):
            raise ValueError("a method stands twice, and every one of them is paid for once")
        if self.zero_shot and self.zero_shot.method != "zero-shot":
            raise ValueError("the line to beat is not of the model without an adapter")
        if (self.gain is None) != (self.gain_by is None) or (self.gain_by is not None and self.gain_by not in methods):
            raise ValueError("a gain comes with the method that shows it, one of those of the certificate")
        if any(one.bound.kind != "risk" or one.bound.direction != "upper" for one in self.statements):
            raise ValueError("a limit is an upper bound on an error")
        needs = {METHODS[name].needs for name in methods}
        if isinstance(self.of, _Answers):
            if methods != ["holdout"]:
                raise ValueError("a table of answers is certified by holdout")
        elif isinstance(self.of, _Trained):
            if methods != ["progressive"] or self.zero_shot or self.gain:
                raise ValueError("a training loop is certified by progressive alone")
        elif (self.zero_shot is None) != (self.of.data is None):
            raise ValueError("the line to beat comes with the rows it is measured on")
        elif self.of.model.name != self.of.task.model or any(
            (one.folder, one.sha256) != (self.of.adapter.folder, self.of.adapter.sha256)
            for one in self.of.choices
            if one.name == self.name
        ):
            raise ValueError("it names its model or its adapter twice, not in the same way")
        elif (self.of.holdout is None) == ("fresh rows" in needs) or (self.of.data is None) == bool(
            needs - {"fresh rows"}
        ):
            raise ValueError("the rows that its methods use are not named, or others are")
        return self


def check_record(record: dict[str, Any], path: object) -> None:
    """See that a record holds the fields of a certificate, each of its kind.

    Raises:
        InputError: one is missing, unknown or of another kind; it is named.
    """
    try:
        _Certificate.model_validate(record)
    except (ValidationError, OverflowError) as error:
        if isinstance(error, OverflowError):
            raise InputError(f"{path} is no certificate: it holds a number that is too large") from None
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("table", "training", "subject"))
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{path} is no certificate: {where + ': ' if where else ''}{said[:1].lower()}{said[1:]}"
        ) from None
