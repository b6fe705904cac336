"""What is settled before training: which rows the first epoch has, in which order, where the window begins.

The theorem needs rows in a random order that knows nothing of them, tested by weights that have not met them. Whatever
breaks that and can be seen is refused here, before the first step, in one sentence that says what mends it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler

from lorabound.errors import InputError
from lorabound.sweeps.progressive import window_start

# Sampling strategies of TrainingArguments and what each does to the order.
_ORDERS = {
    "group_by_length": "puts rows of like length into one batch, so that the batches know what is to come",
    "batch_rebalance": "divides rows among batches by their lengths, so that the batches know what is to come",
    "sequential": "takes rows in the order of the file, which need not be random",
}
_RANDOM = "set train_sampling_strategy='random'"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The first epoch of a run, as it was settled before training.

    Attributes:
        rows: number of rows that the epoch will train on.
        start: number of rows before the window, a whole number of steps.
        step_rows: rows of one optimizer step, over all processes.
        batch_rows: rows of one batch of one process.
        n_batches: batches of one process in one step (gradient accumulation).
        processes: number of processes.
        epochs: number of epochs that are planned.
        order_sha256: hash of the order of the rows; None where the order is drawn as training goes.
    """

    rows: int
    start: int
    step_rows: int
    batch_rows: int
    n_batches: int
    processes: int
    epochs: float
    order_sha256: str | None


def plan_of(args: Any, state: Any, loader: DataLoader[Any], window: float) -> Plan:
    """The plan of a run of the Trainer.

    Args:
        args: ``TrainingArguments`` of the run.
        state: ``TrainerState`` at the beginning of training.
        loader: loader of the training rows.
        window: share of the epoch in the window, in (0, 1).
    Raises:
        InputError: rows, order or batches for which nothing can be certified.
    """
    for reason in _reasons(args, state, loader):
        raise InputError(reason)
    sampler = _sampler(loader)
    batch_rows, n_batches, processes = args.train_batch_size, args.gradient_accumulation_steps, args.world_size
    step_rows = batch_rows * n_batches * processes
    per_epoch = math.ceil(len(loader) / n_batches)
    steps = min(per_epoch, state.max_steps)
    rows = min(len(loader.dataset), len(loader) * batch_rows * processes)  # type: ignore[arg-type]
    rows = min(rows, steps * step_rows)
    if steps < 2:
        raise InputError(
            f"{rows:,} rows make {steps} step of {step_rows:,} rows, and the first epoch needs two at least, one "
            "before the window and one in it: set smaller batches or give more rows"
        )
    return Plan(
        rows=rows,
        start=window_start(rows, step_rows, window),
        step_rows=step_rows,
        batch_rows=batch_rows,
        n_batches=n_batches,
        processes=processes,
        epochs=state.max_steps / per_epoch,
        order_sha256=_order_sha256(sampler),
    )


def _reasons(args: Any, state: Any, loader: DataLoader[Any]) -> Iterator[str]:
    """Why nothing can be certified, the first reason first."""
    if state.is_hyper_param_search:
        yield "a search of settings picks a run by its results, which no limit here pays for: train once, without it"
    if args.auto_find_batch_size:
        yield "auto_find_batch_size=True begins again on rows it has trained on: set a batch size that fits"
    if args.n_gpu > 1:
        yield "one process on several devices mixes the rows up: start one process per device, with torchrun"
    if getattr(args, "parallelism_config", None) is not None:
        yield "parallelism_config cuts rows into parts: only data parallel training can be certified"
    if getattr(args, "packing", False):
        yield "packing=True puts several rows into one, so that rows cannot be told apart: set packing=False"
    if getattr(args, "padding_free", False):
        yield "padding_free=True joins the rows of a batch into one: set padding_free=False"
    if (strategy := getattr(args, "train_sampling_strategy", "random")) in _ORDERS:
        yield f"train_sampling_strategy={strategy!r} {_ORDERS[strategy]}: {_RANDOM}"
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        yield (
            "the rows come as a stream, whose order is not random enough and which may repeat itself: load the whole "
            "set (streaming=False)"
        )
        return
    accelerator = args.accelerator_config
    if args.world_size > 1 and (accelerator.split_batches or accelerator.dispatch_batches):
        yield "split_batches and dispatch_batches deal rows among processes: leave both out of accelerator_config"
    if args.world_size > 1 and not accelerator.even_batches:
        yield "even_batches=False gives processes unlike numbers of rows: leave it out of accelerator_config"
    if args.dataloader_num_workers and not getattr(args, "dataloader_in_order", True):
        yield "dataloader_in_order=False takes batches as they get ready, long rows late: leave it out"
    sampler = _sampler(loader)
    if type(sampler) not in (RandomSampler, SeedableRandomSampler):
        said = type(sampler).__name__ if sampler is not None else type(loader.batch_sampler).__name__
        yield f"the rows come in the order of {said}, which is not known to be random: {_RANDOM} and use no sampler"
    elif sampler.replacement or sampler.num_samples != len(loader.dataset):
        yield "the sampler draws rows with replacement, so that rows repeat in the first epoch: draw each row once"


