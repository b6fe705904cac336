"""Stacks side by side: one thread a stack beats one stack on all cores.

Small matrices gain little from a second core, which waits for the first at the end of every product; and when
another program wants a core, both wait. So each worker has a copy of the model (its weights are shared) and its own
stack, and computes on its own share of the cores. Workers never meet before they are done.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from lorabound.engine.prefix import WithPrefix

Job = TypeVar("Job")
Result = TypeVar("Result")

# Beyond this many, threads of Python would wait for one another (not measured: the benchmarks ran on two cores).
_MOST = 4
# Seconds until Ctrl-C is heard.
_HEARD_WITHIN = 0.2


def n_workers(device: torch.device, n_runs: int) -> int:
    """One a core on a CPU, up to four, with at least one run each; one on a GPU."""
    return max(1, min(_MOST, torch.get_num_threads(), n_runs)) if device.type == "cpu" else 1


def run_in_threads(
    workers: Sequence[WithPrefix], jobs: Sequence[Job], do: Callable[[WithPrefix, Job], Result]
) -> Iterator[tuple[Job, Result]]:
    """(job, do(worker, job)) of every job, as they are done, jobs started in their order.

    When the caller stops, or anything is raised, jobs that have not started are dropped and the others are
    interrupted at their next pass of the model.
    """
    idle: queue.SimpleQueue[WithPrefix] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)
    cores = torch.get_num_threads()

    def one(job: Job) -> Result:
        torch.set_num_threads(max(1, cores // len(workers)))
        worker = idle.get()
        try:
            return do(worker, job)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            futures = {pool.submit(one, job): job for job in jobs}
            try:
                while futures:
                    # Polars makes waits go on after a signal: without a timeout Ctrl-C would wait for a whole stack.
                    for future in wait(futures, _HEARD_WITHIN, FIRST_COMPLETED).done:
                        yield futures.pop(future), future.result()  # popped, so that no result outlives its use
            except BaseException:  # an error, Ctrl-C, or a caller that asks for no more
                for worker in workers:
                    worker.interrupted = True
                for future in futures:
                    future.cancel()
                raise
    finally:
        torch.set_num_threads(cores)
