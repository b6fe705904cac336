"""Workers that train stacks of adapters side by side: one stored prefix, copies of the model, one budget of memory.

Everything in this project trains through a :class:`Pool`. Each worker is a copy of the model (the weights are shared)
with a stack of its own, and computes on its own share of the cores. Workers do not wait for each other. One stack on
all cores is slower: small matrices gain little from a second core, which waits for the first at the end of every
product; and when another program takes a core, both wait.
"""

from __future__ import annotations

import queue
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from lorabound.adapters import Adapter
from lorabound.engine.layout import longest
from lorabound.engine.memory import GIB, Allotment, activations, allot, free_bytes
from lorabound.engine.prefix import WithPrefix
from lorabound.models import Inputs, LoadedClassifier

Job = TypeVar("Job")
Result = TypeVar("Result")

# Beyond this many, threads of Python would wait for one another (not measured: the benchmarks ran on two cores).
_MOST = 4
# Seconds until Ctrl-C is heard.
_HEARD_WITHIN = 0.2


class Pool:
    """Workers on one frozen model, within a budget of memory; used as a context manager.

    The model is changed when the context is entered, and put back when it is left.

    Attributes:
        workers: one model with its stored prefix per thread.
        budget: GiB that the whole process may take; None takes what is free.
    """

    def __init__(
        self,
        classifier: LoadedClassifier,
        adapted: Sequence[str],
        sets: Sequence[Inputs],
        n_jobs: int,
        memory: float | None = None,
        folder: str | Path | None = None,
    ) -> None:
        """Store what the layers below the adapted ones compute, in at most half of the memory left.

        Args:
            adapted: names of the layers that adapters will change.
            sets: all inputs that jobs will read; others go through the whole model.
            n_jobs: jobs there will be: no more workers than that.
            memory: budget of the whole process in GiB; None takes what is free.
            folder: folder for the file of a prefix that does not fit into memory; None takes that of temporary files.
        """
        self.budget = memory
        self._device, self._sets = classifier.device, list(sets)
        room = free_bytes(self._bytes, self._device) / 2
        first = WithPrefix(classifier, adapted, sets, room, folder or tempfile.gettempdir())
        copies = (first.replica() for _ in range(n_workers(self._device, n_jobs) - 1))
        self.workers = [first, *copies]
        self._cores = torch.get_num_threads()
        self._idle: queue.SimpleQueue[WithPrefix] = queue.SimpleQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._open = ExitStack()

    def __enter__(self) -> Pool:
        for worker in self.workers:
            self._open.enter_context(worker)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def fit(self, probe: Adapter) -> Allotment:
        """How many adapters as large as ``probe``, and how many tokens in one pass, fit into the share of one worker.

        Raises:
            InputError: not even one adapter and one example fit; the message says how much would do.
        """
        first = self.workers[0]
        widest = max(self._sets, key=longest)
        room = free_bytes(self._bytes, self._device, first.n_bytes if first.on_disk else 0) / len(self.workers)
        entries = sum(factors.a.size + factors.b.size for factors in probe.layers.values())
        return allot(room, activations(first, widest, probe), entries, longest(widest))

    def lend(self, do: Callable[[WithPrefix], Result]) -> Result:
        """``do(worker)`` with a worker that is idle, on its share of the cores; waits for one. For threads."""
        torch.set_num_threads(max(1, self._cores // len(self.workers)))
        worker = self._idle.get()
        try:
            return do(worker)
        finally:
            self._idle.put(worker)

    def run(self, jobs: Sequence[Job], do: Callable[[WithPrefix, Job], Result]) -> Iterator[tuple[Job, Result]]:
        """Run ``do(worker, job)`` for every job; yields (job, result) in the order in which jobs end.

        Jobs start in their order, and none depends on another.
        When the caller stops, or anything is raised, jobs that have not started are dropped and the others are
        interrupted at their next pass of the model.
        """
        cores = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(len(self.workers)) as threads:
                futures = {threads.submit(self.lend, lambda worker, job=job: do(worker, job)): job for job in jobs}
                try:
                    while futures:
                        # Polars makes waits go on after a signal: without a timeout Ctrl-C would wait for a stack.
                        for future in wait(futures, _HEARD_WITHIN, FIRST_COMPLETED).done:
                            yield futures.pop(future), future.result()  # popped: no result outlives its use
                except BaseException:  # an error, Ctrl-C, or a caller that asks for no more
                    for worker in self.workers:
                        worker.interrupted = True
                    for future in futures:
                        future.cancel()
                    raise
        finally:
            torch.set_num_threads(cores)

    def resources(self, allotment: Allotment) -> dict[str, Any]:
        """What was taken so far, as JSON values; sizes in GiB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        first = self.workers[0]
        return {
            "peak_gib": peak / GIB,
            "budget_gib": self.budget,
            "workers": len(self.workers),
            "width": allotment.width,
            "tokens_per_pass": allotment.tokens_per_pass,
            "stored_gib": first.n_bytes / GIB,
            "stored_on_disk": first.on_disk,
        }

    @property
    def _bytes(self) -> float | None:
        return None if self.budget is None else self.budget * GIB


def n_workers(device: torch.device, n_jobs: int) -> int:
    """One per core on a CPU, up to four, with at least one job each; one on a GPU."""
    return max(1, min(_MOST, torch.get_num_threads(), n_jobs)) if device.type == "cpu" else 1
