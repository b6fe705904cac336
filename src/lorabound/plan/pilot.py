"""What a small sweep forecasts for a large one: a power law a mode, and how it did on cells held out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from lorabound.errors import InputError
from lorabound.notation import Mode
from lorabound.plan.limits import trainable
from lorabound.plan.shapes import Shapes
from lorabound.report import Summary, summarize
from lorabound.stats import HeldOut, PowerLaw, fit_power_law, leave_largest_out, leave_one_cell_out
from lorabound.sweep import ZERO_SHOT, Store

LEVEL = 0.8


@dataclass(frozen=True)
class ModeForecast:
    """The law of one mode's gap in 0-1 error.

    Attributes:
        law: None where it cannot be fitted; ``reason`` then says why.
        held_out: every cell forecast from the others; None without a law.
        largest_rank, largest_n: the cells of the largest rank (N) forecast from the smaller.
    """

    mode: str
    law: PowerLaw | None
    reason: str = ""
    held_out: HeldOut | None = None
    largest_rank: HeldOut | None = None
    largest_n: HeldOut | None = None


@dataclass(frozen=True)
class Pilot:
    """A sweep, read for a plan."""

    summary: Summary
    forecasts: dict[str, ModeForecast]

    @property
    def n_classes(self) -> int:
        return len(self.summary.about["classes"])

    @property
    def ceiling(self) -> float:
        """The largest test error of a cell: a gap, test minus training error, is never above the test error."""
        return max(cell.test["error"] for cell in self.summary.cells)


def read_pilot(store: Store) -> Pilot:
    """Fit a law to each mode's cells.

    Raises:
        InputError: no finished run with an adapter.
    """
    summary = summarize(store)
    gaps: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in summary.rows:
        if (
            row.status == "done"
            and row.mode != ZERO_SHOT
            and row.test_error is not None
            and row.train_error is not None
        ):
            gaps[row.mode][row.rank, row.n_train].append(row.test_error - row.train_error)
    if not gaps:
        raise InputError(f"pilot {store.folder} holds no finished run of an adapter: run the sweep again to go on")
    return Pilot(summary, {mode: _forecast(mode, cells) for mode, cells in sorted(gaps.items())})


def check_same_layers(pilot: Pilot, shapes: Shapes) -> None:
    """A pilot on other layers forecasts nothing here.

    Raises:
        InputError: its numbers of trainable parameters are not those of ``shapes``.
    """
    for cell in pilot.summary.cells:
        if cell.mode == ZERO_SHOT:
            continue
        mode: Mode = cell.mode  # type: ignore[assignment]
        if (expected := trainable(shapes, mode, cell.rank)) != cell.n_params:
            raise InputError(
                f"the pilot trains {cell.n_params:,} parameters in {mode} at rank {cell.rank}, the layers of this plan "
                f"{expected:,}: plan for the layers of the pilot, or give no --pilot"
            )


def _forecast(mode: str, cells: dict[tuple[int, int], list[float]]) -> ModeForecast:
    ranks, sizes = [r for r, _ in cells], [n for _, n in cells]
    gaps = list(cells.values())
    try:
        law = fit_power_law(ranks, sizes, gaps)
    except InputError as error:
        return ModeForecast(mode, None, str(error).split(": ", 1)[1])
    return ModeForecast(
        mode,
        law,
        held_out=leave_one_cell_out(ranks, sizes, gaps, LEVEL),
        largest_rank=leave_largest_out(ranks, sizes, gaps, "rank", LEVEL),
        largest_n=leave_largest_out(ranks, sizes, gaps, "n_train", LEVEL),
    )
