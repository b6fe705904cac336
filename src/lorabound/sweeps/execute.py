"""Run what is missing of a sweep and store it; safe to kill at any point and to start again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lorabound.adapters import Adapter, check_grid, folder_sha256, save_adapter
from lorabound.data import counted
from lorabound.engine import (
    ENGINE_VERSION,
    Losses,
    keep_freed_memory,
)
from lorabound.errors import AdapterError, OutputError, StoreError
from lorabound.models import name_for_others
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.environment import environment
from lorabound.sweeps.estimate import passes_of, seconds_left
from lorabound.sweeps.executors import Executor, open_executor
from lorabound.sweeps.grid import Run, run_key, runs_of, stacks_of
from lorabound.sweeps.material import Material, read_material
from lorabound.sweeps.measuring import Outcome
from lorabound.sweeps.progressive import final_start
from lorabound.sweeps.records import ADAPTERS, AdapterTask, write_rows, write_task
from lorabound.sweeps.resume import as_resumed, extend
from lorabound.sweeps.row import Row
from lorabound.sweeps.store import only_writer
from lorabound.sweeps.sweep import Sweep
from lorabound.sweeps.task import Task, load_task


@dataclass(frozen=True)
class Progress:
    """What a sweep tells its observer.

    Attributes:
        work_done, work_total: work so far and in all, in passes of one example.
        runs_done, runs_total: runs that are written, and runs of the grid.
        now: phrase on what goes on.
        seconds: expected time of all that was missing at the start; None before it is known.
    """

    work_done: float
    work_total: float
    runs_done: int
    runs_total: int
    now: str
    seconds: float | None = None


# Called from the threads of the workers too.
Observer = Callable[[Progress], None]


def run_sweep(
    config: SweepConfig, out: str | Path, observe: Observer = lambda _: None, material: Material | None = None
) -> Sweep:
    """Train and measure every run of the grid that ``out`` does not hold yet.

    Runs are written one stack at a time in one transaction, after their adapters are in place. ``material`` is what
    :func:`read_material` made of :func:`as_resumed`, where that has been done already.

    Raises:
        DataError, ModelError, InputError, AdapterError: the configuration cannot be carried out; no run is written.
        StoreError: ``out`` was made by another configuration, or cannot be written.
    """
    keep_freed_memory()

    def tell(now: str) -> None:
        observe(Progress(0, 1, 0, 1, now))

    if material is None:
        tell("reading the data")
        material = read_material(as_resumed(config, out))
    task = load_task(config, observe=tell, material=material)
    asked = task.config
    check_grid(task.shapes, asked.ranks, asked.modes, asked.subspace_size, asked.links)
    with open_runs(task, out) as runs:
        planned = runs_of(task.config)
        if missing := runs.missing(planned):
            expected = seconds_left(task, list(missing)) if task.config.executor == "local" else None
            there = len(planned) - len(missing)
            observe(Progress(0, 1, there, len(planned), "storing what the frozen layers compute", expected))
            with open_executor([task], len(planned), out, tell) as executor:
                runs.run(executor, planned, missing, observe, expected)
    return runs.store


@contextmanager
def open_runs(task: Task, out: str | Path) -> Iterator[Runs]:
    """The runs of a task in a folder that no other process writes to meanwhile; begun where there are none.

    Raises:
        StoreError: ``out`` was made by another configuration, or cannot be written.
    """
    with only_writer(out):
        about = _about(task)
        store = Sweep.open_or_create(out, about)
        extend(store, task.config, about)
        n_rows = sum(len(sample.labels) for sample in task.samples)
        write_rows(Path(out), task.data.train_examples[:n_rows], task.data.test_examples)
        for draft in (Path(out) / ADAPTERS).glob(".*.tmp"):  # left by a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        fixed = {name: about[name] for name in ("data_sha256", "model_sha256", "engine")} | task.config.decisive
        yield Runs(task, Path(out), store, fixed)


@dataclass
class Runs:
    """The runs of one sweep: which are there, and how others get there.

    Attributes:
        task: what is trained on what.
        out: folder of the sweep.
        store: the runs that are there.
        fixed: everything beside the run itself that decides its result.
        stored_keys: keys of the runs in the store, which nobody else writes to meanwhile.
    """

    task: Task
    out: Path
    store: Sweep
    fixed: dict[str, Any]
    stored_keys: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.stored_keys = self.store.keys()

    @property
    def config(self) -> SweepConfig:
        return self.task.config

    def missing(self, planned: Sequence[Run]) -> set[Run]:
        """Those of the runs that are not stored."""
        return {run for run in planned if run_key(run, self.fixed) not in self.stored_keys}

    def run(
        self,
        executor: Executor,
        planned: Sequence[Run],
        missing: set[Run],
        observe: Observer,
        expected: float | None = None,
    ) -> None:
        """Train, measure and store the missing ones of the planned runs, one stack at a time.

        Args:
            expected: seconds that they will take, for the observer.
        """
        total = sum(self._work(run) for run in missing)
        work, n_done = 0.0, len(planned) - len(missing)
        under_way: dict[Run, float] = {}  # work done in the stacks that train now, by their first run

        def report(stack: list[Run]) -> None:
            observe(Progress(work + sum(under_way.values()), total, n_done, len(planned), _label(stack), expected))

        def on_step(stack: list[Run], done: int, n_steps: int) -> None:
            share = 0.9 / (1 + (self.config.cross_fit or 0))  # the folds follow
            under_way[stack[0]] = share * sum(map(self._work, stack)) * done / n_steps
            report(stack)

        width, at_a_time = executor.fit(self.task)
        zero_shots = [run for run in planned if run.rank == 0]
        stacks = [
            rest
            for stack in [zero_shots, *stacks_of(list(planned), width, at_a_time)]
            if (rest := [run for run in stack if run in missing])
        ]
        report(stacks[0])
        for stack, outcomes in executor.run(self.task, stacks, on_step):
            self._write(stack, outcomes)
            under_way.pop(stack[0], None)
            work += sum(map(self._work, stack))
            n_done += len(stack)
            report(stack)
        self.store.note("resources", executor.resources())

    def _work(self, run: Run) -> float:
        """Cost of a run in passes of one example."""
        return passes_of(self.config, run, len(self.task.test_set.labels), len(self.task.data.unlabelled_examples))

    def _write(self, stack: list[Run], outcomes: list[Outcome]) -> None:
        """Adapters first, then the rows of the whole stack in one transaction."""
        rows = [self._stored(run, outcome) for run, outcome in zip(stack, outcomes, strict=True)]
        self.store.add(rows)
        self.stored_keys |= {row.key for row in rows}

    def _stored(self, run: Run, outcome: Outcome) -> Row:
        """The row of a run, after its adapter is in place; a run that diverged has no measurements and no adapter."""
        adapter, first, folds = outcome.adapter, outcome.first_pass, outcome.folds
        row = Row(
            key=run_key(run, self.fixed),
            **asdict(run),
            n_params=adapter.n_params if adapter else 0,
            seconds=outcome.seconds,
            status="diverged" if outcome.diverged else "done",
        )
        if outcome.diverged:
            return row
        row = _with_losses(row, outcome.train, outcome.test)
        if adapter is not None:
            row = replace(row, adapter_sha256=self._save(run, adapter))
        if first is not None:
            row = replace(
                row,
                first_order=first.order,
                first_errors=first.errors,
                first_log_losses=first.log_losses,
                first_wrongs=first.wrong,
            )
        if folds is not None:
            row = replace(row, n_folds=folds.count, fold_errors=folds.errors, fold_test_error=folds.test_error)
        if outcome.n_differing is not None and self.task.unlabelled is not None:
            start = final_start(run.n_train, self.config.batch_size)
            count = len(self.task.unlabelled)
            row = replace(row, final_start=start, n_unlabelled=count, n_differing=outcome.n_differing)
        return row

    def _save(self, run: Run, adapter: Adapter) -> str:
        """Write the folder of an adapter; returns the hash over its files."""
        base, kind = name_for_others(self.config.model), type(self.task.classifier.module)
        try:
            folder = save_adapter(adapter, self.out / ADAPTERS / run.name, base, kind)
            write_task(folder, task_of_run(self.task, run))
            return folder_sha256(folder)
        except (AdapterError, OutputError) as error:
            raise StoreError(
                f"{error}; the runs already stored are safe, run the same command again to go on"
            ) from None


def _with_losses(row: Row, train: Losses, test: Losses) -> Row:
    """The row with its losses; errors on rows after the training set, where they were measured, by themselves."""
    if len(train.errors) > row.n_train:
        following = train.errors[row.n_train :]
        row, train = replace(row, n_next=len(following), next_errors=following), train.head(row.n_train)
    return replace(
        row,
        train_error=train.error,
        test_error=test.error,
        train_risk=train.risk,
        test_risk=test.risk,
        train_wrong=train.wrong_share,
        test_wrong=test.wrong_share,
        test_misses=test.misses,
        test_wrongs=test.wrong,
        train_ce=train.cross_entropy,
        test_ce=test.cross_entropy,
        test_errors=test.errors,
        test_log_losses=test.log_losses,
    )


def task_of_run(task: Task, run: Run) -> AdapterTask:
    """How the adapter of a run reads an example."""
    config, classifier = task.config, task.classifier
    return AdapterTask(
        model=config.model,
        model_sha256=classifier.sha256,
        takes=task.kind.reads,
        head=config.head,
        prompt=config.prompt or "",
        classes=task.data.classes,
        logit_scale=config.logit_scale,
        max_length=config.most_tokens,
        precision=classifier.precision,
        n_train=run.n_train,
        first_row=run.sample * max(config.sizes),
        base=config.base,
    )


def _label(stack: list[Run]) -> str:
    ranks = sorted({run.rank for run in stack})
    if ranks == [0]:
        return "measuring the zero-shot model"
    return f"{counted(len(stack), 'adapter')} of rank {', '.join(map(str, ranks))} on {stack[0].n_train:,} examples"


def _about(task: Task) -> dict[str, Any]:
    return {
        "config": task.config.model_dump(mode="json"),
        "takes": task.kind.reads,
        "data_sha256": task.data.sha256,
        "model_sha256": task.classifier.sha256,
        "engine": ENGINE_VERSION,
        "classes": task.data.classes,
        "n_pool": len(task.data.train_examples),
        "n_test": len(task.data.test_examples),
        "n_removed": task.data.n_removed,
        "n_unlabelled": len(task.data.unlabelled_examples),
        "n_unlabelled_removed": task.data.n_unlabelled_removed,
        "n_skipped": task.n_skipped,
        "n_long": task.n_long,
        "own_test_set": task.own_test_set,
        "majority_error": 1 - float(np.bincount(task.data.train_labels).max() / len(task.data.train_labels)),
        "n_cut": task.test_set.inputs.n_cut,
        "class_counts": dict(task.check.counts),
        "notes": list(task.check.remarks),
        "cut": task.cut,
        "model_notes": list(task.classifier.notes),
        "environment": environment(task.config.precision),
    }
