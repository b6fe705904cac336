"""What is certified: one adapter, the frozen model it belongs to, and the sample that its bounds use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import Adapter, SingularDirections, new_adapter
from lorabound.adapters.adapter import Factors, Head, Shapes
from lorabound.data import Example
from lorabound.data.phrases import listed
from lorabound.engine import Examples, Pool, Recipe, evaluate
from lorabound.errors import AdapterError, DataError, ModelError
from lorabound.models import LoadedClassifier, residuals
from lorabound.modes import FACTORS, MODES, PAPER_MODE, Part
from lorabound.notation import RESIDUAL_LAW, Law
from lorabound.stack import directions_of_weights
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.records import AdapterTask
from lorabound.sweeps.row import Row

# The draw of A for an adapter that nothing shows the draw of.
_OWN_SEED: int = 0
_OWN_LAW: Law = "kaiming_uniform"
# Another machine rounds otherwise: this share of the bare model's errors may differ.
FLIPS = 1e-3


@dataclass(frozen=True, kw_only=True)
class OfSweep:
    """Where an adapter comes from: its run in a sweep, all runs of the sweep, and its settings."""

    row: Row
    rows: tuple[Row, ...]
    config: SweepConfig


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One adapter on its model, ready to be measured.

    Attributes:
        path: folder of the adapter.
        adapter: the trained adapter.
        start: the adapter before training, known without the data: what a prior may be centred at. Factors are as the
            recorded seed draws them, or as the weights of the model give them (law loftq); without a recorded seed
            both are 0, and so both are paid for. A head is that of the checkpoint, or 0.
        paid: parts that may depend on the data, and that a code or a prior pays for, B before A: those that the mode
            trains, or both factors where no seed shows that one was drawn without the data.
        task: how the adapter reads an example.
        sample: the examples that bounds on the training sample use, as the model takes them, in their order.
        recipe: how adapters are trained here, for methods that train others.
        classifier: frozen model as it was loaded, which makes examples ready.
        run: the run of the sweep that trained it; None for an adapter from elsewhere.
        pool: workers with the frozen model and the stored prefix of ``sample``; every measurement goes through it.
    """

    path: Path
    adapter: Adapter
    start: Adapter
    paid: tuple[Part, ...]
    task: AdapterTask
    sample: Examples
    recipe: Recipe
    classifier: LoadedClassifier
    pool: Pool
    run: OfSweep | None = None


@contextmanager
def subject_of(
    path: Path,
    adapter: Adapter,
    task: AdapterTask,
    classifier: LoadedClassifier,
    examples: Sequence[Example],
    labels: Sequence[str],
    recipe: Recipe,
    memory: float | None = None,
) -> Iterator[Subject]:
    """Make an adapter and its sample ready; the model is changed meanwhile, and put back at the end.

    Raises:
        DataError: a label that is no class of the adapter.
    """
    index = {name: row for row, name in enumerate(task.classes)}
    if unknown := sorted({label for label in labels if label not in index}):
        count = sum(label not in index for label in labels)
        raise DataError(
            f"{count:,} rows have a label that {path} has no class for ({listed(map(repr, unknown), 3)}; its classes "
            f"are {listed(map(repr, task.classes), 5)}): read them as a class with --rename-label OLD=NEW, or leave "
            "the rows out of the data"
        )
    sample = Examples(classifier.prepare(examples), np.array([index[label] for label in labels], dtype=np.int64))
    with prepared_subject(path, adapter, task, classifier, sample, recipe, memory) as subject:
        yield subject


@contextmanager
def prepared_subject(
    path: Path,
    adapter: Adapter,
    task: AdapterTask,
    classifier: LoadedClassifier,
    sample: Examples,
    recipe: Recipe,
    memory: float | None = None,
    run: OfSweep | None = None,
) -> Iterator[Subject]:
    """As :func:`subject_of`, for a sample that is ready.

    Raises:
        AdapterError: a frozen factor that is not what the seed, or the weights of the model, give.
    """
    if adapter.law == RESIDUAL_LAW:
        start = start_by_weights(path, adapter, task, classifier)
    else:
        weights = directions_of_weights(classifier.module, adapter.shapes)
        start = start_of(adapter, classifier.head, weights)
    refuse_another_draw(adapter, start, path)
    with Pool(classifier, list(adapter.shapes), [sample.inputs], 2, memory) as pool:
        yield Subject(
            path=path,
            adapter=adapter,
            start=start,
            paid=FACTORS if _drawn_elsewhere(adapter) else MODES[adapter.mode].trained,
            task=task,
            sample=sample,
            recipe=recipe,
            classifier=classifier,
            pool=pool,
            run=run,
        )


