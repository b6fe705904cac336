"""What a mistyped command is told: one sentence that says what was meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from lorabound.config import flag_of
from lorabound.errors import InputError
from lorabound.faults import did_you_mean

# Typer keeps a copy of click's errors to itself; this is the base of those about how a command was typed.
UsageError: Any = typer.BadParameter.__base__

# What the help calls an option that takes several values with commas between them.
LIST = "<list>"
# What the parser's messages call values, and what people do.
_NUMBERS = {"integer": "a whole number", "number": "a number", "float": "a number", "boolean": "yes or no"}
# Settings of other programs that are not ours in another unit.
_UNITS = {"lora_alpha": "alpha divided by the rank", "alpha": "alpha divided by the rank"}
_CONFIGURATIONS = (".yaml", ".yml")
_DATA = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".xlsx", ".arrow")


def explain_usage(error: Any, typed: Sequence[str]) -> str:
    """The sentence for an error of the command line's parser; ``typed`` is what follows the program's name."""
    context = error.ctx
    command = context.command_path if context else "lorabound"
    see = f"see  {command} --help"
    spaced = listed_with_spaces(typed, context)
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return _no_such_option(error, command, see)
    if spaced:
        return spaced
    if kind == "MissingParameter" and getattr(error, "param", None) is not None:
        return f"{command} needs {_name_of(error.param)}: {see}"
    said = error.format_message().rstrip(".")
    param = getattr(error, "param", None)
    if param is not None:
        wanted = next((what for word, what in _NUMBERS.items() if word in said), "another value")
        given = _value_of(typed, param.opts)
        if given is not None:
            return f"{max(param.opts, key=len)} takes {wanted}, not {given!r}"
    if kind == "BadOptionUsage":
        said = said.replace("Option ", "").replace("requires an argument", "needs a value").replace("'", "")
    if found := re.match(r"No such command '(.*?)'", said):
        if _is_data(found[1]):
            return f"{found[1]} is data: did you mean  lorabound sweep --data {shlex.quote(found[1])} --out DIR ?"
        return f"{said[0].lower()}{said[1:].rstrip('?')}{'?' if said.endswith('?') else f': {see}'}"
    return f"{said[0].lower()}{said[1:]}: {see}"


def refuse_no_configuration(config: Path | None, typed: Sequence[str], context: Any) -> None:
    """An argument for settings that is no YAML file: values of an option given with spaces, or data.

    Raises:
        InputError: with what was probably meant.
    """
    if config is None:
        return
    spaced = None if config.is_file() else listed_with_spaces(typed, context)
    if spaced:
        raise InputError(spaced)
    if config.suffix.lower() not in _CONFIGURATIONS and _is_data(str(config)):
        raise InputError(
            f"{config} is data, not a YAML file of settings: did you mean --data {shlex.quote(str(config))} ?"
        )


def listed_with_spaces(typed: Sequence[str], context: Any) -> str | None:
    """A sentence that names --ranks 1,8 where --ranks 1 8 was typed; None where no list was typed like that."""
    params = context.command.params if context else []
    lists = {option for param in params if param.metavar == LIST for option in param.opts}
    for at, word in enumerate(typed):
        name, has_value, first = word.partition("=")
        if name not in lists:
            continue
        values = [first] if has_value else []
        for following in typed[at + 1 :]:
            if following.startswith("--") or Path(following).suffix.lower() in _CONFIGURATIONS:
                break
            values.append(following)
        parts = [part for value in values for part in value.split(",") if part.strip()]
        if len(values) > 1:
            meant = f"{name} {','.join(parts)}"
            return f"the values of {name} go with commas between them and no spaces: did you mean {meant} ?"
    return None


def _no_such_option(error: Any, command: str, see: str) -> str:
    context = error.ctx
    params = context.command.params if context else []
    known = {opt.lstrip("-").replace("-", "_"): opt for param in params for opt in param.opts if opt.startswith("--")}
    known.pop("help", None)
    option = error.option_name
    if set(known) <= {"version"}:
        return f"there is no option {option} before a command: options follow the command, as  lorabound sweep {option}"
    from lorabound.sweeps.config import SweepConfig

    if option in {flag_of(SweepConfig, name) for name in SweepConfig.model_fields}:
        return f"{command} has no option {option}, which is one of  lorabound sweep: {see}"
    meant = did_you_mean(option, list(known))
    if meant is None:
        return f"{command} has no option {option}: {see}"
    unit = _UNITS.get(option.lstrip("-").replace("-", "_"))
    return f"{command} has no option {option}: did you mean {known[meant]}{f' ({unit})' if unit else ''} ?"


def _is_data(text: str) -> bool:
    from lorabound.data import NAMED

    path = Path(text)
    return text in NAMED or text == "words" or path.suffix.lower() in _DATA or path.is_dir()


def _name_of(param: Any) -> str:
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.name).upper()


def _value_of(typed: Sequence[str], options: Sequence[str]) -> str | None:
    for at, word in enumerate(typed):
        name, has_value, value = word.partition("=")
        if name in options:
            return value if has_value else next(iter(typed[at + 1 :]), None)
    return None
