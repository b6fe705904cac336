"""What a recommendation would train and how long that takes, before any of it is done."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lorabound.recommendations.config import RecommendConfig
from lorabound.recommendations.layout import Layout
from lorabound.recommendations.schedule import new_runs, stages
from lorabound.sweeps.grid import Run, runs_of


@dataclass(frozen=True, kw_only=True)
class Part:
    """Runs that are trained together, and the seconds they take."""

    what: str
    n_train: int
    n_runs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What would be trained.

    Attributes:
        budget: seconds that it may take.
        parts: learning rates, stages of pilots, the final adapter; in the order they come.
        precision: number format of the frozen model.
        tested_on: rows that the pilots are tested on, in words.
    """

    budget: float
    parts: tuple[Part, ...]
    precision: str
    tested_on: str

    @property
    def seconds(self) -> float:
        """Seconds in all, where the budget allows them."""
        return sum(part.seconds for part in self.parts)

    def frame(self) -> pl.DataFrame:
        """One row per part: what, training size, number of runs, seconds."""
        return pl.DataFrame(
            [
                {"what": one.what, "n_train": one.n_train, "n_runs": one.n_runs, "seconds": one.seconds}
                for one in self.parts
            ]
        )

    def __repr__(self) -> str:
        """Numbers of runs and seconds."""
        n_runs = sum(part.n_runs for part in self.parts)
        return f"Outlook: {n_runs} runs, {self.seconds:,.0f} seconds of a budget of {self.budget:,.0f}"


def outlook_of(asked: RecommendConfig, layout: Layout) -> Outlook:
    """Parts and times by the shapes of the model and the speed of this machine; no weight is read."""
    from lorabound.sweeps.estimate import estimate, passes_of  # imports torch

    config, sizes = layout.material.config, layout.sizes
    one_seed = config.model_copy(update={"n_train": sizes})
    whole = estimate(one_seed)
    runs = [run for run in runs_of(one_seed) if run.rank]
    rate = whole.seconds / sum(passes_of(config, run, layout.n_test) for run in runs)

    def seconds(size: int, count: int) -> float:
        return rate * count * passes_of(config, Run(1, config.modes[0], size, 0), layout.n_test)

    n_candidates, lrs = len(config.modes) * len(config.ranks), asked.lrs or [config.lr] * 3
    n_seeds = sum(len(material.config.seeds) for material in layout.materials)
    parts = []
    if len(lrs) > 1:
        size, count = sizes[max(len(sizes) - 2, 0)], len(lrs) * len(config.modes)
        parts.append(Part(what="learning rates", n_train=size, n_runs=count, seconds=seconds(size, count)))
    for stage, count in new_runs(stages(sizes, n_candidates, n_seeds)):
        what = f"{stage.most} candidates" + (", more seeds if the best is not clear" if stage.if_open else "")
        parts.append(Part(what=what, n_train=stage.size, n_runs=count, seconds=seconds(stage.size, count)))
    if layout.refit:
        parts.append(Part(what="final adapter", n_train=layout.n_rows, n_runs=1, seconds=seconds(layout.n_rows, 1)))
    return Outlook(budget=asked.seconds, parts=tuple(parts), precision=whole.precision, tested_on=layout.tested_on)
