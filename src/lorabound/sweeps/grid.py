"""From a configuration to runs: their keys, and which of them train together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Literal

from lorabound.modes import Mode
from lorabound.sweeps.config import SweepConfig

ZERO_SHOT: Literal["zero_shot"] = "zero_shot"


@dataclass(frozen=True)
class Run:
    """One cell of the grid and one seed; rank 0, mode "zero_shot" is the model without an adapter."""

    rank: int
    mode: Mode | Literal["zero_shot"]
    n_train: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.mode}-r{self.rank}-n{self.n_train}-seed{self.seed}"


def runs_of(config: SweepConfig) -> list[Run]:
    """All runs of the grid, smallest training set first, the zero-shot row of each size before the others."""
    runs = []
    for n_train in sorted(config.sizes):
        runs.append(Run(0, ZERO_SHOT, n_train, 0))
        runs += [
            Run(rank, mode, n_train, seed)
            for mode, rank, seed in product(config.modes, sorted(config.ranks), config.seeds)
        ]
    return runs


def stacks_of(runs: list[Run], width: int, n_workers: int = 1) -> list[list[Run]]:
    """Runs that train together: one training size, at most ``width``, neighbours in rank.

    Close ranks in a stack leave little of it to padding. Each size has a multiple of ``n_workers`` stacks where it
    has that many runs, so that no worker is idle.
    """
    stacks = []
    for n_train in sorted({run.n_train for run in runs}):
        here = sorted((run for run in runs if run.n_train == n_train and run.rank), key=lambda run: run.rank)
        rounds = -(-len(here) // (width * n_workers))
        count = min(len(here), rounds * n_workers)
        cuts = [part * len(here) // count for part in range(count + 1)]
        stacks += [here[start:end] for start, end in pairwise(cuts)]
    return stacks


def run_key(run: Run, fixed: Mapping[str, Any]) -> str:
    """SHA-256 over the run and everything fixed for the sweep that decides its result."""
    record = json.dumps({"run": asdict(run), **fixed}, sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()
