"""Everything the figures show, measured here: worst case, lower bound, trained adapters, concentration.

What was measured is kept in the directory, so that a second call, or one after an interruption, goes on from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorabound.errors import StoreError
from lorabound.files import make_folder
from lorabound.modes import PEFT_MODES
from lorabound.reports.complexity import JSON as COMPLEXITY
from lorabound.reports.complexity import write_complexity
from lorabound.reports.spread import write_spread
from lorabound.stats import Exponent
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.spread import read_spread
from lorabound.sweeps.summary import Summary, summarize
from lorabound.worst_case.measured.complexity import (
    Complexity,
    ComplexityGrowth,
    ComplexityRow,
    measure_complexity,
)
from lorabound.worst_case.measured.family import About
from lorabound.worst_case.options import ComplexityConfig

SWEEP, SPREAD = "sweep", "spread"


@dataclass(frozen=True)
class Evidence:
    """What the figures are drawn from.

    Attributes:
        complexity: worst case of a small network and of a class whose supremum is known, beside bounds.
        trained: a sweep of the sentence encoder over rank and N.
        gaps: 0-1 gaps of single runs by mode, over draws of the factor and of the sample.
        guarantee: 1/(2 sqrt N) at the N of ``gaps``.
    """

    complexity: Complexity
    trained: Summary
    gaps: dict[str, list[float]]
    guarantee: float

    @property
    def families(self) -> list[About]:
        """The families of ``complexity``, first those whose worst case is known."""
        known = {row.family for row in self.complexity.rows if row.exact is not None}
        return sorted(self.complexity.families, key=lambda about: about.name not in known)


def gather(folder: str | Path, quick: bool = False, observe: Callable[[str], None] = lambda _: None) -> Evidence:
    """Measure what ``folder`` does not hold yet.

    Args:
        folder: folder that everything is kept in.
        quick: smaller grids, for a look.
        observe: is told what is being measured.
    Raises:
        DataError, ModelError: model or data are missing.
        OutputError: ``folder`` cannot be written.
    """
    folder = make_folder(folder)
    observe("worst case")
    complexity = _complexity(folder, quick, observe)
    observe("trained adapters")
    grid: dict[str, Any] = {"ranks": [1, 2, 4, 8, 16, 32], "n_train": [64, 128, 256, 512], "seeds": 3}
    if quick:
        grid = {"ranks": [1, 4, 16], "n_train": [32, 128], "seeds": 2, "n_test": 300, "layers": [5]}
    trained = SweepConfig(**grid)
    store = run_sweep(trained, folder / SWEEP, lambda state: observe(f"{state.runs_done} of {state.runs_total} runs"))
    observe("concentration of single runs")
    small: dict[str, Any] = (
        {"n_test": 300, "layers": [5], "n_train": [64]} if quick else {"n_test": 1000, "n_train": [128]}
    )
    base = SweepConfig(ranks=[8], modes=list(PEFT_MODES), **small)
    n_draws = 3 if quick else 8
    base = base.model_copy(update={"seeds": list(range(n_draws)), "samples": n_draws})
    crossed = read_spread(
        run_sweep(base, folder / SPREAD, lambda state: observe(f"{state.runs_done} of {state.runs_total} runs"))
    )
    write_spread(crossed, folder)
    gaps: dict[str, list[float]] = {
        spread.mode: spread.gaps.flatten().tolist() for spread in crossed.spreads if spread.loss == "error"
    }
    return Evidence(complexity, summarize(store), gaps, 1 / (2 * math.sqrt(base.sizes[0])))


def _complexity(folder: Path, quick: bool, observe: Callable[[str], None]) -> Complexity:
    settings = ComplexityConfig(ranks=[1, 4, 16], n_train=[64, 256], signs=8, steps=60) if quick else ComplexityConfig()
    path = folder / COMPLEXITY
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["settings"] == settings.model_dump(mode="json"):
                return _read(record, settings)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} cannot be read ({error}): move it away") from None
    measured = measure_complexity(settings, observe)
    write_complexity(measured, folder)
    return measured


def _read(record: dict[str, Any], settings: ComplexityConfig) -> Complexity:
    rows = []
    for row in record["rows"]:
        del row["vacuous"]
        rows.append(ComplexityRow(**{**row, "values": tuple(row["values"])}))
    growth = []
    for entry in map(_nan, record["growth"]):
        entry["exponent"] = Exponent(**_nan(entry["exponent"]))
        growth.append(ComplexityGrowth(**entry))
    families = tuple(About(**about) for about in record["families"])
    return Complexity(settings=settings, families=families, rows=rows, growth=growth)


def _nan(record: dict[str, Any]) -> dict[str, Any]:
    """The null of JSON as nan."""
    return {name: math.nan if value is None else value for name, value in record.items()}
