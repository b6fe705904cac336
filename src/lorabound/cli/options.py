"""Options made from settings: name, type, default and sentence of help stand in the settings class, and nowhere else.

    @app.command(cls=Grouped)
    @takes(options(SweepConfig))
    def sweep(flags: Flags, config: ConfigFile = None) -> None: ...

has one option for every field of ``SweepConfig``. Those that were given come to ``flags``, by the names of fields.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from lorabound.cli.usage import LIST
from lorabound.config import Settings, flag_of, help_of

Flags = dict[str, Any]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file of settings, one 'name: value' per line; options overrule it."),
]


def sections(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Arguments and options of a command with their help, under the headings of their groups."""
    found: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            heading = "Arguments" if param.param_type_name == "argument" else "Options"
            found.setdefault(getattr(param, "rich_help_panel", None) or heading, []).append(record)
    return found


class Grouped(TyperCommand):
    """A command whose ``--help`` shows options under the headings of their groups, its own options first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        for heading, records in sections(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def options(
    kind: type[Settings],
    names: Iterable[str] | None = None,
    *,
    leave_out: Iterable[str] = (),
    group: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> list[inspect.Parameter]:
    """Options for the fields of a settings class.

    Args:
        kind: class of the settings.
        names: fields that get an option, in this order; None takes all.
        leave_out: fields that get none.
        group: heading of all of them, in place of their own groups.
        defaults: defaults of this command, where they are not those of the class; for show only.
    """
    fields = kind.model_fields
    chosen = list(fields) if names is None else list(names)
    return [
        _option(flag_of(kind, name), name, fields[name], group, (defaults or {}).get(name))
        for name in chosen
        if name not in set(leave_out)
    ]


def takes(*made: list[inspect.Parameter]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command function with ``made`` options; those that were given come as its argument ``flags``."""
    parameters = [parameter for several in made for parameter in several]
    names = [parameter.name for parameter in parameters]

    def decorate(handler: Callable[..., None]) -> Callable[..., None]:
        own = [p for name, p in inspect.signature(handler, eval_str=True).parameters.items() if name != "flags"]

        def command(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            handler(flags={name: value for name, value in flags.items() if value is not None}, **given)

        signed = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *parameters]
        command.__signature__ = inspect.Signature(signed)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signed}
        command.__name__, command.__doc__ = handler.__name__, handler.__doc__
        return command

    return decorate


def _option(flag: str, name: str, field: FieldInfo, group: str | None, default: Any) -> inspect.Parameter:
    about = _about(field)
    kind = _kind(field.annotation)
    made = typer.Option(
        flag,
        help=help_of(field, default),
        rich_help_panel=group or about["group"],
        show_default=False,
        metavar={list: LIST, dict: "<old=new>", Literal: "<name>"}.get(kind),
    )
    parsed: Any = {bool: bool, int: int, float: float, dict: list[str]}.get(kind, str)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[parsed | None, made]
    )


def _about(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "a field of settings is made by setting()"
    return extra


def _kind(annotation: Any) -> Any:
    """list, dict, Literal, bool, int, float or str: what an option of a field holds; None beside it does not count."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    return list if origin is tuple else origin or annotation