def bare_errors(subject: Subject) -> NDArray[np.bool_]:
    """Which examples of the sample the model without an adapter gets wrong, (n,).

    Raises:
        ModelError: its scores are not finite numbers: a comparison with nan would count some of them as right.
    """
    losses = evaluate(subject.pool.workers[0], subject.sample.inputs, subject.sample.labels)[0]
    if not losses.finite:
        raise ModelError(
            f"{subject.task.model} gives scores that are not finite numbers without an adapter: its weights are "
            "damaged, or too large for this number format"
        )
    return np.asarray(losses.errors, dtype=np.bool_)


def with_own_draw(subject: Subject) -> Subject:
    """The subject itself; where nothing shows how its factors were drawn, one whose A is drawn here, by a fixed seed.

    For methods that train an adapter of their own: it needs no factor of the one from elsewhere, and A costs nothing.
    """
    start = subject.start
    if start.seed is not None and start.law is not None:
        return subject
    layers: dict[str, Factors] = {}
    for name, factors in start.layers.items():
        shape = {name: (factors.b.shape[0], factors.a.shape[1])}
        layers |= new_adapter(shape, factors.rank, PAPER_MODE, _OWN_SEED, _OWN_LAW, factors.scale).layers
    own = Adapter(layers=layers, mode=PAPER_MODE, seed=_OWN_SEED, law=_OWN_LAW, head=start.head)
    return replace(subject, start=own, paid=MODES[PAPER_MODE].trained)


def start_of(adapter: Adapter, head: Head | None = None, weights: SingularDirections | None = None) -> Adapter:
    """The adapter before training: factors as its seed draws them; 0 where no seed is recorded.

    Args:
        head: classification layer of the checkpoint, for an adapter that trains one.
        weights: singular directions of the weights of the model, for factors that were taken from there.
    """
    head = head if adapter.head else None
    if adapter.seed is None or adapter.law is None:
        layers = {
            name: Factors(a=np.zeros_like(factors.a), b=np.zeros_like(factors.b), scale=factors.scale)
            for name, factors in adapter.layers.items()
        }
        return Adapter(layers=layers, mode=adapter.mode, seed=adapter.seed, law=adapter.law, head=head)
    drawn: dict[str, Factors] = {}
    theta = None
    for (rank, scale), shapes in _alike(adapter).items():
        size = None if adapter.theta is None else adapter.theta.size
        made = new_adapter(
            shapes,
            rank // adapter.links,
            adapter.mode,
            adapter.seed,
            adapter.law,
            scale,
            weights=weights,
            subspace_size=size,
            links=adapter.links,
        )
        drawn |= made.layers
        theta = made.theta
    layers = {name: drawn[name] for name in adapter.layers}
    return replace(adapter, layers=layers, head=head, theta=theta)


def _alike(adapter: Adapter) -> dict[tuple[int, float], Shapes]:
    """Shapes of the layers, those of one rank and scale together: they were drawn together."""
    found: dict[tuple[int, float], Shapes] = {}
    for name, factors in adapter.layers.items():
        shape = (factors.b.shape[0], factors.a.shape[1])
        found.setdefault((factors.rank, factors.scale), {})[name] = shape
    return found


def refuse_another_draw(adapter: Adapter, start: Adapter, path: Path) -> None:
    """See that the frozen factors of an adapter are those of its start, which is known without the data.

    Raises:
        AdapterError: they are not, so that they may depend on the data.
    """
    if _drawn_elsewhere(adapter):
        return
    expected = start.frozen()
    for name, rows in adapter.frozen().items():
        if not np.allclose(rows, expected[name], rtol=1e-4, atol=1e-5 * float(np.abs(expected[name]).max())):
            raise AdapterError(
                f"{path}: the frozen factor of {name} is not what seed {adapter.seed} and law {adapter.law} make on "
                "this model: certify it on the model that it was trained on, in the same number format"
            )


def start_by_weights(path: Path, adapter: Adapter, task: AdapterTask, classifier: LoadedClassifier) -> Adapter:
    """The adapter before training where it starts at what rounding took from the model: computed from the weights.

    Raises:
        AdapterError: the model is not rounded, or layers have several ranks or scales.
    """
    if task.base is None:
        raise AdapterError(
            f"{path} says that it started at what rounding took from its model, and names no rounding: give --base"
        )
    ranks = {factors.rank for factors in adapter.layers.values()}
    scales = {factors.scale for factors in adapter.layers.values()}
    if len(ranks) > 1 or len(scales) > 1:
        raise AdapterError(f"{path} has layers of several ranks or scales, which no start of ours has")
    [rank], [scale] = ranks, scales
    found = residuals(task.model, classifier.module, list(adapter.layers), task.base, rank)
    start = found.adapter(rank, adapter.mode, adapter.seed or 0, scale)
    return replace(start, head=classifier.head if adapter.head else None)


def _drawn_elsewhere(adapter: Adapter) -> bool:
    """Whether nothing shows how the factors started: the adapter came from another trainer."""
    return adapter.seed is None or adapter.law is None
