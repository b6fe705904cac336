"""Several sweeps side by side: in what they differ, which of them may be compared, and what a comparison shows.

Test errors are compared only where the test sets are the same rows with the same labels. The fingerprint of the data
says so: it is over classes, training pool and test set. Where it differs, it is said why nothing is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorabound.arguments import Array
from lorabound.bounds import Bound, holdout_bounded
from lorabound.errors import InputError
from lorabound.stats import Signs, signs
from lorabound.sweeps.cells import DELTA, Cell
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import n_choices, n_pairs
from lorabound.sweeps.records import read_rows
from lorabound.sweeps.summary import Summary
from lorabound.sweeps.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The best adapter of one sweep, at its largest training size, beside the best of all sweeps compared with it.

    Attributes:
        name: name of the sweep.
        verdict: answer of the sweep for that size.
        limit: hold-out limit on the error on new data, the choice among all choices of all sweeps with this test set
            counted, finished or not.
        examples: test examples that the best of all wins, loses and ties against this one, by the mean loss over the
            runs of each; None for the best itself.
        n_counted: number of those choices.
    """

    name: str
    verdict: Verdict
    limit: Bound
    examples: Signs | None
    n_counted: int

    @property
    def n_pairs(self) -> int:
        """Number of pairs among the choices counted."""
        return n_pairs(self.n_counted)

    @property
    def p_of_all(self) -> float | None:
        """P-value of the sign test times the number of pairs, which pays for picking both by the test examples."""
        return None if self.examples is None else min(1.0, self.n_pairs * self.examples.p)

    @property
    def is_beaten(self) -> bool:
        """Whether the best of all wins more examples against this one than it loses, beyond chance. With several runs
        the lower mean error may go with fewer examples won."""
        won = self.examples is not None and self.examples.won > self.examples.lost
        return won and self.p_of_all is not None and self.p_of_all < DELTA


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Several sweeps.

    Attributes:
        sweeps: the sweeps by name.
        differences: settings that differ, each with the value in every sweep.
        compared: groups of sweeps that have one test set, each with the best adapter of its sweeps, the best one first.
        reasons: why sweeps are not compared, one sentence for each pair of groups.
    """

    sweeps: Mapping[str, Summary]
    differences: Mapping[str, tuple[str, ...]]
    compared: tuple[tuple[Entry, ...], ...]
    reasons: tuple[str, ...]


def side_by_side(sweeps: Mapping[str, Summary]) -> SideBySide:
    """Put sweeps side by side.

    Args:
        sweeps: two sweeps or more, by name.
    Raises:
        InputError: fewer than two, or sweeps of completions beside sweeps of classes, whose errors are other things.
    """
    if len(sweeps) < 2:
        raise InputError(f"side by side: need two sweeps or more, got {len(sweeps)}")
    names, first = list(sweeps), next(iter(sweeps.values()))
    for name, summary in sweeps.items():
        if [loss.column for loss in summary.losses] != [loss.column for loss in first.losses]:
            raise InputError(
                f"{names[0]} and {name} measure other errors ({first.losses[0].title}, {summary.losses[0].title}): "
                "make a page of each with  lorabound report DIR"
            )
    groups: list[list[str]] = []
    for name in names:
        own = next((group for group in groups if not why_apart(sweeps[group[0]], sweeps[name])), None)
        if own is None:
            groups.append([name])
        else:
            own.append(name)
    return SideBySide(
        sweeps=sweeps,
        differences=_differences(sweeps),
        compared=tuple(_entries({name: sweeps[name] for name in group}) for group in groups if len(group) > 1),
        reasons=tuple(
            f"{', '.join(groups[0])} and {', '.join(other)}: {why_apart(sweeps[groups[0][0]], sweeps[other[0]])}."
            for other in groups[1:]
        ),
    )


def named(summaries: Sequence[Summary]) -> dict[str, Summary]:
    """Sweeps by the names of their folders, or by whole paths where two folders are called alike.

    Raises:
        InputError: a folder that is named twice.
    """
    folders = [Path(summary.folder) for summary in summaries]
    whole = [folder.resolve() for folder in folders]
    if len(set(whole)) < len(whole):
        twice = next(folder for folder in folders if whole.count(folder.resolve()) > 1)
        raise InputError(f"{twice} is named twice: name each sweep once")
    short = [path.name for path in whole]
    chosen = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    return dict(zip(chosen, summaries, strict=True))


def why_apart(one: Summary, other: Summary) -> str:
    """Why the test errors of two sweeps are not compared; "" where they have one test set and one meaning of error."""
    if one.config.data != other.config.data and one.about["data_sha256"] != other.about["data_sha256"]:
        return f"they are of other data ({one.config.data}, {other.config.data})"
    if one.about["data_sha256"] != other.about["data_sha256"]:
        sizes = (one.about["n_test"], other.about["n_test"])
        told = f" ({sizes[0]:,} and {sizes[1]:,} test rows)" if sizes[0] != sizes[1] else ""
        return f"their data are other rows or labels, or were divided otherwise{told}, so their test sets differ"
    rows = [read_rows(Path(summary.folder)) if summary.folder else None for summary in (one, other)]
    if rows[0] and rows[1] and rows[0].test != rows[1].test:
        return "their test rows differ"
    return ""


def _differences(sweeps: Mapping[str, Summary]) -> dict[str, tuple[str, ...]]:
    """Settings and versions that are not the same in all sweeps."""
    found = {}
    for name in SweepConfig.model_fields:
        values = [getattr(summary.config, name) for summary in sweeps.values()]
        if any(value != values[0] for value in values):
            found[name] = tuple(_said(value) for value in values)
    for name in ("model_sha256", "data_sha256", "engine"):
        values = [str(summary.about.get(name, "not recorded")) for summary in sweeps.values()]
        if len(set(values)) > 1:
            found[name] = tuple(value[:12] for value in values)
    for name in ("lorabound", "torch", "device", "machine"):
        values = [str(summary.about.get("environment", {}).get(name, "not recorded")) for summary in sweeps.values()]
        if len(set(values)) > 1:
            found[name] = tuple(values)
    return found


def _said(value: object) -> str:
    if value is None:
        return "not given"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _entries(sweeps: Mapping[str, Summary]) -> tuple[Entry, ...]:
    """The best adapter of each sweep, the lowest test error first."""
    answers = {name: summary.verdicts[0] for name, summary in sweeps.items() if summary.verdicts}
    count = sum(_counted(summary) for summary in sweeps.values())
    order = sorted(answers, key=lambda name: answers[name].best.test_loss)
    means = {name: _mean_losses(sweeps[name], answers[name].best) for name in order}
    return tuple(
        Entry(
            name=name,
            verdict=answers[name],
            limit=holdout_bounded(answers[name].best.test_loss, answers[name].n_test, DELTA / count),
            examples=signs(means[order[0]], means[name]) if name != order[0] else None,
            n_counted=count,
        )
        for name in order
    )


def _counted(summary: Summary) -> int:
    """Number of choices that a sweep brings to a comparison, finished or not."""
    if summary.verdicts:
        return summary.verdicts[0].n_counted
    return n_choices(summary.config, max(summary.config.sizes))


def _mean_losses(summary: Summary, cell: Cell) -> Array:
    """(n,) loss on each test example, the mean over the runs of a cell."""
    wanted = (cell.mode, cell.rank, cell.n_train, "done")
    rows = [row for row in summary.rows if (row.mode, row.rank, row.n_train, row.status) == wanted]
    return np.asarray(np.stack([summary.losses[0].test(row) for row in rows]).mean(axis=0), dtype=np.float64)
