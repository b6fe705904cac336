"""What a sweep would take, before any of it is done: runs, memory, arithmetic, and time on the machine at hand.

Arithmetic is that of the frozen products from the first adapted layer of each tower up, 2 per weight and token forward
and 2 backward, with the tokens the texts have. Time divides it by this machine's speed in products of the model's own
shapes, all workers at once, and by the share of it that sweeps reach (docs/benchmarks.md); augmentation, decoding and
downloads are not in it. No weight is loaded: shapes are read from the headers of the files of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from lorabound.adapters import check_grid
from lorabound.adapters.targets import OUTPUT_LAYERS, Modules, layer_index
from lorabound.data import NAMED, Dialogue, Example
from lorabound.data.check import CHARACTERS_PER_TOKEN
from lorabound.data.sizes import TEST_MOST, TRAIN_MOST
from lorabound.models import PackedRows
from lorabound.models.kinds import Kind, Tower
from lorabound.models.layers import adapted_layers, check_tokens, weight_outline
from lorabound.models.locate import locate_model, read_configuration
from lorabound.models.model_folder import check_values
from lorabound.models.precision import default_device, resolve_precision
from lorabound.modes import MODES
from lorabound.stack import modules_of
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import kind_of, resolved
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.material import Material, read_material
from lorabound.sweeps.resume import as_resumed, runs_there
from lorabound.sweeps.speed import products_per_second

if TYPE_CHECKING:
    from lorabound.sweeps.task import Task

# Useful arithmetic over the speed of bare products: what the sweeps of docs/benchmarks.md reach.
_SHARE = 0.65
_TOKENS_OF_A_PROMPT = 12
GIB = 2**30
# Seconds from which quicker ways are named.
LONG = 900.0


@dataclass(frozen=True)
class Estimate:
    """What one sweep takes.

    Attributes:
        n_runs: trained runs, the zero-shot rows left out.
        n_there: runs that the directory of the sweep holds already.
        n_train: training sizes.
        n_test: size of the test set.
        n_params: trainable parameters of the smallest and of the largest adapter.
        weights_gib: size of the frozen model.
        stored_gib: size of what is computed once per example; beyond half of the memory it goes to disk.
        tflop: useful arithmetic of the runs that are missing, in 10^12 operations.
        seconds: their time on this machine.
        precision: number format of the frozen model.
        seen: sentences on the data; None where they would have to be downloaded.
        quicker: options that make it quicker, and the seconds it takes with them; empty unless it takes long.
        samples: number of training samples.
        folds: trainings of every run that leave a fold out; 0 without folds.
        blocks: whether runs are tested on the rows up to the next size too.
        n_unlabelled: examples without labels that every run predicts twice.
    """

    n_runs: int
    n_there: int
    n_train: list[int]
    n_test: int
    n_params: tuple[int, int]
    weights_gib: float
    stored_gib: float
    tflop: float
    seconds: float
    precision: str
    seen: list[str] | None
    quicker: dict[str, float]
    samples: int = 1
    folds: int = 0
    blocks: bool = False
    n_unlabelled: int = 0


@dataclass(frozen=True)
class Estimates:
    """What several sweeps take, as those of one file of settings.

    Attributes:
        each: estimate of each sweep, by its name.
    """

    each: Mapping[str, Estimate]

    def frame(self) -> pl.DataFrame:
        """One row per sweep: name, runs, sizes (those of training as text: "50,200"), storage, time, parameters."""
        names = (
            "n_runs",
            "n_there",
            "samples",
            "n_train",
            "n_test",
            "weights_gib",
            "stored_gib",
            "tflop",
            "seconds",
            "precision",
        )
        return pl.DataFrame(
            [
                {
                    "name": name,
                    **{column: getattr(one, column) for column in names},
                    "n_train": ",".join(map(str, one.n_train)),
                    "least_params": one.n_params[0],
                    "most_params": one.n_params[1],
                }
                for name, one in self.each.items()
            ]
        )

    def __repr__(self) -> str:
        """Numbers of sweeps and of runs, and the seconds; ``lorabound.show`` says the rest."""
        n_runs = sum(one.n_runs - one.n_there for one in self.each.values())
        seconds = sum(one.seconds for one in self.each.values())
        return f"Estimates: {len(self.each)} sweep{'s' * (len(self.each) > 1)}, {n_runs} runs, {seconds:,.0f} seconds"


@dataclass(frozen=True)
class Shape:
    """What decides the arithmetic of a run beside its sizes.

    Attributes:
        weights: entries of the linear layers that every example passes, from the first adapted one up.
        prompt_weights: entries of such layers in the tower of class prompts, passed once per step; 0 without one.
        tokens: tokens of an example on average.
        n_classes: number of class prompts.
        products: (d_out, d_in) of these linear layers.
        below: entries of the linear layers below, which every example passes once per sweep.
        written: entries of the output layer of a language model times the tokens of an example that it predicts.
    """

    weights: int
    prompt_weights: int
    tokens: float
    n_classes: int
    products: Sequence[tuple[int, int]]
    below: int
    written: float = 0.0


def estimate(config: SweepConfig, out: str | Path | None = None) -> Estimate:
    """Estimate a sweep from its data and the shapes of its model; with ``out``, only what is missing there.

    Raises:
        ModelError, DataError, InputError: no such model or layers, or data that cannot be used.
        StoreError: ``out`` holds another sweep.
    """
    config = as_resumed(config, out)
    kind = kind_of(config)
    named = NAMED.get(config.data)
    if named and named.on_hub:  # the data would have to be downloaded
        material, n_classes = None, named.n_classes
        settled = _usual_sizes(resolved(config, kind), n_classes)
    else:
        material = read_material(config)
        settled, n_classes = material.config, len(material.divided.classes)
    stored_runs = runs_there(settled, out)
    runs = [run for run in runs_of(settled) if run.rank]
    missing = [run for run in runs if run not in stored_runs]
    folder = locate_model(config.model)
    outline = weight_outline(folder)
    check_values(folder)
    if kind.has_tokenizer:
        check_tokens(folder, outline.n_vectors)

    def adapted(layers: Sequence[int] | str | None) -> dict[str, tuple[int, int]]:
        return adapted_layers(outline.modules, kind, settled.targets, layers, settled.encoder)

    shapes = adapted(settled.layers)
    check_grid(shapes, settled.ranks, settled.modes, settled.subspace_size, settled.links)
    configuration = read_configuration(config.model)
    width, tokens = kind.width(configuration), _tokens(kind, configuration, settled, material)
    shape = shape_of(outline.modules, kind, list(shapes), tokens, n_classes)
    shape = replace(shape, written=_learnt(material) * (outline.n_vectors or 0) * width)
    n_unlabelled = len(material.divided.unlabelled_examples) if material else 0
    device = default_device()
    precision = resolve_precision(settled.precision, device)
    dtype: torch.dtype = getattr(torch, precision)
    speed = _SHARE * products_per_second(shape.products, device, dtype, len(missing))

    def seconds(shape: Shape, runs: Sequence[Run]) -> float:
        return arithmetic(settled, shape, runs, settled.test_size, n_unlabelled) / speed

    quicker: dict[str, float] = {}
    if seconds(shape, missing) > LONG:
        ends = min(settled.ranks), max(settled.ranks)
        few_runs, few_layers = [run for run in missing if run.rank in ends], shape
        if settled.layers is None and len({layer_index(name) for name in shapes}) > 3:
            few_layers = shape_of(outline.modules, kind, list(adapted("top2")), tokens, n_classes)
            few_layers = replace(few_layers, written=shape.written)
            quicker["--layers top2"] = seconds(few_layers, missing)
        if len(few_runs) < len(missing):
            quicker[" ".join([*quicker, f"--ranks {ends[0]},{ends[1]}"])] = seconds(few_layers, few_runs)
    n_stored = 2 + sum(d_out / width for d_out, _ in _first_products(shapes))  # input, residual, frozen products
    n_examples = settled.samples * max(settled.sizes) + settled.test_size + n_unlabelled
    stored = n_examples * tokens * width * n_stored * dtype.itemsize
    head = n_classes * (width + 1) if settled.head == "trained" else 0
    return Estimate(
        len(runs),
        len(runs) - len(missing),
        settled.sizes,
        settled.test_size,
        _trained(settled, shapes, head),
        outline.n_weights * dtype.itemsize / GIB,
        stored / GIB,
        arithmetic(settled, shape, missing, settled.test_size, n_unlabelled) / 1e12,
        seconds(shape, missing),
        precision,
        material.sentences if material else None,
        quicker,
        settled.samples,
        settled.cross_fit or 0,
        settled.blocks and len(settled.sizes) > 1,
        n_unlabelled,
    )


def _usual_sizes(config: SweepConfig, n_classes: int) -> SweepConfig:
    """With the sizes that a large data set gets where they are not given."""
    sizes = [count * n_classes for count in config.shots] if config.shots else config.n_train or [TRAIN_MOST]
    return config.model_copy(update={"n_train": sizes, "n_test": config.n_test or TEST_MOST})


def _trained(config: SweepConfig, shapes: dict[str, tuple[int, int]], head: int) -> tuple[int, int]:
    """Trainable parameters of the smallest and of the largest adapter of the grid, the head counted."""
    counts = [
        head + MODES[mode].n_params(config.links * rank, shapes.values(), config.subspace_size)
        for mode in config.modes
        for rank in config.ranks
    ]
    return min(counts), max(counts)


def seconds_left(task: Task, missing: Sequence[Run], *, alone: bool = True) -> float:
    """Seconds that the missing runs of a loaded task will take on this machine; measures its speed for a moment.

    Args:
        alone: whether nothing else is going to run; else other programs go on as now.
    """
    classifier, config = task.classifier, task.config
    lengths = np.concatenate([*(s.inputs.lengths for s in task.samples), task.test_set.inputs.lengths])
    shape = shape_of(
        modules_of(classifier.module), task.kind, list(task.shapes), float(lengths.mean()), len(task.data.classes)
    )
    if isinstance(inputs := task.test_set.inputs, PackedRows) and classifier.answers == "tokens":
        output = classifier.module.get_output_embeddings().weight.numel()  # type: ignore[operator]
        shape = replace(shape, written=float(inputs.n_learnt.mean()) * output)
    dtype: torch.dtype = getattr(torch, classifier.precision)
    speed = products_per_second(shape.products, classifier.device, dtype, len(missing), alone=alone)
    trained = [run for run in missing if run.rank]
    n_unlabelled = len(task.data.unlabelled_examples)
    return arithmetic(config, shape, trained, len(task.test_set.labels), n_unlabelled) / (_SHARE * speed)


def shape_of(modules: Modules, kind: Kind, adapted: Sequence[str], tokens: float, n_classes: int) -> Shape:
    """The shape of a run from the linear layers of its model."""
    examples, *prompts = kind.towers
    above = _above(modules, examples, adapted)
    of_prompts = [product for tower in prompts for product in _above(modules, tower, adapted)]
    total = sum(math.prod(product) for product in _inside(modules, examples).values())
    weights = sum(math.prod(product) for product in above)
    return Shape(
        weights,
        sum(math.prod(product) for product in of_prompts),
        tokens,
        n_classes,
        above or of_prompts,
        total - weights,
    )


def passes_of(config: SweepConfig, run: Run, n_test: int, n_unlabelled: int = 0) -> int:
    """Passes of one example that a run takes, its folds and its block counted; an example of a step takes two.

    Every training is measured on training and test set, a run with blocks on the rows up to the next size as well, and
    every unlabelled example is predicted by a late checkpoint and by the final adapter.
    """
    measured = run.n_train + n_test
    if not run.rank:
        return measured
    longer = min((size for size in config.sizes if size > run.n_train and config.blocks), default=run.n_train)
    whole = 2 * config.epochs * run.n_train + measured + longer - run.n_train + 2 * n_unlabelled
    folds = config.cross_fit or 0
    return whole + folds * (2 * config.epochs * _without_a_fold(run, folds) + measured)


def _without_a_fold(run: Run, folds: int) -> int:
    return run.n_train - run.n_train // folds if folds else 0


def arithmetic(config: SweepConfig, shape: Shape, runs: Sequence[Run], n_test: int, n_unlabelled: int = 0) -> float:
    """Operations of trained runs: :func:`passes_of` each, class prompts once per step, and the layers below the adapted
    ones once for every example."""
    passes = sum(passes_of(config, run, n_test, n_unlabelled) for run in runs)
    folds = config.cross_fit or 0
    steps = sum(
        2 * config.epochs * math.ceil(n / config.batch_size) + 2
        for run in runs
        for n in (run.n_train, *[_without_a_fold(run, folds)] * folds)
    )
    prompts = steps * shape.n_classes * _TOKENS_OF_A_PROMPT * shape.prompt_weights
    samples = {run.sample for run in runs}
    stored = sum(max(run.n_train for run in runs if run.sample == sample) for sample in samples)
    once = (stored + n_test + n_unlabelled if runs else 0) * shape.tokens * shape.below
    return 2.0 * (passes * (shape.tokens * shape.weights + shape.written) + prompts + once)


def _tokens(kind: Kind, configuration: Mapping[str, Any], config: SweepConfig, material: Material | None) -> float:
    """Tokens of an example on average; of texts that are not at hand, as many as they may have."""
    if kind.n_tokens is not None:
        return kind.n_tokens(configuration)
    most = config.most_tokens
    if material is None:
        return most
    if material.lengths is not None:
        return float(material.lengths.mean())
    texts = material.table.examples
    return float(np.mean([min(_characters(text) / CHARACTERS_PER_TOKEN + 2, most) for text in texts]))


def _learnt(material: Material | None) -> float:
    """Tokens of an example that are learnt, on average; 0 for classes."""
    if material is None or material.kind.reads != "dialogues":
        return 0.0
    dialogues = [example for example in material.table.examples if isinstance(example, Dialogue)]
    counts = [sum(len(d.turns[i].content) / CHARACTERS_PER_TOKEN + 1 for i in d.trained) for d in dialogues]
    return float(np.mean(counts))


def _characters(example: Example) -> int:
    """Characters of an example, those of its chat template not counted."""
    return sum(len(turn.content) for turn in example.turns) if isinstance(example, Dialogue) else len(str(example))


def _first_products(shapes: dict[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """Shapes of the adapted layers of the first adapted block."""
    first = min((layer_index(name) or 0 for name in shapes), default=0)
    return [shape for name, shape in shapes.items() if (layer_index(name) or 0) == first]


def _inside(modules: Modules, tower: Tower) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of the linear layers of a tower, by name; an output layer is none that every token passes."""
    prefixes = tuple(f"{name}." if name else "" for name in tower)
    return {
        name: shape
        for name, shape in modules.linears.items()
        if f"{name}.".startswith(prefixes) and name.rsplit(".", 1)[-1] not in OUTPUT_LAYERS
    }


def _above(modules: Modules, tower: Tower, adapted: Sequence[str]) -> list[tuple[int, int]]:
    """Of these layers the ones from the first adapted layer up; none where nothing is adapted."""
    inside = _inside(modules, tower)
    indices = [layer_index(name) or 0 for name in adapted if name in inside]
    if not indices:
        return []
    first = min(indices)
    return [shape for name, shape in inside.items() if (index := layer_index(name)) is None or index >= first]