def _sampler(loader: DataLoader[Any]) -> Any:
    """The sampler beneath a loader's batches of a fixed number of rows; None where batches are made otherwise."""
    batches = loader.batch_sampler
    inner = getattr(batches, "batch_sampler", batches)  # accelerate's share of one process
    return inner.sampler if type(inner) is BatchSampler else None


def _order_sha256(sampler: RandomSampler) -> str | None:
    """Hash of the order that accelerate's sampler will give in the first epoch, drawn from its seed as it does."""
    seed = getattr(sampler, "initial_seed", None)
    if seed is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    order = list(RandomSampler(range(len(sampler.data_source)), generator=generator))
    return hashlib.sha256(np.array(order, dtype="<i8").tobytes()).hexdigest()


def noise_of(model: nn.Module, args: Any) -> str:
    """What makes the predictions of a model in training random, in words; "" for nothing."""
    layers = any(isinstance(one, nn.modules.dropout._DropoutNd) and one.p > 0 for one in model.modules())
    config: Any = getattr(model, "config", None)
    entries = config.to_dict() if hasattr(config, "to_dict") else {}
    named = any("drop" in name and isinstance(value, float) and value > 0 for name, value in entries.items())
    found = ["dropout"] if layers or named else []
    found += ["noise on embeddings"] if getattr(args, "neftune_noise_alpha", None) else []
    return " and ".join(found)


def counts_places(model: nn.Module) -> bool:
    """Whether a model has a vector for each place of a row, so that padding on the left moves what it reads."""
    return any(
        isinstance(one, nn.Embedding) and ("position" in name.rsplit(".", 1)[-1] or name.endswith("wpe"))
        for name, one in model.named_modules()
    )


def refuse_moved_rows(inputs: Mapping[str, Any]) -> None:
    """See that no row of a batch is moved by the lengths of others, for a model that counts places.

    Raises:
        InputError: rows are padded on the left, and no place is given to their tokens.
    """
    mask = inputs.get("attention_mask")
    if inputs.get("position_ids") is not None or not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        return
    if bool((mask[:, 0] == 0).any()):
        raise InputError(
            "padding on the left moves a row by the lengths of others in its batch: set tokenizer.padding_side='right'"
        )


def refuse_packed_rows(inputs: Mapping[str, Any]) -> None:
    """See that no row of a batch holds several rows that were joined before the Trainer met them, where it shows.

    Raises:
        InputError: the attention mask numbers rows within a row, or places begin again within one.
    """
    mask, places = inputs.get("attention_mask"), inputs.get("position_ids")
    numbered = isinstance(mask, torch.Tensor) and mask.ndim == 2 and not mask.is_floating_point() and mask.max() > 1
    starts: Any = 0
    if isinstance(places, torch.Tensor) and places.ndim == 2:
        starts = places == 0
        if isinstance(mask, torch.Tensor) and mask.shape == places.shape:
            starts = starts & (mask > 0)
        starts = starts.sum(1).max()
    if numbered or starts > 1:
        raise InputError(
            "several rows stand in one row of a batch (packing), so that rows cannot be told apart: switch packing off "
            "where the rows are made"
        )


def refuse_shared_statistics(model: nn.Module) -> None:
    """See that the rows of a batch do not enter one another's predictions.

    Raises:
        InputError: a layer takes means over the batch in training.
    """
    for name, one in model.named_modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"{name} takes means over the rows of a batch in training, so that a row is not tested alone: set "
                "eval_before_step=True"
            )
