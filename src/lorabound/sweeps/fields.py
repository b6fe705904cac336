"""Kinds of values that the settings of a sweep have: how each is read from YAML or an option, and what it may be."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lorabound.config import list_of, once, split_at_commas

LARGEST = 2**63 - 1  # what SQLite can hold


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
    return name if name and not name[0].isdigit() and not name.startswith("-") else split_at_commas(int, value)


def _prompt(value: str | None) -> str | None:
    """A sentence with one place for the name of a class."""
    if value is not None and value.count("{}") != 1:
        raise ValueError('a prompt needs {} exactly once, where the name of the class goes, as "A {} review."')
    return value


def _template(value: str | None) -> str | None:
    """A text with one place for an example's own."""
    if value is not None and value.count("{}") != 1:
        raise ValueError('a template needs {} exactly once, where the text goes, as "Review: {} Sentiment:"')
    return value


def _unlabelled(value: Any) -> Any:
    """None, a share in (0, 1), or the name of a file."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, int | float) and not 0 < value < 1:
        raise ValueError("a share of the data lies between 0 and 1, as 0.1; else give a file")
    return value


PositiveInts = Annotated[list[Annotated[int, Field(ge=1, strict=True)]], Field(min_length=1), list_of(int), once]
Layers = Annotated[Annotated[list[int], Field(min_length=1)] | str | None, BeforeValidator(_layers)]
# Beyond these a float32 step or logit overflows, whatever the data.
Positive = Annotated[float, Field(gt=0, le=1e6)]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0, le=LARGEST, strict=True)]],
    Field(min_length=1),
    list_of(int),
    BeforeValidator(_seeds),
    once,
]
Prompt = Annotated[str | None, AfterValidator(_prompt)]
Template = Annotated[str | None, AfterValidator(_template)]
Unlabelled = Annotated[str | float | None, BeforeValidator(_unlabelled)]
