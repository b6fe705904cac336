"""A sweep within a memory budget: how many adapters train together, how many tokens a pass holds, what is stored.

The budget is for the whole process. What is left after the model is loaded is divided: at most half for the stored
prefix (what does not fit goes to disk), a third of the rest for the factors of the adapters and their optimizer, the
remainder for the activations of a pass, whose size is measured on this model.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from lorabound.adapters import Adapter
from lorabound.engine.batches import TOKENS_PER_PASS
from lorabound.engine.layout import layout
from lorabound.errors import InputError
from lorabound.models import Classifier, Inputs
from lorabound.stack import Stack

GIB = 2**30
# Adapters trained together at most. Wider stacks lose more work when the process is killed, and gain little beyond.
STACK_WIDTH = 12
# Weight, gradient, two moments of AdamW (float32), and copies in the number format of the model.
_BYTES_PER_FACTOR_ENTRY = 24
# Activations that live at once in a backward pass, over those that are kept for it: gradients and work space.
_WORK_SPACE = 2.5
_FREE_SHARE = 0.7
# Kept back for everything else: allocator slack, the report that is written at the end.
_RESERVE = 0.15 * GIB


def keep_freed_memory() -> None:
    """Ask the C library to keep the blocks of freed activations for the next pass.

    By default glibc hands large blocks back to the system, which clears every page before it gives it out again: a
    fifth of the time of a training step here. For the whole process; does nothing where there is no glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-3, 2**30) or mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: smaller blocks come from the heap; older glibc: 32 MiB
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
    mallopt(-8, 1)  # M_ARENA_MAX: one heap for all threads; those of threads cannot hold large blocks


def free_bytes(budget: float | None, device: torch.device, on_disk: int = 0) -> float:
    """Bytes that may still be taken: of a budget for the whole process, without one 70% of what is free.

    The ``on_disk`` bytes of mapped files are outside the budget: the system drops their pages when it wants the memory.
    On a GPU the budget is for its memory, of which this process holds what PyTorch has reserved.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return _FREE_SHARE * free if budget is None else budget - torch.cuda.memory_reserved(device)
    if budget is None:
        return _FREE_SHARE * float(psutil.virtual_memory().available)
    return budget - _RESERVE + on_disk - float(psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class Allotment:
    """What fits.

    Attributes:
        width: adapters that train together.
        tokens_per_pass: tokens in a pass of the model, those of all its adapters counted.
    """

    width: int
    tokens_per_pass: int


@dataclass(frozen=True)
class Activations:
    """Bytes kept between forward and backward pass: for a token of an example, and for the prompts of one adapter."""

    per_token: float
    of_prompts: int


def allot(room: float, saved: Activations, entries: int, longest: int) -> Allotment:
    """Divide ``room`` bytes between factors and activations.

    Args:
        room: bytes for both.
        saved: bytes of activations saved for the backward pass, see :func:`activations`.
        entries: number of entries in both factors of the largest adapter.
        longest: tokens of the longest row; a pass holds one row of every adapter at least.
    Raises:
        InputError: not even one adapter and one row fit; the message says how much would do.
    """
    of_adapter = _BYTES_PER_FACTOR_ENTRY * entries + _WORK_SPACE * saved.of_prompts
    of_token = _WORK_SPACE * saved.per_token
    if room < of_adapter + longest * of_token:
        short = (of_adapter + longest * of_token - room) / GIB
        raise InputError(f"one adapter and one example of {longest} tokens need {short:.2f} GiB more: raise --memory")
    width = int(min(STACK_WIDTH, max(1.0, room / 3 // of_adapter)))
    tokens = int(min(TOKENS_PER_PASS, (room - width * of_adapter) // of_token))
    return Allotment(max(1, min(width, tokens // longest)), tokens)


def activations(classifier: Classifier, inputs: Inputs, adapter: Adapter) -> Activations:
    """Measure what a step with one adapter keeps, on the longest row: storages that automatic differentiation saves,
    without the weights."""
    index = np.full(2, int(np.argmax(inputs.lengths)))
    with Stack(classifier.module, [adapter], classifier.towers) as stack:
        weights = {w.untyped_storage().data_ptr() for w in (*stack.model.parameters(), *stack.model.buffers())}
        classes, of_prompts = _saved(classifier.class_embeddings, weights)
        compared = classes.detach().requires_grad_(classes.requires_grad)
        _, of_rows = _saved(lambda: classifier.logits(inputs, index, compared), weights)
    return Activations(of_rows / layout(inputs, index).token.size, of_prompts)


def _saved(run: Callable[[], Tensor], weights: set[int]) -> tuple[Tensor, int]:
    """The result of ``run`` (held, so that no address is used twice), and the bytes saved for its backward pass."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
    return result, sum(size for address, size in saved.items() if address not in weights)
