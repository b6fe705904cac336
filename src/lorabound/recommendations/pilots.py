"""The pilots of a recommendation: one model and its workers, one sweep per learning rate and fold.

    FOLDER/lr-0.002/           a sweep like any other; report and export read it
    FOLDER/lr-0.002-fold-1/    the same with other test rows, for other seeds

Every sweep has the whole grid of candidates and sizes as its settings; only some of its runs are ever trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from lorabound.engine import Examples
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.estimate import passes_of
from lorabound.sweeps.execute import Observer, Progress, Runs, open_runs
from lorabound.sweeps.executors import open_executor
from lorabound.sweeps.grid import ZERO_SHOT, Run, run_key
from lorabound.sweeps.material import Material
from lorabound.sweeps.row import Row
from lorabound.sweeps.task import Task

_WORKERS_WANTED = 4


class Pilots:
    """Runs of several sweeps that differ in their learning rate and fold; used as a context manager.

    Attributes:
        task: what is trained on what, in the first fold.
        folder: folder of the sweeps.
        lrs: learning rates.
        head_lr: that of a trained head, where one was asked for.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        folder: Path,
        lrs: Sequence[float],
        head_lr: float | None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.task, self.folder, self.lrs, self.head_lr = tasks[0], folder, list(lrs), head_lr
        self._tasks, self._tell = list(tasks), tell
        self._fold = {seed: fold for fold, task in enumerate(tasks) for seed in task.config.seeds}
        self._open = ExitStack()
        self._runs: dict[tuple[float, int], Runs] = {}

    @property
    def folds(self) -> list[list[int]]:
        """Seeds of each fold."""
        return [list(task.config.seeds) for task in self._tasks]

    @property
    def seeds(self) -> list[int]:
        """All seeds, sorted."""
        return sorted(self._fold)

    def __enter__(self) -> Pilots:
        for lr in self.lrs:
            self._begin(lr)
        executor = open_executor(self._tasks, _WORKERS_WANTED, self.folder, self._tell)
        self._executor = self._open.enter_context(executor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, lr: float) -> None:
        """One more learning rate."""
        if lr not in self.lrs:
            self.lrs.append(lr)
            self._begin(lr)

    def _begin(self, lr: float) -> None:
        for fold, task in enumerate(self._tasks):
            runs = open_runs(with_lr(task, lr, self.head_lr), self.place(lr, fold))
            self._runs[lr, fold] = self._open.enter_context(runs)

    def place(self, lr: float, fold: int = 0) -> Path:
        """Folder of the sweep with this learning rate and fold."""
        return self.folder / (f"lr-{lr:.3g}" + (f"-fold-{fold}" if fold else ""))

    def place_of(self, lr: float, seed: int) -> Path:
        """Folder of the sweep that the runs of a seed belong to."""
        return self.place(lr, self._fold[seed])

    def run(self, lr: float, planned: Sequence[Run], observe: Observer) -> None:
        """Train those of the planned runs that are not there, and measure the model without an adapter beside them.

        ``observe`` hears of all folds as of one training.
        """
        parts = []
        for fold in sorted({self._fold[run.seed] for run in planned}):
            own = [run for run in planned if self._fold[run.seed] == fold]
            sizes = sorted({run.n_train for run in own})
            everything = [*(Run(0, ZERO_SHOT, size, 0) for size in sizes), *own]
            if missing := self._runs[lr, fold].missing(everything):
                parts.append((fold, everything, missing))
        counts = [len(missing) for _, _, missing in parts]
        for place, (fold, everything, missing) in enumerate(parts):
            tell = partial(_as_one, observe, sum(counts[:place]), counts[place], sum(counts))
            self._runs[lr, fold].run(self._executor, everything, missing, tell)

    def missing(self, lr: float, planned: Sequence[Run]) -> list[Run]:
        """Those of the planned runs that are not there."""
        return [run for run in planned if self._runs[lr, self._fold[run.seed]].missing([run])]

    def rows(self, lr: float, seed: int | None = None) -> list[Row]:
        """The runs that are there, with this learning rate; with a seed, those of its fold.

        Runs that another command on the same folder asked for, of other ranks, modes or seeds, are none of them: a seed
        may have stood in another fold there.
        """
        fold = None if seed is None else self._fold[seed]
        chosen = [
            (runs.store.rows(), self._tasks[other].config)
            for (rate, other), runs in self._runs.items()
            if rate == lr and fold in (None, other)
        ]
        return [row for rows, config in chosen for row in rows if _asked_for(row, config)]

    def key(self, lr: float, run: Run) -> str:
        """Hash over all that decides the result of a run of this learning rate in the first fold."""
        return run_key(run, self._runs[lr, 0].fixed)

    @property
    def n_runs(self) -> int:
        """Number of trained runs that are there."""
        return sum(row.rank > 0 for lr in self.lrs for row in self.rows(lr))

    def passes(self, run: Run) -> int:
        """Work of a run, in passes of one example."""
        return passes_of(self.task.config, run, len(self.task.test_set.labels))

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds and passes of all trained runs that are there."""
        rows = [row for lr in self.lrs for row in self.rows(lr) if row.rank]
        runs = [Run(row.rank, row.mode, row.n_train, row.seed) for row in rows]  # type: ignore[arg-type]
        return sum(row.seconds for row in rows), float(sum(map(self.passes, runs)))


def _as_one(observe: Observer, before: int, own: int, total: int, state: Progress) -> None:
    """Tell the progress of one part of a training of so many runs, after so many others."""
    share = state.work_done / state.work_total if state.work_total else 0.0
    done = before + max(own - (state.runs_total - state.runs_done), 0)
    observe(replace(state, work_done=(before + share * own) / total, work_total=1.0, runs_done=done, runs_total=total))


def _asked_for(row: Row, config: SweepConfig) -> bool:
    known = row.n_train in config.sizes
    return known and (
        not row.rank or (row.mode in config.modes and row.rank in config.ranks and row.seed in config.seeds)
    )


def with_lr(task: Task, lr: float, head_lr: float | None) -> Task:
    """The same task with another learning rate; a head that starts from its own weights has it too.

    Args:
        head_lr: learning rate of the head, where one was asked for: it stays.
    """
    config = task.config
    follows = head_lr is None and config.head_lr is not None and config.head_lr == config.lr
    return replace(task, config=config.model_copy(update={"lr": lr} | ({"head_lr": lr} if follows else {})))


def with_material(task: Task, material: Material) -> Task:
    """The same model with rows that are divided otherwise."""
    data, most = material.divided, max(task.config.sizes)
    train = Examples(task.classifier.prepare(data.train_examples[:most]), data.train_labels[:most])
    test = Examples(task.classifier.prepare(data.test_examples), data.test_labels)
    config = task.config.model_copy(update={"seeds": material.config.seeds})
    return replace(task, config=config, data=data, samples=(train,), test_set=test, check=material.check)
