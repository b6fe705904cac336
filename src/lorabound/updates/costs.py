"""What a rank and a frozen factor cost, layer by layer, measured on what full fine-tuning changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lorabound.bounds import PriceOfFreezing
from lorabound.modes import Mode

# Shares of the change whose rank is told.
SHARES = (0.9, 0.99)
# Nearest update with both factors free; mean of the nearest with a random A, a random B frozen; nearest with the frozen
# factor that the adapter has; the adapter as it was trained.
Rule = Literal["free", "frozen_a", "frozen_b", "realized", "trained"]


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One linear layer, and E, what full fine-tuning changed in its weight.

    Attributes:
        name: name of the layer in the base model.
        d_out: number of outputs.
        d_in: number of inputs.
        ranks: ranks r that were asked for; of an adapter its own.
        price: least errors ||E - B A||_F^2 at these ranks, and ||E||_F^2.
        adapter_error: ||E - s B A||_F^2 of the adapter as it was trained; None without an adapter.
        rounding: what rounding to the checkpoint's number format adds to ||E||_F^2, about.
    """

    name: str
    d_out: int
    d_in: int
    ranks: tuple[int, ...]
    price: PriceOfFreezing
    adapter_error: float | None
    rounding: float

    def error(self, rule: Rule, index: int = 0) -> float:
        """||E - B A||_F^2 under a rule at the rank of this index; nan where it was not measured."""
        found = self.adapter_error if rule == "trained" else getattr(self.price, rule)
        errors = np.atleast_1d(np.nan if found is None else found)
        return float(errors[index if errors.size > 1 else 0])


@dataclass(frozen=True, kw_only=True)
class FreezingCosts:
    """What full fine-tuning changed, and how much of it low rank and frozen factors can keep.

    A share that is kept is 1 - ||E - B A||_F^2 / ||E||_F^2, over all layers 1 minus the ratio of the sums.

    Attributes:
        base: model before fine-tuning.
        checkpoint: model after full fine-tuning.
        adapter: folder of the adapter that was compared; None where only ranks were.
        mode: mode that the adapter's folder records; None where it records none.
        layers: one entry per layer that was compared, in the order of the model.
        n_linear: number of linear layers of the base, heads left out, with those compared.
        other_energy: sum of ||E||_F^2 over the linear layers that were not compared.
    """

    base: str
    checkpoint: str
    adapter: Path | None
    mode: Mode | None
    layers: tuple[LayerCost, ...]
    n_linear: int
    other_energy: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks that were asked for, or the one of the adapter; empty where the adapter has several."""
        ranks = {layer.ranks for layer in self.layers}
        return next(iter(ranks)) if len(ranks) == 1 else ()

    @property
    def energy(self) -> float:
        """Sum of ||E||_F^2 over the layers that were compared."""
        return sum(layer.price.energy for layer in self.layers)

    @property
    def rounding(self) -> float:
        """Sum over layers of what rounding adds to ||E||_F^2."""
        return sum(layer.rounding for layer in self.layers)

    def kept(self, rule: Rule, index: int = 0) -> float:
        """The share of the change that is kept over all layers, under a rule at the rank of this index."""
        return 1 - sum(layer.error(rule, index) for layer in self.layers) / self.energy

    def __repr__(self) -> str:
        """Names and sizes; ``lorabound.show`` and :meth:`frame` say the rest."""
        ranks = f"ranks {', '.join(map(str, self.ranks))}" if self.ranks else "several ranks"
        return (
            f"FreezingCosts: {self.checkpoint!r} against {self.base!r}, {len(self.layers)} of {self.n_linear} linear "
            f"layers, {ranks}"
        )

    def frame(self) -> pl.DataFrame:
        """One row per layer and rank: energies, with every digit; what was not measured is null."""
        return pl.DataFrame(
            [
                {
                    "layer": layer.name,
                    "d_out": layer.d_out,
                    "d_in": layer.d_in,
                    "rank": rank,
                    "energy": layer.price.energy,
                    "free_error": layer.error("free", i),
                    "frozen_a_mean_error": layer.error("frozen_a", i),
                    "frozen_b_mean_error": layer.error("frozen_b", i),
                    "frozen_error": layer.price.realized,
                    "adapter_error": layer.adapter_error,
                    "rank_90": layer.price.rank_for(SHARES[0]),
                    "rank_99": layer.price.rank_for(SHARES[1]),
                    "rounding": layer.rounding,
                }
                for layer in self.layers
                for i, rank in enumerate(layer.ranks)
            ],
            schema_overrides={"frozen_error": pl.Float64, "adapter_error": pl.Float64},
        )
