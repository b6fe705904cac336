"""Where the frozen model computes, and in which number format: bfloat16 where products in it are faster."""

from __future__ import annotations

import functools
import math
import time
from typing import Literal

import torch
from torch import nn

from lorabound.models.products import with_fast_products

Precision = Literal["float32", "bfloat16"]

# bfloat16 rounds activations to three digits: it has to be worth that.
_WORTH = 1.5


def default_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(wanted: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """``wanted``, or for "auto" the format that the device is fast in: both are measured, for a fraction of a second.

    bfloat16 has to be at least 1.5 times as fast. Without hardware for it, it is ten times slower than float32.
    """
    if wanted != "auto":
        return wanted
    wide, narrow = (_seconds(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    return "bfloat16" if _WORTH * narrow <= wide else "float32"


@functools.cache
def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of one product of activations (512, 384) with a weight (384, 1536): the best of 3 to 9 in some 0.1 s.

    One thread computes it, as one worker of a sweep does: several would wait for each other beside other programs, and
    the measurement would tell nothing. Infinite where the device has no such product.
    """
    best, stop = math.inf, time.perf_counter() + 0.1
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = torch.ones(512, 384, dtype=dtype, device=device)
        layer = with_fast_products(nn.Linear(384, 1536, device=device, dtype=dtype).requires_grad_(False))
        for count in range(9):  # the first one also waits for libraries to start
            start = time.perf_counter()
            float(layer(rows)[0, 0])  # reading an entry waits for the device
            best = min(best, time.perf_counter() - start)
            if count >= 2 and time.perf_counter() > stop:
                break
    except RuntimeError:
        return math.inf
    finally:
        torch.set_num_threads(cores)
    return best
