"""Where stacks of runs are trained: in this process, or on the machines of a Ray cluster. One of them writes the store.

An executor has the inputs of some tasks at hand. It is asked how many adapters a stack may hold, then given stacks, and
hands the outcomes back in the order in which stacks end; none depends on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from lorabound.engine import Allotment, Narrow, Pool, WithPrefix
from lorabound.errors import InputError
from lorabound.modes import LARGEST_MODE
from lorabound.sweeps.grid import Run
from lorabound.sweeps.measuring import Outcome, measure
from lorabound.sweeps.task import Task

# Called with a stack that trains, and the steps of it that are done, and all; from the threads of workers too.
OnStep = Callable[[list[Run], int, int], None]
Ended = tuple[list[Run], list[Outcome]]


class Executor(Protocol):
    """Used as a context manager."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def fit(self, task: Task) -> tuple[int, int]:
        """Adapters that may train together, and stacks that train at a time.

        Raises:
            InputError: not even one adapter and one example fit into the memory.
        """

    def run(self, task: Task, stacks: Sequence[list[Run]], on_step: OnStep) -> Iterator[Ended]:
        """Train stacks of the task of the last :meth:`fit`, and yield each with its outcomes. Their ``seconds`` are
        shares of the time of all workers.

        The examples of the task are those of one that the executor was made for; its settings may be others.
        """

    def resources(self) -> dict[str, Any]:
        """What was taken so far, as JSON values; sizes in GiB."""


def open_executor(tasks: Sequence[Task], n_jobs: int, folder: str | Path, tell: Callable[[str], None]) -> Executor:
    """The executor that the settings of the first task ask for.

    Args:
        tasks: tasks of one model, with other examples or settings each.
        n_jobs: stacks there will be at most.
        folder: folder for the file of stored products that do not fit into memory.
        tell: function that is told what is waited for.
    """
    if tasks[0].config.executor == "ray":
        try:
            from lorabound.sweeps.cluster import Cluster
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise InputError("--executor ray needs Ray: pip install 'lorabound[ray]'") from None
        return Cluster(tasks, n_jobs, tell)
    return Local(tasks, n_jobs, folder)


class Local:
    """The workers of this process, threads that share one model."""

    def __init__(self, tasks: Sequence[Task], n_jobs: int, folder: str | Path | None) -> None:
        first = tasks[0]
        sets = {rows: None for task in tasks for rows in task.inputs}
        self.pool = Pool(first.classifier, list(first.shapes), list(sets), n_jobs, first.config.memory, folder)
        self.narrow = Narrow()

    def __enter__(self) -> Local:
        self.pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.__exit__(kind, error, trace)

    def fit(self, task: Task) -> tuple[int, int]:
        """As of an :class:`Executor`."""
        self.allotment: Allotment = self.pool.fit(task.new_adapter(max(task.config.ranks), LARGEST_MODE, 0))
        return self.allotment.width, len(self.pool.workers)

    def run(self, task: Task, stacks: Sequence[list[Run]], on_step: OnStep) -> Iterator[Ended]:
        """As of an :class:`Executor`."""

        def do(worker: WithPrefix, stack: list[Run]) -> list[Outcome]:
            return self.measure(task, worker, stack, on_step)

        yield from self.pool.run(stacks, do)

    def measure(self, task: Task, worker: WithPrefix, stack: list[Run], on_step: OnStep) -> list[Outcome]:
        """One stack on one worker."""
        outcomes = measure(
            task, worker, stack, self.allotment, lambda done, steps: on_step(stack, done, steps), self.narrow
        )
        return [outcome.shared_by(len(self.pool.workers)) for outcome in outcomes]

    def resources(self) -> dict[str, Any]:
        """As of an :class:`Executor`."""
        return self.pool.resources(self.allotment)
