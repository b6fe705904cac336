"""What a worker does with a stack of runs: train them together and measure them. It needs no store.

The task and the stack decide the outcomes, up to rounding; which worker on which machine it is, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import Adapter
from lorabound.engine import Allotment, FirstPass, Losses, Narrow, Recipe, Trained, Unlabelled, evaluate, train
from lorabound.errors import ModelError
from lorabound.models import Classifier
from lorabound.sweeps.grid import Run
from lorabound.sweeps.progressive import drawn_steps, final_start
from lorabound.sweeps.task import Task


@dataclass(frozen=True)
class Folds:
    """Adapters trained without a fold each: how many, their errors on their own fold, their mean test error."""

    count: int
    errors: NDArray[np.bool_]
    test_error: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run.

    Attributes:
        train, test: losses on the training set (with blocks, on the rows up to the next training size too) and on the
            test set.
        seconds: its share of the time of its stack.
        adapter: the trained adapter; None for the model without one.
        first_pass, n_differing, diverged: as of :class:`lorabound.engine.Trained`.
        folds: what cross-fitting found; None without.
    """

    train: Losses
    test: Losses
    seconds: float
    adapter: Adapter | None = None
    first_pass: FirstPass | None = None
    n_differing: int | None = None
    diverged: bool = False
    folds: Folds | None = None

    def shared_by(self, workers: int) -> Outcome:
        """The same of a worker beside others, which take the rest of its seconds."""
        return replace(self, seconds=self.seconds / workers)


def measure(
    task: Task,
    classifier: Classifier,
    stack: list[Run],
    allotment: Allotment,
    on_step: Callable[[int, int], None],
    narrow: Narrow,
) -> list[Outcome]:
    """The outcomes of runs that train together, or of the model without an adapter (rank 0) on several training sets.

    Args:
        allotment: how many adapters and tokens at once.
        on_step: function of the number of steps that are done, and of all.
        narrow: what is done where memory runs out.
    Raises:
        ModelError: the losses of the model without an adapter are not finite.
        InputError: memory runs out with a single adapter.
    """
    if not stack[0].rank:
        return _zero_shot(task, classifier, stack)
    config = task.config
    start = time.perf_counter()
    recipe = Recipe(**{field.name: getattr(config, field.name) for field in fields(Recipe)})
    adapters = [task.new_adapter(run.rank, run.mode, run.seed) for run in stack]  # type: ignore[arg-type]
    n_train = stack[0].n_train
    longer = min((size for size in config.sizes if size > n_train and config.blocks), default=n_train)
    # With blocks a run is measured on the rows up to the next size as well, and trained on the first ones only.

    def train_part(part: slice) -> list[Trained]:
        return train(
            classifier,
            task.samples[stack[0].sample].head(longer),
            task.test_set,
            adapters[part],
            [run.order_seed for run in stack[part]],
            recipe,
            on_step,
            allotment.tokens_per_pass,
            _unlabelled(task, n_train),
            np.tile(np.arange(n_train), (len(stack[part]), 1)) if longer > n_train else None,
        )

    trained = narrow.run(len(stack), allotment.width, train_part)
    folds = [_cross_fit(task, classifier, run, recipe, allotment, narrow) for run in stack]
    seconds = (time.perf_counter() - start) / len(stack)
    return [
        Outcome(
            train=result.train,
            test=result.test,
            seconds=seconds,
            adapter=result.adapter,
            first_pass=result.first_pass,
            n_differing=result.n_differing,
            diverged=result.diverged,
            folds=fold,
        )
        for result, fold in zip(trained, folds, strict=True)
    ]


def _zero_shot(task: Task, classifier: Classifier, runs: list[Run]) -> list[Outcome]:
    """The model without adapters; the test set is measured once for all training sizes."""
    config = task.config
    test = evaluate(classifier, task.test_set.inputs, task.test_set.labels)[0]
    if not test.finite:
        what = "give another --precision" if task.kind.writes else "lower logit_scale"
        raise ModelError(f"the zero-shot losses of {config.model} are not finite: {what}")
    outcomes = []
    for run in runs:
        start = time.perf_counter()
        train_set = task.samples[run.sample].head(run.n_train)
        fitted = evaluate(classifier, train_set.inputs, train_set.labels)[0]
        order = np.arange(run.n_train)  # a model that does not change has a loss before every update
        first = FirstPass(order, fitted.errors, fitted.log_losses, config.batch_size, fitted.wrong)
        outcomes.append(Outcome(train=fitted, test=test, seconds=time.perf_counter() - start, first_pass=first))
    return outcomes


def _cross_fit(
    task: Task, classifier: Classifier, run: Run, recipe: Recipe, allotment: Allotment, narrow: Narrow
) -> Folds | None:
    """A run trained again without each fold, with its own start and seed of the order; None without folds, or where
    one of these trainings diverged."""
    count = task.config.cross_fit
    if count is None:
        return None
    train_set = task.samples[run.sample].head(run.n_train)
    size = run.n_train // count
    folds = [np.arange(fold * size, (fold + 1) * size) for fold in range(count)]
    others = np.stack([np.delete(np.arange(run.n_train), fold) for fold in folds])

    def train_part(part: slice) -> list[tuple[NDArray[np.bool_], float] | None]:
        adapters = [task.new_adapter(run.rank, run.mode, run.seed) for _ in folds[part]]  # type: ignore[arg-type]
        trained = train(
            classifier,
            train_set,
            task.test_set,
            adapters,
            [run.order_seed] * len(adapters),
            recipe,
            tokens_per_pass=allotment.tokens_per_pass,
            subsets=others[part],
        )
        return [
            None if result.diverged else (result.train.errors[fold], result.test.error)
            for fold, result in zip(folds[part], trained, strict=True)
        ]

    found = [of_fold for of_fold in narrow.run(count, allotment.width, train_part) if of_fold is not None]
    if len(found) < count:
        return None
    return Folds(count, np.concatenate([errors for errors, _ in found]), float(np.mean([test for _, test in found])))


def _unlabelled(task: Task, n_train: int) -> Unlabelled | None:
    """The unlabelled inputs with their steps; None without any, or where training has one step only."""
    inputs, batch_size = task.unlabelled, task.config.batch_size
    if inputs is None or not (start := final_start(n_train, batch_size)):
        return None
    return Unlabelled(inputs, drawn_steps(len(inputs), n_train, batch_size, start))
