"""From a configuration to runs: their keys, and which of them train together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Literal

from lorabound.modes import Mode, foreign_settings
from lorabound.sweeps.config import SweepConfig

ZERO_SHOT: Literal["zero_shot"] = "zero_shot"


@dataclass(frozen=True)
class Run:
    """One cell of the grid, one seed and one training sample.

    Attributes:
        rank: rank of the adapter; 0, with mode "zero_shot", is the model without one.
        mode: name of a mode, or "zero_shot".
        n_train: size of the training set.
        seed: seed of the random factor; with ``sample`` it decides the order of the examples too.
        sample: number of the training sample, from 0.
    """

    rank: int
    mode: Mode | Literal["zero_shot"]
    n_train: int
    seed: int
    sample: int = 0

    @property
    def name(self) -> str:
        """Name of its adapter's folder."""
        sample = f"-sample{self.sample}" if self.sample else ""
        return f"{self.mode}-r{self.rank}-n{self.n_train}-seed{self.seed}{sample}"

    @property
    def order_seed(self) -> int:
        """Seed of the order of examples: another one for every sample, so that chance in the order crosses nothing."""
        return self.seed + (self.sample << 64)


def runs_of(config: SweepConfig) -> list[Run]:
    """All runs of the grid, smallest training set first, the zero-shot row of a size and sample before the others."""
    runs = []
    for n_train, sample in product(sorted(config.sizes), range(config.samples)):
        runs.append(Run(0, ZERO_SHOT, n_train, 0, sample))
        runs += [
            Run(rank, mode, n_train, seed, sample)
            for mode, rank, seed in product(config.modes, sorted(config.ranks), config.seeds)
        ]
    return runs


def n_choices(config: SweepConfig, n_train: int) -> int:
    """Number of choices that the grid has at one training size: ranks times modes, and the model without an adapter."""
    return len({(run.mode, run.rank) for run in runs_of(config) if run.n_train == n_train})


def n_pairs(count: int) -> int:
    """Number of pairs of so many choices: what a comparison of the picked one with each other pays for."""
    return count * (count - 1) // 2


def stacks_of(runs: list[Run], width: int, n_workers: int = 1) -> list[list[Run]]:
    """Runs that train together: one training set, at most ``width``, neighbours in rank.

    Close ranks in a stack leave little of it to padding. Each training set has a multiple of ``n_workers`` stacks where
    it has that many runs, so that no worker is idle.
    """
    stacks = []
    for train_set in sorted({(run.n_train, run.sample) for run in runs}):
        group = [run for run in runs if (run.n_train, run.sample) == train_set and run.rank]
        group.sort(key=lambda run: run.rank)
        rounds = -(-len(group) // (width * n_workers))
        count = min(len(group), rounds * n_workers)
        cuts = [part * len(group) // count for part in range(count + 1)]
        stacks += [group[start:end] for start, end in pairwise(cuts)]
    return stacks


def run_key(run: Run, fixed: Mapping[str, Any]) -> str:
    """SHA-256 over the run and everything fixed for the sweep that decides its result.

    A run on the first sample has the key it had before there were others: its rows do not depend on them. So has a run
    of a mode that does not read a setting which other modes read.
    """
    named = {name: value for name, value in asdict(run).items() if name != "sample" or value}
    read = {name: value for name, value in fixed.items() if name not in foreign_settings(run.mode)}
    record = json.dumps({"run": named, **read}, sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()
