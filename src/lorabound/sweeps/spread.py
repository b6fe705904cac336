"""The crossed design on the real model: every draw of the frozen factor trained on every training sample.

S disjoint samples of N examples are cut from one shuffled pool, so they are independent draws from the population.
Each of F draws of the random factor is trained on each of them, with an order of examples of its own: the chance in
that order is part of the interaction. All runs are measured on the same test examples.

    gap[f, s] = mean + factor_f + sample_s + rest_fs + test noise        (``lorabound.stats.variance_components``)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from lorabound.arguments import Array
from lorabound.engine import Examples, Pool, Recipe, Trained, WithPrefix, keep_freed_memory, train
from lorabound.errors import InputError, ModelError
from lorabound.modes import LARGEST_MODE, Mode
from lorabound.stats import VarianceComponents, shared_test_noise, variance_components
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.task import load_task

# Losses whose gap is taken apart, 0-1 and 1 - p(correct): both in [0, 1], as the guarantee needs.
LOSSES = ("error", "risk")


@dataclass(frozen=True)
class SpreadConfig:
    """F draws of the frozen factor x S training samples, for each mode, at one rank and one N.

    Raises:
        InputError: fewer than 3 of either, or a ``base`` of more than one rank or N.
    """

    base: SweepConfig
    n_factors: int = 8
    n_samples: int = 8

    def __post_init__(self) -> None:
        if len(self.base.ranks) != 1 or len(self.base.sizes) != 1:
            raise InputError("a crossed design has one rank and one training size: give one --rank and one --n-train")
        if self.base.shots:
            raise InputError(
                "a crossed design needs samples of the population as it is: give n_train in place of shots"
            )
        if min(self.n_factors, self.n_samples) < 3:
            raise InputError(f"need at least 3 factors and 3 samples, got {self.n_factors} and {self.n_samples}")

    @property
    def record(self) -> dict[str, Any]:
        """As JSON values; an infinite setting is null."""
        base = self.base.model_dump(mode="json")
        plain = {name: None if value == math.inf else value for name, value in base.items()}
        return {"sweep": plain, "n_factors": self.n_factors, "n_samples": self.n_samples}


@dataclass(frozen=True)
class ModeSpread:
    """The gaps of one mode in one loss, (F, S), and where their spread comes from."""

    mode: Mode
    loss: str
    gaps: Array
    variance: VarianceComponents


@dataclass(frozen=True)
class Crossed:
    """The result of a crossed design; ``n_diverged`` runs make their mode be left out.

    Attributes:
        notes: sentences on what was unusual about the model, and on texts that were cut.
    """

    settings: SpreadConfig
    n_test: int
    precision: str
    spreads: list[ModeSpread]
    left_out: list[Mode]
    notes: tuple[str, ...] = ()

    def frame(self) -> pl.DataFrame:
        """One row per run and loss: mode, loss, number of the factor, number of the sample, gap."""
        return pl.DataFrame(
            [
                (spread.mode, spread.loss, factor, sample, float(gap))
                for spread in self.spreads
                for (factor, sample), gap in np.ndenumerate(spread.gaps)
            ],
            {"mode": pl.String, "loss": pl.String, "factor": pl.Int64, "sample": pl.Int64, "gap": pl.Float64},
            orient="row",
        )


def measure_spread(settings: SpreadConfig, observe: Callable[[str], None] = lambda _: None) -> Crossed:
    """Train the design and take the variance of the gap apart.

    Raises:
        DataError, ModelError, InputError, AdapterError: the configuration cannot be carried out.
    """
    config, n_factors, n_samples = settings.base, settings.n_factors, settings.n_samples
    (n_train,), (rank,) = config.sizes, config.ranks
    keep_freed_memory()
    task = load_task(config, n_samples * n_train, observe)
    config, classifier, shapes, test_set = task.config, task.classifier, task.shapes, task.test_set
    cuts = [slice(s * n_train, (s + 1) * n_train) for s in range(n_samples)]
    samples = [Examples(classifier.prepare(task.data.train_examples[cut]), task.data.train_labels[cut]) for cut in cuts]
    recipe = Recipe(**{field.name: getattr(config, field.name) for field in fields(Recipe)})
    runs = [(mode, factor) for mode in config.modes for factor in range(n_factors)]
    done: dict[tuple[str, int, int], Trained] = {}

    sets = [*(sample.inputs for sample in samples), test_set.inputs]
    with Pool(classifier, list(shapes), sets, n_samples * len(runs), config.memory) as pool:
        fits = pool.fit(task.new_adapter(rank, LARGEST_MODE, 0))

        def train_stack(worker: WithPrefix, job: tuple[int, list[tuple[Mode, int]]]) -> list[Trained]:
            s, members = job
            adapters = [task.new_adapter(rank, mode, f) for mode, f in members]
            orders = [f * n_samples + s for _, f in members]
            return train(worker, samples[s], test_set, adapters, orders, recipe, tokens_per_pass=fits.tokens_per_pass)

        jobs = [(s, runs[at : at + fits.width]) for s in range(n_samples) for at in range(0, len(runs), fits.width)]
        for (s, members), results in pool.run(jobs, train_stack):
            done |= {(mode, f, s): result for (mode, f), result in zip(members, results, strict=True)}
            observe(f"{len(done)} of {n_factors * n_samples * len(config.modes)} runs")
    spreads: list[ModeSpread] = []
    left_out: list[Mode] = []
    for mode in config.modes:
        grid = [[done[mode, f, s] for s in range(n_samples)] for f in range(n_factors)]
        if any(run.diverged for row in grid for run in row):
            left_out.append(mode)
            continue
        spreads += [_spread(mode, loss, grid, n_train) for loss in LOSSES]
    if not spreads:
        raise ModelError("every mode has runs that diverged: lower --lr")
    return Crossed(
        replace(settings, base=config), len(test_set.labels), classifier.precision, spreads, left_out, tuple(task.notes)
    )


def _spread(mode: Mode, loss: str, grid: list[list[Trained]], n_train: int) -> ModeSpread:
    test = np.array([[_test_losses(run, loss) for run in row] for row in grid])
    trained = np.array([[getattr(run.train, loss) for run in row] for row in grid])
    gaps = test.mean(axis=-1) - trained
    return ModeSpread(mode, loss, gaps, variance_components(gaps, shared_test_noise(test), float(n_train)))


def _test_losses(run: Trained, loss: str) -> Array:
    if loss == "error":
        return run.test.errors.astype(np.float64)
    return np.asarray(-np.expm1(-run.test.log_losses.astype(np.float64)))
