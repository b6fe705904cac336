"""What a sweep would take, before any of it is done: runs, memory, arithmetic, and time on the machine at hand.

Arithmetic is that of the frozen products from the first adapted layer of each tower up, 2 per weight and token forward
and 2 backward, with the tokens the texts have. Time divides it by this machine's speed in products of the model's own
shapes, all workers at once, and by the share of it that sweeps reach (docs/benchmarks.md); augmentation, decoding and
downloads are not in it. No weight is loaded: shapes are read from the headers of the files of weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lorabound.adapters import layer_index, new_adapter
from lorabound.data import NAMED
from lorabound.models.layers import TEXT, VISION, Tower, adapted_layers, check_tokens, target_names, weight_outline
from lorabound.models.locate import Reads, locate_model, read_configuration, reads
from lorabound.models.model_folder import check_values
from lorabound.models.precision import default_device, resolve_precision
from lorabound.notation import n_params
from lorabound.sweep.begun import as_begun, runs_there
from lorabound.sweep.config import SweepConfig
from lorabound.sweep.grid import Run, runs_of
from lorabound.sweep.material import Material, read_material
from lorabound.sweep.speed import products_per_second

if TYPE_CHECKING:
    from lorabound.sweep.task import Task

# Useful arithmetic over the speed of bare products: what the sweeps of docs/benchmarks.md reach.
_SHARE = 0.55
# Of a text whose tokens cannot be counted here.
_CHARACTERS_PER_TOKEN = 4.5
_TOKENS_OF_A_PROMPT = 12
_USUAL_TEST = 2000
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What one sweep takes.

    Attributes:
        n_runs: trained runs, the zero-shot rows left out.
        n_there: those of them that the directory of the sweep holds already.
        n_train: training sizes.
        n_test: size of the test set.
        n_params: trainable parameters of the smallest and of the largest adapter.
        weights_gib: size of the frozen model.
        stored_gib: size of what is computed once per example; beyond half of the memory it goes to disk.
        tflop: useful arithmetic of the runs that are missing, in 10^12 operations.
        seconds: their time on this machine.
        precision: number format of the frozen model here.
        seen: sentences on the data; None where they would have to be downloaded.
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


@dataclass(frozen=True)
class Shape:
    """What decides the arithmetic of a run beside its sizes.

    Attributes:
        weights: entries of the linear layers that every example passes, from the first adapted one up.
        prompt_weights: the same of the tower of class prompts, once per step; 0 without one.
        tokens: tokens of an example on average.
        n_classes: number of class prompts.
        products: (d_out, d_in) of these linear layers.
    """

    weights: int
    prompt_weights: int
    tokens: float
    n_classes: int
    products: Sequence[tuple[int, int]]


def estimate(config: SweepConfig, out: str | Path | None = None) -> Estimate:
    """Estimate a sweep from its data and the shapes of its model; with ``out``, only what is missing there.

    Raises:
        ModelError, DataError, InputError: no such model or layers, or data that cannot be used.
        StoreError: ``out`` holds another sweep.
    """
    takes = reads(config.model)
    named = NAMED.get(config.data)
    material = None if named and named.on_hub else read_material(as_begun(config, out))
    if material is None:
        assert named is not None
        n_classes, n_test = named.n_classes, config.n_test or _USUAL_TEST
        sizes = [count * n_classes for count in config.shots] if config.shots else config.n_train or [500]
        settled = config.model_copy(update={"n_train": sizes, "n_test": n_test})
    else:
        settled, n_classes = material.config, len(material.divided.classes)
    there = runs_there(settled, out)
    runs = [run for run in runs_of(settled) if run.rank]
    missing = [run for run in runs if run not in there]
    folder = locate_model(config.model)
    outline = weight_outline(folder)
    module = outline.module
    targets = settled.targets or (["query", "key", "value"] if takes == "texts" else ["q_proj", "k_proj", "v_proj"])
    shapes = adapted_layers(module, takes, target_names(takes, targets), settled.layers, settled.encoder)
    new_adapter(
        shapes, max(settled.ranks), "freeze_a", 0, settled.law, settled.alpha_over_r
    )  # refuses a rank too large
    check_values(folder)
    check_tokens(folder, outline.n_vectors)
    width, longest = _width_and_tokens(settled, takes)
    tokens = longest if material is None or takes == "images" else _mean_tokens(material, longest)
    shape = shape_of(module, takes, list(shapes), tokens, n_classes)
    device = default_device()
    precision = resolve_precision(settled.precision, device)
    dtype: torch.dtype = getattr(torch, precision)
    kept = 2 + sum(d_out / width for d_out, _ in _first_products(shapes))  # input, residual, frozen products
    stored = (max(settled.sizes) + settled.test_size) * tokens * width * kept * dtype.itemsize
    head = n_classes * (width + 1) if settled.head == "trained" else 0
    trained = [
        head + sum(n_params(mode, rank, d_in, d_out) for d_out, d_in in shapes.values())
        for mode in settled.modes
        for rank in settled.ranks
    ]
    flop = arithmetic(settled, shape, missing, settled.test_size)
    return Estimate(
        len(runs), len(runs) - len(missing), settled.sizes, settled.test_size, (min(trained), max(trained)),
        outline.n_weights * dtype.itemsize / GIB, stored / GIB, flop / 1e12,
        flop / (_SHARE * products_per_second(shape.products, device, dtype, len(missing))), precision,
        material.sentences if material else None,
    )  # fmt: skip


def seconds_left(task: Task, missing: Sequence[Run]) -> float:
    """Seconds that the missing runs of a loaded task will take on this machine; measures its speed for a moment."""
    classifier, config = task.classifier, task.config
    lengths = np.concatenate([task.pool.inputs.lengths, task.test_set.inputs.lengths])
    shape = shape_of(classifier.module, task.takes, list(task.shapes), float(lengths.mean()), len(task.data.classes))
    speed = products_per_second(shape.products, classifier.device, getattr(torch, classifier.precision), len(missing))
    trained = [run for run in missing if run.rank]
    return arithmetic(config, shape, trained, len(task.test_set.labels)) / (_SHARE * speed)


def shape_of(module: nn.Module, takes: Reads, adapted: Sequence[str], tokens: float, n_classes: int) -> Shape:
    """The shape of a run from the linear layers of a module, in full or in outline."""
    examples, prompts = (VISION, TEXT) if takes == "images" else (("",), None)
    above = _above(module, examples, adapted)
    of_prompts = _above(module, prompts, adapted) if prompts else []
    return Shape(
        sum(math.prod(product) for product in above), sum(math.prod(product) for product in of_prompts), tokens,
        n_classes, above or of_prompts,
    )  # fmt: skip


def arithmetic(config: SweepConfig, shape: Shape, runs: Sequence[Run], n_test: int) -> float:
    """Operations of trained runs: a step costs two passes of its examples, measuring one of training and test set."""
    passes = sum(2 * config.epochs * run.n_train + run.n_train + n_test for run in runs)
    steps = sum(2 * config.epochs * math.ceil(run.n_train / config.batch_size) + 2 for run in runs)
    prompts = steps * shape.n_classes * _TOKENS_OF_A_PROMPT * shape.prompt_weights
    return 2.0 * (passes * shape.tokens * shape.weights + prompts)


def _width_and_tokens(config: SweepConfig, takes: Reads) -> tuple[int, int]:
    """Width of the tower of examples, and tokens of its longest example."""
    record = read_configuration(config.model)
    if takes == "texts":
        width = record.get("hidden_size") or record.get("dim") or record.get("d_model") or 768
        return int(width), config.max_length
    vision = {"image_size": 224, "patch_size": 32, "hidden_size": 768} | (record.get("vision_config") or {})
    return int(vision["hidden_size"]), (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + 1


def _mean_tokens(material: Material, longest: int) -> float:
    if material.lengths is not None:
        return float(material.lengths.mean())
    texts = material.table.examples
    return float(np.mean([min(len(str(text)) / _CHARACTERS_PER_TOKEN + 2, longest) for text in texts]))


def _first_products(shapes: dict[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """Shapes of the adapted layers of the first adapted block."""
    first = min((layer_index(name) or 0 for name in shapes), default=0)
    return [shape for name, shape in shapes.items() if (layer_index(name) or 0) == first]


def _above(module: nn.Module, tower: Tower, adapted: Sequence[str]) -> list[tuple[int, int]]:
    """(d_out, d_in) of the linear layers of a tower from its first adapted layer up; none where nothing is adapted."""
    prefixes = tuple(f"{name}." if name else "" for name in tower)
    inside = [name for name in adapted if f"{name}.".startswith(prefixes)]
    first = min((layer_index(name) or 0 for name in inside), default=math.inf)
    return [
        (part.out_features, part.in_features)
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and f"{name}.".startswith(prefixes) and inside
        and ((index := layer_index(name)) is None or index >= first)
    ]  # fmt: skip
