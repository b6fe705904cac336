"""Where the spread of a single run's gap comes from, read from a sweep of several training samples.

S samples that share no example are cut from one shuffled pool, so they are independent draws from the population. Each
of F draws of the random factor (seeds) is trained on each of them, with an order of examples of its own: the chance in
that order is part of the interaction. All runs are measured on the same test examples.

    gap[f, s] = mean + factor_f + sample_s + rest_fs + test noise        (``lorabound.stats.variance_components``)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lorabound.arguments import Array
from lorabound.errors import InputError, ModelError
from lorabound.modes import MODES, Mode
from lorabound.notation import RANDOM_LAWS
from lorabound.stats import VarianceComponents, shared_test_noise, variance_components
from lorabound.sweeps.cells import Loss, crossed, losses_of, test_losses, train_losses
from lorabound.sweeps.config import AXES, SweepConfig
from lorabound.sweeps.notes import cut_note
from lorabound.sweeps.row import Row
from lorabound.sweeps.sweep import Sweep

# Seeds and samples that a variance is read from at least.
LEAST = 3
# Losses whose gap is taken apart: all in [0, 1], as the guarantee needs.
_COLUMNS = ("wrong", "error", "risk")


@dataclass(frozen=True, kw_only=True)
class ModeSpread:
    """The spread of one mode at one rank, in one loss.

    Attributes:
        mode, rank: adapter that was trained.
        loss: "error" (0-1; of a completion, whether any token is wrong), "risk" (1 - p(correct); of a completion its
            mean over the tokens) or "wrong" (share of wrong tokens of a completion).
        gaps: (F, S) gaps, seed by training sample.
        variance: parts of their variance.
    """

    mode: Mode
    rank: int
    loss: str
    gaps: Array
    variance: VarianceComponents


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Every draw of the frozen factor on every training sample: what the runs of one training size show.

    Attributes:
        config: settings of the sweep.
        n_train: size of a training set, the largest of the sweep.
        n_test: number of test examples.
        spreads: spread of every mode, rank and loss.
        left_out: adapters that have no reading, as "freeze_a, rank 4": runs of them diverged or are missing.
        notes: sentences on what was unusual about the model, and on texts that were cut.
    """

    config: SweepConfig
    n_train: int
    n_test: int
    spreads: list[ModeSpread]
    left_out: list[str]
    notes: tuple[str, ...] = ()

    @property
    def decides(self) -> str:
        """The loss that decides in this sweep, as a column of :class:`ModeSpread`."""
        return losses_of(self.config)[0].column

    def frame(self) -> pl.DataFrame:
        """One row per run and loss: mode, rank, loss, seed of the factor, number of the sample, gap."""
        return pl.DataFrame(
            [
                (spread.mode, spread.rank, spread.loss, sorted(self.config.seeds)[factor], sample, float(gap))
                for spread in self.spreads
                for (factor, sample), gap in np.ndenumerate(spread.gaps)
            ],
            {
                "mode": pl.String,
                "rank": pl.Int64,
                "loss": pl.String,
                "factor": pl.Int64,
                "sample": pl.Int64,
                "gap": pl.Float64,
            },
            orient="row",
        )

    def __repr__(self) -> str:
        """Adapters, seeds and samples; ``lorabound.show`` says what spreads the gap."""
        adapters = ", ".join(dict.fromkeys(f"{spread.mode} rank {spread.rank}" for spread in self.spreads))
        return (
            f"Crossed: {adapters}; {len(self.config.seeds)} seeds on {self.config.samples} training samples, "
            f"N = {self.n_train}"
        )


def refuse_unfit_designs(config: SweepConfig) -> None:
    """Refuse a sweep whose variances could not be read.

    Raises:
        InputError: fewer than 3 seeds or training samples, or a factor that no seed draws.
    """
    if fixed := [mode for mode in config.modes if mode not in _drawn_modes(config)]:
        what = f"law {config.law}" if config.law not in RANDOM_LAWS else f"mode {fixed[0]}"
        raise InputError(
            f"{what} takes its factor from the weights, the same for every seed, and draws of a factor are what is "
            f"compared: give a law among {', '.join(RANDOM_LAWS)}, and modes that draw a factor"
        )
    if not _large_enough(config):
        raise InputError(
            f"need at least {LEAST} factors (seeds) and {LEAST} samples to tell what spreads the gap, got "
            f"{len(config.seeds)} and {config.samples}"
        )


def read_spread(sweep: Sweep, asked: SweepConfig | None = None) -> Crossed:
    """Take the variance of the gaps at the largest training size apart; nothing is trained.

    Args:
        sweep: sweep of several training samples.
        asked: settings whose grid is read, where the sweep holds other runs too; None reads all of them.
    Raises:
        InputError: the sweep has fewer than 3 seeds or training samples, no factor is drawn, or no adapter has all
            its runs yet.
        ModelError: every adapter has runs that diverged.
    """
    config, rows = sweep.config, sweep.rows()
    if asked:
        config = config.model_copy(update={axis: getattr(asked, axis) for axis in (*AXES, "samples")})
    refuse_unfit_designs(config)
    if found := spread_of(config, sweep.about, rows):
        return found
    if any(row.status == "diverged" for row in rows):
        raise ModelError("every mode has runs that diverged: lower --lr")
    raise InputError(f"{sweep.folder}: no adapter has all its runs yet: run the sweep again to go on")


def spread_of(config: SweepConfig, about: Mapping[str, Any], rows: Sequence[Row]) -> Crossed | None:
    """As :func:`read_spread`, from what a sweep holds; None where there is nothing to read."""
    if not _large_enough(config):
        return None
    n_train = max(config.sizes)
    spreads: list[ModeSpread] = []
    left_out: list[str] = []
    for mode in _drawn_modes(config):
        for rank in sorted(config.ranks):
            cell = (mode, rank, n_train, "done")
            done = [
                row
                for row in rows
                if (row.mode, row.rank, row.n_train, row.status) == cell
                and row.seed in config.seeds
                and row.sample < config.samples
            ]
            if len(done) < len(config.seeds) * config.samples:
                left_out.append(f"{mode}, rank {rank}")
                continue
            grid = crossed(done)
            spreads += [
                _spread(mode, rank, loss, grid, n_train) for loss in losses_of(config) if loss.column in _COLUMNS
            ]
    if not spreads:
        return None
    cut = about.get("cut") and cut_note(about["cut"])
    return Crossed(
        config=config,
        n_train=n_train,
        n_test=about["n_test"],
        spreads=spreads,
        left_out=left_out,
        notes=(*about.get("notes", ()), *about.get("model_notes", ()), *([cut] if cut else ())),
    )


def _drawn_modes(config: SweepConfig) -> list[Mode]:
    """The modes whose factors another seed draws otherwise."""
    return [mode for mode in config.modes if config.law in RANDOM_LAWS and not MODES[mode].common]


def _large_enough(config: SweepConfig) -> bool:
    return min(len(config.seeds), config.samples) >= LEAST


def _spread(mode: Mode, rank: int, loss: Loss, grid: Sequence[Sequence[Row]], n_train: int) -> ModeSpread:
    test = test_losses(grid, loss)
    gaps = test.mean(axis=-1) - train_losses(grid, loss)
    variance = variance_components(gaps, shared_test_noise(test), float(n_train))
    return ModeSpread(mode=mode, rank=rank, loss=loss.column, gaps=gaps, variance=variance)
