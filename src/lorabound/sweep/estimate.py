"""What a sweep would take, before any of it is done: runs, memory, arithmetic, time.

Arithmetic is that of the frozen products from the first adapted layer of each tower up, 2 a weight and token forward
and 2 backward. Time divides it by this machine's speed in products of the size the model has, and by the share of it
that sweeps have reached in the benchmarks (docs/benchmarks.md); augmentation, decoding and downloads are not in it.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from lorabound.adapters import layer_index
from lorabound.data import NAMED
from lorabound.errors import InputError
from lorabound.models import (
    TEXT,
    VISION,
    Tower,
    adapted_layers,
    check_model,
    default_device,
    locate_model,
    model_outline,
    reads,
    resolve_precision,
)
from lorabound.notation import n_params
from lorabound.sweep.config import SweepConfig
from lorabound.sweep.grid import runs_of
from lorabound.sweep.task import completed, read_tables

# Useful arithmetic over the speed of large products: what the sweeps of docs/benchmarks.md reach.
_SHARE = 0.55
_TOKENS_OF_A_PROMPT = 12
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Of one sweep.

    Attributes:
        n_runs: trained runs, the zero-shot rows left out.
        n_train: the training sizes.
        n_params: trainable parameters of the smallest and of the largest adapter.
        weights_gib: of the frozen model.
        stored_gib: of what is computed once an example, at most; beyond half of the memory it goes to disk.
        tflop: useful arithmetic.
        hours: at the speed of this machine.
        precision: the number format of the frozen model here.
    """

    n_runs: int
    n_train: list[int]
    n_params: tuple[int, int]
    weights_gib: float
    stored_gib: float
    tflop: float
    hours: float
    precision: str


def estimate(config: SweepConfig) -> Estimate:
    """Estimate a sweep from its configuration and the model's; weights are read through once, none is kept.

    Raises:
        ModelError, DataError, InputError: no such model, layers or data.
    """
    takes = reads(config.model)
    if config.head == "trained" and takes == "images":
        raise InputError(
            f"{config.model} is a CLIP, its classes are prompts: a trained head is for sequence classifiers"
        )
    config = completed(config, takes)
    folder = locate_model(config.model)
    module = model_outline(folder)
    shape: Any = module.config
    shapes = adapted_layers(module, takes, config.targets or [], config.layers, config.encoder)
    check_model(folder, module, takes)
    named = NAMED.get(config.data)
    n_classes = named.n_classes if named else len(set(read_tables(config, takes)[0].labels))
    sizes = [count * n_classes for count in config.shots] if config.shots else config.n_train
    runs = [run for run in runs_of(config.model_copy(update={"n_train": sizes})) if run.rank]
    passes = sum(2 * config.epochs * run.n_train + run.n_train + config.n_test for run in runs)
    steps = sum(2 * config.epochs * math.ceil(run.n_train / config.batch_size) + 2 for run in runs)
    if takes == "images":
        vision = shape.vision_config
        n_tokens, width = (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size
        weights = [_weights_above(module, tower, list(shapes)) for tower in (VISION, TEXT)]
        flop = 2.0 * (passes * n_tokens * weights[0] + steps * n_classes * _TOKENS_OF_A_PROMPT * weights[1])
    else:
        n_tokens, width = config.max_length, int(shape.hidden_size)
        flop = 2.0 * passes * n_tokens * _weights_above(module, ("",), list(shapes))
    device = default_device()
    precision = resolve_precision(config.precision, device)
    dtype: torch.dtype = getattr(torch, precision)
    kept = 2 + sum(d_out / width for d_out, _ in _first_products(shapes))  # input, residual, frozen products
    stored = (max(sizes) + config.n_test) * n_tokens * width * kept * dtype.itemsize
    head = n_classes * (width + 1) if config.head == "trained" else 0
    trained = [
        head + sum(n_params(mode, rank, d_in, d_out) for d_out, d_in in shapes.values())
        for mode in config.modes
        for rank in config.ranks
    ]
    return Estimate(
        len(runs), sizes, (min(trained), max(trained)),
        sum(p.numel() for p in module.parameters()) * dtype.itemsize / GIB, stored / GIB, flop / 1e12,
        flop / (_SHARE * _speed(width, device, dtype)) / 3600, precision,
    )  # fmt: skip


def print_estimates(estimates: dict[str, Estimate], console: Console) -> None:
    """One line a sweep, and how the numbers are meant."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("data", no_wrap=True)
    for title in ("runs", "N", "parameters", "stored GiB", "TFLOP", "hours"):
        table.add_column(title, justify="right")
    for name, e in estimates.items():
        low, high = (f"{count / 1e6:.2f}" for count in e.n_params)
        table.add_row(
            name, f"{e.n_runs}", ",".join(map(str, e.n_train)), f"{low}-{high} M", f"{e.stored_gib:.2f}",
            f"{e.tflop:,.1f}", f"{e.hours:,.2f}",
        )  # fmt: skip
    console.print(table)
    one = next(iter(estimates.values()))
    n_runs, hours = sum(e.n_runs for e in estimates.values()), sum(e.hours for e in estimates.values())
    console.print(
        f"{n_runs} runs beside the zero-shot rows, at most about {hours:,.1f} hours at the speed of this machine's "
        f"{one.precision} products: every example is taken to be as long as it may be. The model: "
        f"{one.weights_gib:.2f} GiB. Stored: what is computed once an example, on disk beyond half of the memory. "
        "Whether the data are enough for N and n_test, and whether --out holds another sweep, is not checked.",
        highlight=False, markup=False,
    )  # fmt: skip


def _first_products(shapes: dict[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """Shapes of the adapted layers of the first adapted block."""
    first = min((layer_index(name) or 0 for name in shapes), default=0)
    return [shape for name, shape in shapes.items() if (layer_index(name) or 0) == first]


def _weights_above(module: nn.Module, tower: Tower, adapted: list[str]) -> int:
    """Entries of the linear layers of a tower from its first adapted layer up; 0 without any."""
    prefixes = tuple(f"{name}." if name else "" for name in tower)
    inside = [name for name in adapted if f"{name}.".startswith(prefixes)]
    first = min((layer_index(name) or 0 for name in inside), default=math.inf)
    return sum(
        part.weight.numel()
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and f"{name}.".startswith(prefixes) and inside
        and ((index := layer_index(name)) is None or index >= first)
    )  # fmt: skip


@functools.cache
def _speed(width: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of 2,048 rows with a weight of the model's width."""
    rows = torch.ones(2048, width, dtype=dtype, device=device)
    weight = torch.ones(width, 4 * width, dtype=dtype, device=device)
    best = math.inf
    for _ in range(8):
        begun = time.perf_counter()
        float((rows @ weight)[0, 0])  # reading an entry waits for the device
        best = min(best, time.perf_counter() - begun)
    return 2 * rows.shape[0] * weight.numel() / best
