"""Run what is missing of a sweep, in this process; safe to kill at any point and to start again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import check_grid, folder_sha256, save_adapter
from lorabound.engine import (
    ENGINE_VERSION,
    FirstPass,
    Losses,
    Pool,
    Recipe,
    Trained,
    Unlabelled,
    WithPrefix,
    evaluate,
    keep_freed_memory,
    train,
)
from lorabound.errors import AdapterError, ModelError, OutputError, StoreError
from lorabound.models import Classifier, name_for_others
from lorabound.modes import LARGEST_MODE
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.estimate import passes_of, seconds_left
from lorabound.sweeps.grid import Run, run_key, runs_of, stacks_of
from lorabound.sweeps.material import Material, read_material
from lorabound.sweeps.progressive import drawn_steps, final_start
from lorabound.sweeps.records import ADAPTERS, AdapterTask, write_rows, write_task
from lorabound.sweeps.resume import as_resumed, extend
from lorabound.sweeps.sweep import Row, Sweep, only_writer
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
            expected = seconds_left(task, list(missing))
            there = len(planned) - len(missing)
            observe(Progress(0, 1, there, len(planned), "storing what the frozen layers compute", expected))
            with open_pool(task, len(planned), out) as pool:
                runs.run(pool, planned, missing, observe, expected)
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


def open_pool(task: Task, n_jobs: int, folder: str | Path) -> Pool:
    """Workers that have the examples of a task at hand."""
    sets = [*(sample.inputs for sample in task.samples), task.test_set.inputs]
    sets += [task.unlabelled] if task.unlabelled is not None else []
    return Pool(task.classifier, list(task.shapes), sets, n_jobs, task.config.memory, folder)


@dataclass(frozen=True)
class Folds:
    """Adapters trained without a fold each: how many, their errors on their own fold, their mean test error."""

    count: int
    errors: NDArray[np.bool_]
    test_error: float


@dataclass
class Runs:
    """The runs of one sweep: which are there, and how others get there.

    Attributes:
        task: what is trained on what.
        out: folder of the sweep.
        store: the runs that are there.
        fixed: everything beside the run itself that decides its result.
    """

    task: Task
    out: Path
    store: Sweep
    fixed: dict[str, Any]

    @property
    def config(self) -> SweepConfig:
        return self.task.config

    def missing(self, planned: Sequence[Run]) -> set[Run]:
        """Those of the runs that are not stored."""
        stored_keys = self.store.keys()
        return {run for run in planned if run_key(run, self.fixed) not in stored_keys}

    def run(
        self,
        pool: Pool,
        planned: Sequence[Run],
        missing: set[Run],
        observe: Observer,
        expected: float | None = None,
    ) -> None:
        """Train, measure and store the missing ones of the planned runs, one stack at a time.

        Args:
            expected: seconds that they will take, for the observer.
        """
        zero_shots = [run for run in planned if run in missing and run.rank == 0]
        total = sum(self._work(run) for run in missing)
        work, n_done = 0.0, len(planned) - len(missing)

        def report(part: float, now: str) -> None:
            observe(Progress(work + part, total, n_done, len(planned), now, expected))

        allotment = pool.fit(self.task.new_adapter(max(self.config.ranks), LARGEST_MODE, 0))
        if zero_shots:
            report(0.0, "measuring the zero-shot model")
            self.store.add(self._zero_shot(pool.workers[0], zero_shots))
            work += sum(map(self._work, zero_shots))
            n_done += len(zero_shots)
        all_stacks = stacks_of(list(planned), allotment.width, len(pool.workers))
        stacks = [rest for stack in all_stacks if (rest := [run for run in stack if run in missing])]
        partial_work: dict[Run, float] = {}  # work done in the stacks that train now, by their first run

        def train_stack(worker: WithPrefix, stack: list[Run]) -> tuple[list[Trained], list[Folds | None], float]:
            label, stack_work = _label(stack), sum(map(self._work, stack))

            def on_step(done: int, n_steps: int) -> None:
                share = 0.9 / (1 + (self.config.cross_fit or 0))  # the folds follow
                partial_work[stack[0]] = share * stack_work * done / n_steps
                report(sum(partial_work.values()), label)

            report(sum(partial_work.values()), label)
            return self._train(worker, stack, allotment.tokens_per_pass, allotment.width, on_step)

        for stack, (trained, folds, seconds) in pool.run(stacks, train_stack):
            self._write(stack, trained, folds, seconds / len(pool.workers))
            partial_work.pop(stack[0], None)
            work += sum(map(self._work, stack))
            n_done += len(stack)
            report(sum(partial_work.values()), _label(stack))
        self.store.note("resources", pool.resources(allotment))

    def _work(self, run: Run) -> float:
        """Cost of a run in passes of one example."""
        return passes_of(self.config, run, len(self.task.test_set.labels), len(self.task.data.unlabelled_examples))

    def _zero_shot(self, classifier: Classifier, runs: list[Run]) -> list[Row]:
        """The model without adapters; the test set is measured once for all training sizes."""
        test = evaluate(classifier, self.task.test_set.inputs, self.task.test_set.labels)[0]
        if not test.finite:
            what = "give another --precision" if self.task.kind.writes else "lower logit_scale"
            raise ModelError(f"the zero-shot losses of {self.config.model} are not finite: {what}")
        rows = []
        for run in runs:
            start = time.perf_counter()
            train_set = self.task.samples[run.sample].head(run.n_train)
            fitted = evaluate(classifier, train_set.inputs, train_set.labels)[0]
            row = self._row(run, 0, time.perf_counter() - start, (fitted, test))
            order = np.arange(run.n_train)  # a model that does not change has a loss before every update
            rows.append(
                _with_first(
                    row, FirstPass(order, fitted.errors, fitted.log_losses, self.config.batch_size, fitted.wrong)
                )
            )
        return rows

    def _train(
        self, classifier: Classifier, stack: list[Run], tokens: int, width: int, on_step: Callable[[int, int], None]
    ) -> tuple[list[Trained], list[Folds | None], float]:
        """The trained runs of a stack, what their folds showed, and the seconds it took."""
        config = self.config
        start = time.perf_counter()
        recipe = Recipe(**{field.name: getattr(config, field.name) for field in fields(Recipe)})
        adapters = [self.task.new_adapter(run.rank, run.mode, run.seed) for run in stack]  # type: ignore[arg-type]
        seeds = [run.order_seed for run in stack]
        n_train = stack[0].n_train
        longer = min((size for size in self.config.sizes if size > n_train and self.config.blocks), default=n_train)
        # With blocks a run is measured on the rows up to the next size as well, and trained on the first ones only.
        train_set = self.task.samples[stack[0].sample].head(longer)
        subsets = np.tile(np.arange(n_train), (len(stack), 1)) if longer > n_train else None
        unlabelled = self._unlabelled(stack[0].n_train)
        trained = train(
            classifier, train_set, self.task.test_set, adapters, seeds, recipe, on_step, tokens, unlabelled, subsets
        )
        folds = [self._cross_fit(classifier, run, recipe, tokens, width) for run in stack]
        return trained, folds, time.perf_counter() - start

    def _cross_fit(self, classifier: Classifier, run: Run, recipe: Recipe, tokens: int, width: int) -> Folds | None:
        """A run trained again without each fold, with its own start and seed of the order; None without folds, or where
        one of these trainings diverged."""
        count = self.config.cross_fit
        if count is None:
            return None
        train_set = self.task.samples[run.sample].head(run.n_train)
        size = run.n_train // count
        folds = [np.arange(fold * size, (fold + 1) * size) for fold in range(count)]
        others = np.stack([np.delete(np.arange(run.n_train), fold) for fold in folds])
        errors, tests = [], []
        for first in range(0, count, width):
            part = slice(first, first + width)
            adapters = [self.task.new_adapter(run.rank, run.mode, run.seed) for _ in folds[part]]  # type: ignore[arg-type]
            seeds = [run.order_seed] * len(adapters)
            trained = train(
                classifier,
                train_set,
                self.task.test_set,
                adapters,
                seeds,
                recipe,
                tokens_per_pass=tokens,
                subsets=others[part],
            )
            if any(result.diverged for result in trained):
                return None
            errors += [result.train.errors[fold] for fold, result in zip(folds[part], trained, strict=True)]
            tests += [result.test.error for result in trained]
        return Folds(count, np.concatenate(errors), float(np.mean(tests)))

    def _unlabelled(self, n_train: int) -> Unlabelled | None:
        """The unlabelled inputs with their steps; None without any, or where training has one step only."""
        if (inputs := self.task.unlabelled) is None or not (start := final_start(n_train, self.config.batch_size)):
            return None
        return Unlabelled(inputs, drawn_steps(len(inputs), n_train, self.config.batch_size, start))

    def _write(self, stack: list[Run], trained: list[Trained], folds: list[Folds | None], seconds: float) -> None:
        """Adapters first, then the rows of the whole stack in one transaction."""
        rows = []
        base, kind = name_for_others(self.config.model), type(self.task.classifier.module)
        for run, result, fold in zip(stack, trained, folds, strict=True):
            if result.diverged:
                rows.append(self._row(run, result.adapter.n_params, seconds / len(stack), None))
                continue
            try:
                folder = save_adapter(result.adapter, self.out / ADAPTERS / run.name, base, kind)
                write_task(folder, task_of_run(self.task, run))
                sha256 = folder_sha256(folder)
            except (AdapterError, OutputError) as error:
                raise StoreError(
                    f"{error}; the runs already stored are safe, run the same command again to go on"
                ) from None
            fitted, following = _parted(result.train, run.n_train)
            row = self._row(run, result.adapter.n_params, seconds / len(stack), (fitted, result.test))
            row = replace(row, adapter_sha256=sha256)
            if following is not None:
                row = replace(row, n_next=len(following), next_errors=following)
            if fold is not None:
                row = replace(row, n_folds=fold.count, fold_errors=fold.errors, fold_test_error=fold.test_error)
            if result.n_differing is not None and self.task.unlabelled is not None:
                start = final_start(run.n_train, self.config.batch_size)
                count = len(self.task.unlabelled)
                row = replace(row, final_start=start, n_unlabelled=count, n_differing=result.n_differing)
            rows.append(_with_first(row, result.first_pass))
        self.store.add(rows)

    def _row(self, run: Run, n_params: int, seconds: float, losses: tuple[Losses, Losses] | None) -> Row:
        """The row of a run: with the losses on training and test set, or without any when it diverged."""
        row = Row(
            key=run_key(run, self.fixed),
            **asdict(run),
            n_params=n_params,
            seconds=seconds,
            status="done" if losses else "diverged",
        )
        if losses is None:
            return row
        train, test = losses
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


def _parted(losses: Losses, n_train: int) -> tuple[Losses, NDArray[np.bool_] | None]:
    """Losses on the training set, and errors on the rows after it where they were measured."""
    if len(losses.errors) == n_train:
        return losses, None
    return losses.head(n_train), losses.errors[n_train:]


def _with_first(row: Row, first: FirstPass | None) -> Row:
    if first is None:
        return row
    return replace(
        row,
        first_order=first.order,
        first_errors=first.errors,
        first_log_losses=first.log_losses,
        first_wrongs=first.wrong,
    )


def _label(stack: list[Run]) -> str:
    ranks = sorted({run.rank for run in stack})
    return f"{len(stack)} adapters of rank {', '.join(map(str, ranks))} on {stack[0].n_train} examples"


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
    }
