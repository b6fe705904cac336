"""How fast this machine multiplies matrices of a model's shapes, as the workers of a sweep do: measured in a moment.

On a CPU the time of the processor counts, not that of the clock: other programs that run meanwhile make no slow machine
of a busy one. A container's share of the processor (``cpu.max`` of its control group) is no such program, and counts.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from lorabound.models.products import with_fast_products

# As the engine has them; importing it would import transformers, which takes seconds. A test compares them.
TOKENS_PER_PASS = 2048
MOST_WORKERS = 4
# Seconds of products; half of them again go into warming up.
_MEASURED = 0.3
# Microseconds of processor time in each period of so many, or "max", in the control groups of Linux.
_SHARE_OF_CPU = Path("/sys/fs/cgroup/cpu.max")


def products_per_second(
    shapes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype, n_runs: int, *, alone: bool = True
) -> float:
    """Operations per second in products of a pass with weights of these shapes, all workers of the machine together.

    Args:
        shapes: (d_out, d_in) of the linear layers, each as often as the model has it.
        n_runs: runs of the sweep; there are no more workers than runs.
        alone: whether to give the speed that is there if nothing else runs, or the one beside what runs now.
    """
    alone = alone and device.type == "cpu"
    workers = max(1, min(MOST_WORKERS, torch.get_num_threads(), n_runs)) if device.type == "cpu" else 1
    cores = torch.get_num_threads()
    counted = Counter(shapes) or Counter([(512, 512)])
    ready, speeds = threading.Barrier(workers), [0.0] * workers

    def measure(worker: int) -> None:
        torch.set_num_threads(max(1, cores // workers))
        ready.wait()
        speeds[worker] = _measure(counted, device, dtype, time.thread_time if alone else time.perf_counter)

    threads = [threading.Thread(target=measure, args=(worker,)) for worker in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(cores)
    return sum(speeds) * (_share_of_cores(cores) if alone else 1.0)


def _share_of_cores(cores: int) -> float:
    """Share of so many cores that this process may use at once; 1 where nothing limits it."""
    try:
        most, period = _SHARE_OF_CPU.read_text().split()
        return min(1.0, int(most) / int(period) / cores)
    except (OSError, ValueError):  # no such groups, or "max"
        return 1.0


@torch.inference_mode()
def _measure(
    shapes: Counter[tuple[int, int]], device: torch.device, dtype: torch.dtype, clock: Callable[[], float]
) -> float:
    """Of one worker: the mean over the model's shapes, weighed by the arithmetic they have."""
    seconds = operations = 0.0
    share = _MEASURED / len(shapes)
    for (d_out, d_in), count in shapes.items():
        rows = torch.full((TOKENS_PER_PASS, d_in), 0.5, dtype=dtype, device=device)
        layer = with_fast_products(nn.Linear(d_in, d_out, False, device, dtype).requires_grad_(False))
        per_product = 2.0 * TOKENS_PER_PASS * d_out * d_in
        times: list[float] = []
        end = time.perf_counter() + 1.5 * share
        while not times or time.perf_counter() < end:
            start = clock()
            float(layer(rows)[0, 0])  # reading an entry waits for the device
            times.append(clock() - start)
        seconds += count * statistics.median(times[len(times) // 3 :])  # after warming
        operations += count * per_product
    return operations / seconds
