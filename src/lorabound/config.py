"""One kind of settings for every command: YAML and flags become one checked record; faults are told in sentences.

A settings class is a :class:`Settings` whose fields are made by :func:`setting`. A field holds its default, its limits,
its sentence of help and the group it is shown in; the command line makes its options from them.

    >>> class Baking(Settings):
    ...     degrees: int = setting(180, "Temperature of the oven.", MODEL, ge=50)
    >>> read_settings(Baking, None, {"degrees": 200})
    Baking(degrees=200)
    >>> read_settings(Baking, None, {"degree": 20})
    Traceback (most recent call last):
        ...
    lorabound.errors.InputError: options: there is no setting 'degree': did you mean degrees?
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from lorabound.errors import InputError
from lorabound.faults import explain

# Groups of settings, as a reader of --help meets them.
DATA, MODEL, ADAPTERS, TRAINING, RESOURCES = "Data", "Model", "Adapters", "Training", "Resources"
BOUNDS, SIMULATION = "Guarantees", "Simulation"


# Bytes of a file of settings, and entries in all its lists.
# Endings of files that hold rows of data and no settings; JSON is YAML as well.
_ROWS = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
_LARGEST, _MOST_ENTRIES = 2**20, 100_000


class Settings(BaseModel):
    """What a command is asked to do: keyword-only, frozen, without unknown names.

    ``ALTERNATIVES`` holds pairs of fields of which one is given: a flag of one overrules the other in a file, and both
    at once are refused.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    ALTERNATIVES: ClassVar[tuple[tuple[str, str], ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Let ``help`` of the class say what each setting does, and its signature names and defaults alone."""
        cls.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if field.is_required() else field.default,
                )
                for name, field in cls.model_fields.items()
            ]
        )
        lines = [f"    {name}: {help_of(field)}" for name, field in cls.model_fields.items()]
        cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Settings:", *lines])

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(explain(error.errors(), list(type(self).model_fields))) from None


class SettingsError(InputError):
    """What is wrong with settings; ``sentences`` holds it by the name of the setting."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        super().__init__("; ".join(sentences.values()))
        self.sentences = dict(sentences)


Kind = TypeVar("Kind", bound=Settings)
Source = str | PathLike[str] | Settings | None


def setting(
    default: Any, help: str, group: str, *, shown: str | None = None, flag: str | None = None, **limits: Any
) -> Any:
    """A field of a :class:`Settings`.

    Args:
        default: value where none is given.
        help: sentence on what the setting does.
        group: heading it stands under in ``--help``.
        shown: the default in words, where the value does not say it, as "70% of the free memory".
        flag: name of the option, where it is not that of the field with dashes.
        limits: limits as ``pydantic.Field`` takes them: ge, gt, le, lt, min_length, strict, ...
    """
    return Field(default, description=help, json_schema_extra={"group": group, "shown": shown, "flag": flag}, **limits)


def flag_of(kind: type[Settings], name: str) -> str:
    """The option of a field: its own, or its name with dashes."""
    about = kind.model_fields[name].json_schema_extra
    assert isinstance(about, dict), "a field of settings is made by setting()"
    return str(about["flag"] or f"--{name.replace('_', '-')}")


def help_of(field: FieldInfo, default: Any = None) -> str:
    """The sentence of help of a setting, with its default: ``default``, or its own."""
    shown = _in_words(field, default)
    return f"{field.description} [default: {shown}]" if shown else str(field.description)


def _in_words(field: FieldInfo, default: Any) -> str:
    """A default as one would type it, or what it was said to be; "" where there is nothing to type."""
    shown = field.json_schema_extra["shown"] if isinstance(field.json_schema_extra, dict) else None
    value = field.default if default is None else default
    if shown and default is None:
        return str(shown)
    if value is None or value is False or value == {} or field.is_required():
        return ""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def list_of(convert: type) -> BeforeValidator:
    """Accept a list, one value, or the comma-separated text of a flag; None stays."""
    return BeforeValidator(partial(split_at_commas, convert))


def split_at_commas(convert: type, value: Any) -> Any:
    """The entries of a flag such as "1,2,4"; what is no text becomes a list as it is."""
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


def _without_repeats(values: Any) -> Any:
    if values is not None and len(set(values)) != len(values):
        raise ValueError(f"it names a value twice: {', '.join(map(str, values))}")
    return values


once = AfterValidator(_without_repeats)
"""Of a list: no value stands in it twice."""


def read_settings(kind: type[Kind], source: Source, flags: Mapping[str, Any]) -> Kind:
    """The settings of a YAML file, or settings that are there, with the flags that were given laid over them.

    Args:
        kind: class of the settings.
        source: path of a YAML file of ``name: value`` lines, settings, or None for the defaults.
        flags: values by the name of the field; None stands for a flag that was not given.
    Raises:
        InputError: a missing or malformed file, an unknown name, a value out of range; all of them named.
    """
    return checked(kind, read_record(kind, source, flags), source, flags)


def read_record(kind: type[Settings], source: Source, flags: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`read_settings`, before the values are checked.

    Raises:
        InputError: a missing or malformed file, or both of two alternatives.
    """
    if isinstance(source, Settings):
        record = source.model_dump(exclude_none=True)
    else:
        record = {} if source is None else read_yaml(source)
    given = {name: value for name, value in flags.items() if value is not None}
    for pair in kind.ALTERNATIVES:
        for one, other in (pair, pair[::-1]):
            if one in given and other not in given:
                record.pop(other, None)
    record.update(given)
    for one, other in kind.ALTERNATIVES:
        if not isinstance(source, Settings) and record.get(one) is not None and record.get(other) is not None:
            raise InputError(f"{origin(source)}: give {one} or {other}, not both")
    return record


def checked(kind: type[Kind], record: Mapping[str, Any], source: Source, flags: Collection[str] = ()) -> Kind:
    """A plain record as settings.

    Args:
        record: values by the name of the setting.
        source: origin of the settings, for messages.
        flags: names of the settings that come from options.
    Raises:
        InputError: an unknown name or a value out of range; all of them named, with where they stand.
    """
    try:
        return kind(**record)
    except SettingsError as error:
        places: dict[str, list[str]] = {}
        for name, sentence in error.sentences.items():
            places.setdefault("options" if name in flags else origin(source), []).append(sentence)
        raise InputError("; ".join(f"{place}: {'; '.join(said)}" for place, said in places.items())) from None


def origin(source: Source) -> str:
    """Where values stand, for a message."""
    return "options" if source is None or isinstance(source, Settings) else str(source)


def read_yaml(path: str | PathLike[str], example: str = "ranks: [1, 2, 4]") -> dict[str, Any]:
    """The ``name: value`` lines of a YAML file; dashes in names become underscores.

    Args:
        example: line that such a file may hold, for messages.
    Raises:
        InputError: the file is missing, not YAML, holds something else, or says one thing twice.
    """
    try:
        if (size := Path(path).stat().st_size) > _LARGEST:
            raise InputError(f"{path} has {size:,} bytes: settings are some lines of  {example}")
        if Path(path).suffix.lower() in _ROWS:
            raise InputError(
                f"{path} is a file of rows, and settings are wanted here: give a YAML file of lines such as  {example}"
            )
        text = Path(path).read_text(encoding="utf-8")
        loaded = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"no configuration at {path} ({error.strerror})") from None
    except RecursionError:
        raise InputError(f"{path} is not valid YAML: it is nested too deeply") from None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: a date or a number that is none
        raise InputError(f"{path} is not valid YAML{_place(error)}: expected lines such as  {example}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected 'name: value' lines, such as  {example}")
    if _depth(loaded, 20):
        raise InputError(f"{path} is nested too deeply for settings: expected lines such as  {example}")
    lines: dict[str, list[int]] = {}
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(top, yaml.MappingNode)  # as a dict came of it
    for key, _ in top.value:
        lines.setdefault(str(key.value).replace("-", "_"), []).append(key.start_mark.line + 1)
    if twice := {name: found for name, found in lines.items() if len(found) > 1}:
        said = "; ".join(f"{name} (lines {', '.join(map(str, found))})" for name, found in twice.items())
        raise InputError(f"{path}: stands more than once: {said}: keep one line of each")
    return {str(name).replace("-", "_"): value for name, value in loaded.items()}


def _place(error: Exception) -> str:
    """Where a YAML file is wrong, and in how far, in brackets; "" where that is not known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return f" ({' '.join(str(error).split())[:200]})"
    return f" (line {mark.line + 1}: {problem})"


def _depth(value: Any, most: int) -> bool:
    """Whether lists and mappings hold one another more than ``most`` deep, or more entries than anybody writes: a few
    lines of YAML that name each other may stand for more entries than there are atoms."""
    level, count = [value], 0
    for _ in range(most):
        level = [
            entry
            for one in level
            if isinstance(one, dict | list | tuple | set)
            for entry in (one.values() if isinstance(one, dict) else one)
        ]
        count += len(level)
        if not level:
            return False
        if count > _MOST_ENTRIES:
            return True
    return True
