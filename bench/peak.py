"""What this machine multiplies: GFLOP/s of a large matrix product in float32 and bfloat16, as one JSON object."""

import json
import time

import torch

from lorabound.models.products import with_fast_products


def peak(dtype: torch.dtype, size: int = 2048, seconds: float = 1.5) -> float:
    """Best of the products that fit in the time."""
    a, layer = torch.randn(size, size).to(dtype), torch.nn.Linear(size, size, bias=False, dtype=dtype)
    with_fast_products(layer.requires_grad_(False))  # as the frozen layers of a sweep
    best, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        layer(a)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


print(
    json.dumps({"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16), "threads": torch.get_num_threads()})
)
