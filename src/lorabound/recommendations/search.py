"""The search for the best candidate: learning rates first, then stage after stage, as far as the budget goes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lorabound.errors import InputError
from lorabound.recommendations.choices import Grid, grid_of
from lorabound.recommendations.config import exact_time
from lorabound.recommendations.layout import Layout
from lorabound.recommendations.measured import Pilot, curves_of, diverged, pilots_of
from lorabound.recommendations.pilots import Pilots
from lorabound.recommendations.recommendation import LrTrial, Step
from lorabound.recommendations.schedule import SURE, Candidate, Stage, kept, new_runs, spread_out, stages
from lorabound.sweeps.cells import losses_of
from lorabound.sweeps.estimate import seconds_left
from lorabound.sweeps.execute import Observer, Progress
from lorabound.sweeps.grid import Run
from lorabound.sweeps.row import Row
from lorabound.sweeps.task import Task

# Times are known to a quarter or so: what is begun must end within the budget.
_SAFETY = 1.25
# Learning rates beyond the given ones: factor from one to the next, and most steps to either side.
STEP, _MOST_STEPS = 3.0, 2
# Losses on the test rows by learning rate; None where the run diverged.
Tried = dict[float, NDArray[np.float64] | None]
# Candidates that are trained at the largest size after the last stage.
_MOST_LOOKS = 3


@dataclass(kw_only=True)
class Search:
    """What is known so far, and what is trained next.

    Attributes:
        pilots: runs that are there.
        layout: sizes of the pilots.
        budget: seconds in all.
        grows: whether learning rates beyond the given ones are tried while the best one is at an end.
        started: reading of ``time.monotonic`` at the start of this process's part.
        observe: function that is told the progress.
        lr_of: learning rate of each mode, once chosen.
        steps, lr_trials: what was trained.
        stopped: why the search ended before its last stage; None where it did not.
        reached: training size of the last stage that was trained.
    """

    pilots: Pilots
    layout: Layout
    budget: float
    grows: bool
    started: float
    observe: Observer
    lr_of: dict[str, float] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    lr_trials: list[LrTrial] = field(default_factory=list)
    stopped: str | None = None
    reached: int = 0
    _asked: set[tuple[float, str, int, int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._config = self.pilots.task.config
        self.loss = losses_of(self._config)[0]
        self._given = tuple(self.pilots.lrs)
        self._spent_before, work = self.pilots.spent
        self._first_rate = self._spent_before / work if work else self._guess()

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates: every mode with every rank."""
        return [(mode, rank) for mode in self._config.modes for rank in sorted(self._config.ranks)]

    @property
    def rows(self) -> list[Row]:
        """The runs with the chosen learning rates, and those of the model without an adapter.

        Runs that this search has not asked for yet are none of them: one that goes on where it stood decides as it did
        the first time.
        """
        chosen = [
            row
            for mode, lr in self.lr_of.items()
            for row in self.pilots.rows(lr)
            if (lr, row.mode, row.rank, row.n_train, row.seed) in self._asked and row.mode == mode
        ]
        return [*chosen, *(row for row in self.pilots.rows(next(iter(self.lr_of.values()))) if not row.rank)]

    @property
    def measured(self) -> list[Pilot]:
        """The pilots with the chosen learning rates, without candidates of which a run diverged."""
        rows, out = self.rows, diverged(self.rows)
        return pilots_of([row for row in rows if (row.mode, row.rank) not in out], self.loss, self.pilots.folds)

    @property
    def seconds(self) -> float:
        """Time spent, that of earlier processes on the same folder counted."""
        return self._spent_before + time.monotonic() - self.started

    @property
    def affords_final(self) -> bool:
        """Whether the final adapter can be trained within the budget; one that needs no training always can."""
        return not self.layout.refit or self.seconds + self._final <= self.budget

    def go(self) -> None:
        """Choose the learning rates, then train stage after stage."""
        self._choose_lrs()
        alive = self.candidates
        for number, stage in enumerate(self._stages):
            if stage.if_open and self._sure(alive):
                break
            seeds = self.pilots.seeds[: stage.n_seeds]
            if number:
                alive = self._best(alive, stage.most)
            runs = self._affordable(alive, stage.size, seeds, ranked=number > 0)
            if not runs:
                if not number:
                    raise InputError(self._too_short(stage.size))
                self.stopped = (
                    f"the budget of {exact_time(self.budget)} did not reach for pilots on {stage.size:,} rows: what is "
                    f"said of {self.layout.n_rows:,} rows rests on smaller ones"
                )
                return
            self._train(runs)
            self.reached = stage.size
            if missed := len(alive) * len(seeds) - len(runs):
                self.stopped = (
                    f"the budget of {exact_time(self.budget)} did not reach for {missed} of {missed + len(runs)} "
                    f"pilots on {stage.size:,} rows"
                )
            alive = [one for one in alive if one not in diverged(self.rows)]
            if not alive:
                raise InputError(
                    f"every pilot on {stage.size:,} rows diverged: give a smaller --lr, or --lrs with smaller ones"
                )
        self._look_again()

    def _look_again(self) -> None:
        """Candidates that the largest pilots made look better than themselves are trained at that size too."""
        size = self.layout.sizes[-1]
        trained = {row.seed for row in self.rows if row.rank and row.n_train == size}
        seeds = [seed for seed in self.pilots.seeds if seed in trained]
        for _ in range(_MOST_LOOKS):
            everyone = [one for one in self.candidates if one not in diverged(self.rows)]
            forecast = curves_of(self.measured).forecast(everyone, self.layout.n_rows)
            best = everyone[forecast.best]
            runs = [Run(best[1], best[0], size, seed) for seed in seeds]  # type: ignore[arg-type]
            if not (missing := self._missing(runs)) or self._cost(missing) > self._left - self._reserve:
                return
            self._train(runs)

    @property
    def grid(self) -> Grid:
        """All that might be chosen, whatever the pilots show: learning rates that are not tried as well."""
        lrs, config = list(self._given), self._config
        for step in range(1, _MOST_STEPS + 1 if self.grows else 1):
            lrs += [min(self._given) / STEP**step, max(self._given) * STEP**step]
        return grid_of(config.modes, config.ranks, self.layout.sizes, lrs, min(self.pilots.folds[0]))

    def _choose_lrs(self) -> None:
        """The learning rate of each mode with the lowest error: one rank, one seed, a small size."""
        modes = self._config.modes
        middle = self._given[len(self._given) // 2]
        self.lr_of = dict.fromkeys(modes, middle)
        if len(self._given) == 1:
            return
        sizes, rank = self.layout.sizes, spread_out(self._config.ranks, 1)[0]
        for size in sorted({sizes[max(len(sizes) - 2, 0)], sizes[0]}, reverse=True):
            runs = [Run(rank, mode, size, self.pilots.seeds[0]) for mode in modes]
            if (
                self._cost([run for lr in self._given for run in self.pilots.missing(lr, runs)])
                <= max(self._left, 0) / 4
            ):
                break  # the ranks are what was asked for: they have the larger part of the budget
        else:
            return
        before, tried = self.pilots.spent[0], dict[str, Tried]()
        for lr in self._given:
            self._try(lr, runs, tried)
        for _ in range(_MOST_STEPS if self.grows else 0):
            further: dict[float, list[Run]] = {}
            for run in runs:
                if (following := beyond(tried[str(run.mode)], middle, self._bare(size))) is not None:
                    further.setdefault(following, []).append(run)
            if not further:
                break
            for lr, own in further.items():
                self.pilots.add(lr)
                self._try(lr, own, tried)
        for mode in modes:
            for lr, losses in sorted(tried[mode].items()):
                error = None if losses is None else float(losses.mean())
                self.lr_trials.append(LrTrial(mode=mode, lr=lr, rank=rank, n_train=size, error=error))
            chosen = best_lr(tried[mode], middle)
            if chosen is None:
                small = ",".join(f"{min(tried[mode]) / factor:.2g}" for factor in (100, 10))
                raise InputError(f"every pilot of {mode} diverged: give smaller learning rates, as --lrs {small}")
            self.lr_of[mode] = chosen
        self._record(runs, len(self.lr_trials), self.pilots.spent[0] - before, "learning rates")

    def _bare(self, size: int) -> NDArray[np.float64]:
        """Losses of the model without an adapter on the test rows of the first seed."""
        rows = self.pilots.rows(self._given[0], self.pilots.seeds[0])
        return self.loss.test(next(row for row in rows if not row.rank and row.n_train == size))

    def _try(self, lr: float, runs: Sequence[Run], tried: dict[str, Tried]) -> None:
        """Losses on the test rows with one learning rate, by mode; None where the run diverged."""
        self._run(lr, runs, "learning rates")
        wanted = {(str(run.mode), run.rank, run.n_train, run.seed) for run in runs}
        for row in self.pilots.rows(lr):
            if (row.mode, row.rank, row.n_train, row.seed) in wanted:
                tried.setdefault(row.mode, {})[lr] = self.loss.test(row) if row.status == "done" else None

    def _sure(self, alive: Sequence[Candidate]) -> bool:
        """Whether one of them is likely enough to be their best, within half a point, at the size that is asked for."""
        return float(curves_of(self.measured).forecast(list(alive), self.layout.n_rows).close().max()) >= SURE

    def _best(self, alive: Sequence[Candidate], most: int) -> list[Candidate]:
        forecast = curves_of(self.measured).forecast(list(alive), self.layout.n_rows)
        return kept(alive, forecast.expected_loss.tolist(), forecast.close().tolist(), most)

    def _train(self, runs: Sequence[Run]) -> None:
        before, asked = self.pilots.spent[0], len(self._asked)
        for lr in dict.fromkeys(self.lr_of.values()):
            if of_lr := [run for run in runs if self.lr_of[run.mode] == lr]:
                self._run(lr, of_lr, f"{len({(run.mode, run.rank) for run in runs})} candidates")
        self._record(runs, len(self._asked) - asked, self.pilots.spent[0] - before, "ranks")

    def _run(self, lr: float, runs: Sequence[Run], what: str) -> None:
        """Train runs; the observer hears of all runs of the search."""
        missing, total = len(self.pilots.missing(lr, runs)), self._planned
        started, size = len(self._asked), runs[0].n_train

        def observe(state: Progress) -> None:
            done = started + max(missing - (state.runs_total - state.runs_done), 0)
            share = state.work_done / state.work_total if state.work_total else 0.0
            now = f"{what} on {size:,} rows"
            self.observe(Progress(started + share * missing, total, min(done, total), total, now))

        self._asked |= {(lr, str(run.mode), run.rank, run.n_train, run.seed) for run in runs}
        self.pilots.run(lr, runs, observe)

    @property
    def _stages(self) -> list[Stage]:
        return stages(self.layout.sizes, len(self.candidates), len(self.pilots.seeds))

    @property
    def _planned(self) -> int:
        """Number of runs, where the budget allows them all."""
        trials = len(self.pilots.lrs) * len(self._config.modes) if len(self.pilots.lrs) > 1 else 0
        return trials + sum(count for _, count in new_runs(self._stages))

    def _record(self, runs: Sequence[Run], n_runs: int, seconds: float, what: str) -> None:
        candidates = tuple(dict.fromkeys((str(run.mode), run.rank) for run in runs))
        self.steps.append(
            Step(n_train=runs[0].n_train, n_runs=n_runs, candidates=candidates, seconds=seconds, what=what)
        )

    def _affordable(self, alive: Sequence[Candidate], size: int, seeds: Sequence[int], ranked: bool) -> list[Run]:
        """As many of the planned runs as the budget has room for beside the final adapter; none where not even two
        candidates fit."""
        final = self._reserve
        room = max(self._left - final if self._left > final else self._left, 0.0)  # what is there costs nothing
        for n_seeds in range(len(seeds), 0, -1):
            runs = [Run(rank, mode, size, seed) for mode, rank in alive for seed in seeds[:n_seeds]]  # type: ignore[arg-type]
            if self._cost(self._missing(runs)) <= room:
                return runs
        few = self._ordered(alive, ranked)
        while len(few) > 2:
            few = few[:-1]
            runs = [Run(rank, mode, size, seeds[0]) for mode, rank in alive if (mode, rank) in few]  # type: ignore[arg-type]
            if self._cost(self._missing(runs)) <= room:
                return runs
        return []

    def _ordered(self, alive: Sequence[Candidate], ranked: bool) -> list[Candidate]:
        """The candidates, the one to give up first at the end."""
        if ranked:
            forecast = curves_of(self.measured).forecast(list(alive), self.layout.n_rows)
            return [alive[i] for i in np.argsort(forecast.expected_loss, kind="stable")]
        ranks = sorted({rank for _, rank in alive})
        order = {rank: min(n for n in range(1, len(ranks) + 1) if rank in spread_out(ranks, n)) for rank in ranks}
        return sorted(alive, key=lambda one: order[one[1]])

    def _missing(self, runs: Sequence[Run]) -> list[Run]:
        return [run for run in runs if self.pilots.missing(self.lr_of[run.mode], [run])]

    @property
    def _left(self) -> float:
        return self.budget - self.seconds

    @property
    def _rate(self) -> float:
        """Seconds per pass of one example, by the runs that are there."""
        seconds, work = self.pilots.spent
        return seconds / work if work else self._first_rate

    def _cost(self, runs: Sequence[Run]) -> float:
        return _SAFETY * self._rate * sum(self.pilots.passes(run) for run in runs)

    @property
    def _reserve(self) -> float:
        """Seconds that are kept for the final adapter."""
        return self._final if self.layout.refit else 0.0

    @property
    def _final(self) -> float:
        """Seconds that training the final adapter on all rows takes; alone it uses the cores less well."""
        run = Run(max(self._config.ranks), self._config.modes[0], self.layout.n_rows, 0)
        return 1.5 * self._cost([run])

    def _guess(self) -> float:
        """Seconds per pass before anything was trained."""
        run = Run(max(self._config.ranks), self._config.modes[0], self.layout.sizes[0], 0)
        return seconds_left(self.pilots.task, [run, run], alone=False) / (2 * self.pilots.passes(run))

    def _too_short(self, size: int) -> str:
        two = self.candidates[:2]
        runs = [Run(rank, mode, size, 0) for mode, rank in two]  # type: ignore[arg-type]
        needed = self.seconds + self._cost(runs)
        return _too_short(self.budget, size, needed)


def best_lr(tried: Tried, middle: float) -> float | None:
    """The learning rate to take: nearest to the middle of those that chance may have made worse than the lowest one.

    Chance is one standard error of the difference on the same test rows. None where all runs diverged.
    """
    known = {lr: losses for lr, losses in tried.items() if losses is not None}
    if not known:
        return None
    best = known[min(known, key=lambda lr: float(known[lr].mean()))]
    equal = [lr for lr, losses in known.items() if _difference(losses, best) <= 0]
    return min(equal, key=lambda lr: (abs(math.log(lr / middle)), lr))


def _difference(losses: NDArray[np.float64], best: NDArray[np.float64]) -> float:
    """How far a mean loss is above the best one, less one standard error."""
    apart = losses - best
    return float(apart.mean() - apart.std() / math.sqrt(len(apart)))


def beyond(tried: Tried, middle: float, bare: NDArray[np.float64]) -> float | None:
    """The next learning rate of a mode: a larger one where none has learnt anything that chance does not explain; else
    one more step where the best one is the smallest or the largest that was tried.

    Args:
        bare: losses of the model without an adapter.
    """
    best = best_lr(tried, middle)
    if best is None:
        return min(tried) / STEP
    losses = tried[best]
    if losses is not None and tried[max(tried)] is not None and _difference(bare, losses) <= 0:
        return max(tried) * STEP
    if best == min(tried):
        return min(tried) / STEP
    return best * STEP if best == max(tried) else None


def _rounded(seconds: float) -> str:
    """A budget that can be typed, not below these seconds."""
    if seconds <= 60:
        return "60s"
    minutes = int(-(-seconds // 60))
    return f"{minutes}m" if minutes < 120 else f"{-(-minutes // 60)}h"


def refuse_short_budget(task: Task, size: int, budget: float, spent: float) -> None:
    """Before anything is computed: see that two pilots of the smallest size may fit into the budget.

    Args:
        size: training size of the smallest pilots.
        spent: seconds that loading took.
    Raises:
        InputError: they do not.
    """
    config = task.config
    runs = [Run(min(config.ranks), config.modes[0], size, seed) for seed in (0, 1)]
    needed = spent + seconds_left(task, runs, alone=False)
    if needed > budget:
        raise InputError(_too_short(budget, size, needed))


def _too_short(budget: float, size: int, needed: float) -> str:
    """The sentence on a budget that does not reach for two pilots, which need so many seconds."""
    return (
        f"a budget of {exact_time(budget)} is too short for the smallest pilots, two of them on {size:,} rows: give at "
        f"least --budget {_rounded(3 * needed)}"
    )
