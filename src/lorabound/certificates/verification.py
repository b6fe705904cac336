"""What checking a certificate found, and when two statements count as the same. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lorabound.certificates.certificate import Statement

Outcome = Literal["same", "differs", "not shown"]
# Another machine rounds otherwise: this share of predictions may flip between two near-equal scores.
_FLIPS = 1e-3
# What of a bound must be the same.
_EXACT = (
    "kind",
    "direction",
    "delta",
    "n_samples",
    "theorem",
    "predictor",
    "scope",
    "assumptions",
    "trivial",
    "combine",
)
# Entries of a method's record that tell how something was found, on which no limit depends.
_HOW = ("tried",)
# Entries that count examples on which something was wrong.
_COUNTS = ("n_wrong", "errors")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that was checked.

    Attributes:
        what: the thing, in words.
        outcome: "same", "differs", or "not shown" where the files at hand cannot show it.
        detail: sentence on what was found.
    """

    what: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What checking a certificate found.

    Attributes:
        name: name of what the certificate is about.
        limit: best limit, computed again where it could be; None where no limit could.
        delta: probability that a limit is wrong.
        parts: everything that was checked, in order.
        assumptions: what no file can show.
    """

    name: str
    limit: float | None
    delta: float
    parts: tuple[Part, ...]
    assumptions: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing differs and at least one limit was computed again."""
        return self.limit is not None and all(part.outcome != "differs" for part in self.parts)

    def frame(self) -> pl.DataFrame:
        """One row per thing that was checked: ``what``, ``outcome``, ``detail``."""
        return pl.DataFrame(
            [(part.what, part.outcome, part.detail) for part in self.parts],
            schema={"what": pl.String, "outcome": pl.String, "detail": pl.String},
            orient="row",
        )

    def __repr__(self) -> str:
        """The outcome in one line; ``lorabound.show`` says the rest."""
        count = sum(part.outcome == "differs" for part in self.parts)
        if self.holds:
            return f"Verification: {self.name}, error on new data <= {self.limit:.4g} computed again, nothing differs"
        said = f"{count} of {len(self.parts)} parts differ" if count else "no limit could be computed again"
        return f"Verification: {self.name}, {said}"


def compared(recorded: Statement, again: Statement, what: str = "") -> Part:
    """A statement beside the same one computed again: counts and limits, levels, words and assumptions.

    Counts of errors may differ by one example in a thousand (or one), as scores that are nearly equal fall otherwise on
    another machine, and by what chance does to random draws; everything else must be the same.
    """
    what = what or f"limit by {recorded.method}"
    n = float(again.bound.n_samples)
    old, new = recorded.bound, again.bound
    pairs: dict[str, tuple[Any, Any]] = {
        "predictor in words": (recorded.speaks_of, again.speaks_of),
        "notes": (recorded.notes, again.notes),
        "names of terms": (sorted(old.terms), sorted(new.terms)),
    }
    pairs |= {name: (getattr(old, name), getattr(new, name)) for name in _EXACT}
    faults = [f"{name} is {a!r} there and {b!r} now" for name, (a, b) in pairs.items() if not _alike(a, b)]
    room = max(1.5 / n, _FLIPS, _of_draws(again)) + 1e-12  # rounding of the shares themselves
    if abs(recorded.error - again.error) > room:
        faults.append(f"its errors are {recorded.error:.6g} there and {again.error:.6g} now")
    elif abs(float(old.value) - float(new.value)) > 2 * room:
        faults.append(f"its limit is {float(old.value):.6g} there and {float(new.value):.6g} now")
    there = {name: value for name, value in recorded.record.items() if name not in _HOW}
    for name, one, other in (
        ("terms", old.terms, new.terms),
        ("inputs", old.inputs, new.inputs),
        ("record", there, {name: value for name, value in again.record.items() if name not in _HOW}),
    ):
        if not _near(one, other, room, max(n, *_draws(again))):
            faults.append(f"its {name} are not those computed now")
    if faults:
        return Part(what=what, outcome="differs", detail="; ".join(faults))
    exact = recorded.error == again.error and _alike(old.value, new.value)
    rounding = "" if exact else f" (there {float(old.value):.6g}: another machine rounds otherwise)"
    return Part(what=what, outcome="same", detail=f"computed again: {float(new.value):.6g}{rounding}")


def _of_draws(again: Statement) -> float:
    """How much an error that random draws measured may move when another machine draws other numbers: 4 deviations."""
    fewest = min(_draws(again))
    return 4 * math.sqrt(0.5 / fewest) if fewest else 0.0


def _draws(again: Statement) -> tuple[int, ...]:
    """Numbers of random draws, one for each stage; 0 for a method that draws nothing."""
    draws = again.record.get("draws", 0)
    return tuple(draws) if isinstance(draws, list | tuple) else (draws,)


def _alike(one: Any, other: Any) -> bool:
    """Equal, numbers up to rounding; a list from a file equals the tuple it was."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


def _near(one: Any, other: Any, room: float, n: float) -> bool:
    """Equal but for rounding: counts among n examples by as many as may flip, other shares by twice the share of them.

    Args:
        n: number of examples that an entry counts; 0 for one that counts none.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(
            _near(one[name], other[name], room, n if name in _COUNTS else 0.0) for name in one
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_near(a, b, room, 0.0) for a, b in zip(one, other, strict=True))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float | int) and isinstance(other, float | int):
        if n:
            return abs(one - other) <= room * n
        if isinstance(one, float) or isinstance(other, float):
            return abs(one - other) <= 2 * room * max(1.0, abs(one), abs(other))
    return bool(one == other)


def hashes(what: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> Part:
    """Files by their hashes: each name in both, with the same content."""
    changed = sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
    if changed:
        return Part(what=what, outcome="differs", detail=f"{', '.join(changed)} changed since the certificate was made")
    names = f"{len(found)} files" if len(found) > 1 else ", ".join(found)
    return Part(what=what, outcome="same", detail=f"{names} unchanged")
