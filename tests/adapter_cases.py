"""Adapters of every mode for tests: new ones on a toy model, and ones that look trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from lorabound.adapters import Adapter, Shapes, entries_of, new_adapter, with_entries
from lorabound.modes import MODES, Mode, Part
from lorabound.notation import Law
from lorabound.stack import directions_of_weights

# Entries of the vector of ``subspace``: prime, so that no factor has a multiple of it.
SUBSPACE = 23


def new_on(
    model: nn.Module,
    shapes: Shapes,
    mode: Mode,
    rank: int = 3,
    seed: int = 4,
    law: Law = "kaiming_uniform",
    links: int = 1,
) -> Adapter:
    """A new adapter of any mode on layers of a model."""
    weights = directions_of_weights(model, shapes)
    return new_adapter(shapes, rank, mode, seed, law, 2.0, weights=weights, subspace_size=SUBSPACE, links=links)


def filled(adapter: Adapter, parts: Sequence[Part] | None = None, size: float = 1.0, seed: int = 0) -> Adapter:
    """With normal numbers in the parts that are trained (or others), so that every trained entry has a gradient."""
    random = np.random.default_rng(seed)
    values = entries_of(adapter, MODES[adapter.mode].trained if parts is None else parts)
    return with_entries(adapter, {n: random.normal(0, size, v.shape).astype(np.float32) for n, v in values.items()})
