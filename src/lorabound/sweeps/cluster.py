"""Stacks trained on the machines of a Ray cluster: one worker per machine, or per GPU of it.

Each worker gets the prepared examples once and loads the model once, from the place that the settings name; it refuses
to work where it finds other weights. The driver alone writes the store. A stack whose worker is lost is trained again
by another one; machines that join while a sweep runs get workers too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import lorabound
from lorabound.data import Split, counted
from lorabound.engine import keep_freed_memory
from lorabound.errors import InputError, LoraboundError, ModelError, first_line
from lorabound.models import LoadedClassifier
from lorabound.stack import directions_of_weights
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.executors import Ended, Local, OnStep
from lorabound.sweeps.grid import Run
from lorabound.sweeps.measuring import Outcome
from lorabound.sweeps.task import Task, load_model

# Stacks at a time on one worker at most; a CPU worker has fewer where it has fewer cores.
_MOST_AT_A_TIME = 4
# A stack is given up when so many workers were lost over it, and a machine when it lost so many.
_MOST_LOST = 3
# Seconds between looks at what happened, and until a cluster has to answer.
_LOOKS_EVERY, _ANSWERS_WITHIN = 0.5, 10.0


@dataclass(frozen=True)
class Parcel:
    """A task as it travels: its prepared examples, without the model and without the rows of its data."""

    others: dict[str, Any]
    data: Split
    model_sha256: str

    @classmethod
    def of(cls, task: Task) -> Parcel:
        """What a worker needs of a task."""
        left = ("classifier", "weights", "data")
        others = {one.name: getattr(task, one.name) for one in fields(Task) if one.name not in left}
        data = replace(task.data, train_examples=[], test_examples=[], unlabelled_examples=[])
        return cls(others, data, task.classifier.sha256)

    def load(self) -> LoadedClassifier:
        """The model, as this machine has it.

        Raises:
            ModelError: it is not here, or its weights are others.
        """
        config: SweepConfig = self.others["config"]
        classifier = load_model(config, self.others["kind"], self.data.classes)
        if classifier.sha256 != self.model_sha256:
            raise ModelError(
                f"{platform.node()} finds other weights under {config.model} than the machine that started the sweep: "
                "give all machines the same folder"
            )
        return classifier

    def opened(self, classifier: LoadedClassifier) -> Task:
        """The task, with the model in place."""
        weights = directions_of_weights(classifier.module, self.others["shapes"])
        return Task(**self.others, data=self.data, classifier=classifier, weights=weights)


@dataclass(frozen=True)
class Facts:
    """What a worker says of itself: adapters in a stack, stacks at a time, and which code runs where."""

    width: int
    at_a_time: int
    host: str
    device: str
    code: str


class Worker:
    """One process on one machine, with the model and the workers of a :class:`Local` executor; a Ray actor."""

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs
        self._steps: dict[Run, tuple[list[Run], int, int]] = {}

    def load(self, parcels: list[Parcel], number: int, config: SweepConfig) -> Facts:
        """Load the model, and store what its frozen layers compute; then as :meth:`fit`."""
        keep_freed_memory()
        classifier = parcels[0].load()
        self._tasks = [parcel.opened(classifier) for parcel in parcels]
        self._local = Local(self._tasks, self._n_jobs, None).__enter__()
        return self.fit(number, config)

    def fit(self, number: int, config: SweepConfig) -> Facts:
        """How much fits here, for one of the tasks with other settings."""
        width, at_a_time = self._local.fit(replace(self._tasks[number], config=config))
        device = str(self._tasks[0].classifier.device)
        return Facts(width, at_a_time, platform.node(), device, _code())

    def train(self, number: int, config: SweepConfig, stack: list[Run]) -> list[Outcome]:
        """The outcomes of one stack."""

        def note(stack: list[Run], done: int, steps: int) -> None:
            self._steps[stack[0]] = (stack, done, steps)

        try:
            return self._local.pool.lend(
                lambda one: self._local.measure(replace(self._tasks[number], config=config), one, stack, note)
            )
        finally:
            self._steps.pop(stack[0], None)

    def steps(self) -> list[tuple[list[Run], int, int]]:
        """Stacks that train now, with the steps that are done and all of them."""
        return list(self._steps.values())

    def resources(self) -> dict[str, Any]:
        """As of an executor."""
        return self._local.resources()


@dataclass
class _Member:
    """A worker of the crew, as the driver knows it; it has no facts until it is ready."""

    actor: Any
    node: str
    ready: Any
    facts: Facts | None = None
    refs: dict[Any, list[Run]] = field(default_factory=dict)
    asked: Any = None


class Cluster:
    """The executor on a Ray cluster."""

    def __init__(self, tasks: Sequence[Task], n_jobs: int, tell: Callable[[str], None]) -> None:
        self._tasks, self._n_jobs, self._tell = list(tasks), n_jobs, tell
        self._config = tasks[0].config
        self._crew: list[_Member] = []
        self._lost: Counter[str] = Counter()
        self._why = ""

    def __enter__(self) -> Cluster:
        self._started = _connect(self._config.address)
        self._parcels = ray.put([Parcel.of(task) for task in self._tasks])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._crew:
            ray.kill(member.actor)
        self._crew.clear()
        if self._started:
            ray.shutdown()

    def fit(self, task: Task) -> tuple[int, int]:
        """As of an :class:`~lorabound.sweeps.executors.Executor`; waits for the first worker."""
        self._of = self._number(task), task.config
        for member in self._crew:
            member.facts, member.ready = None, member.actor.fit.remote(*self._of)
        while not any(member.facts for member in self._crew):
            self._enlist()
            self._look()
        ready = [member.facts for member in self._crew if member.facts]
        return min(facts.width for facts in ready), sum(facts.at_a_time for facts in ready)

    def run(self, task: Task, stacks: Sequence[list[Run]], on_step: OnStep) -> Iterator[Ended]:
        """As of an :class:`~lorabound.sweeps.executors.Executor`.

        Raises:
            InputError: three workers in a row were lost over one stack, or no machine can start one.
        """
        self._of = self._number(task), task.config
        waiting, lost = deque(stacks), Counter[Run]()
        while waiting or any(member.refs for member in self._crew):
            self._enlist()
            for member in self._crew:
                while waiting and member.facts and len(member.refs) < member.facts.at_a_time:
                    stack = waiting.popleft()
                    member.refs[member.actor.train.remote(*self._of, stack)] = stack
            ended, dropped = self._look(on_step)
            for stack in dropped:
                lost[stack[0]] += 1
                if lost[stack[0]] == _MOST_LOST:
                    raise InputError(
                        f"{_MOST_LOST} workers were lost while they trained {counted(len(stack), 'adapter')} of rank "
                        f"{stack[-1].rank}: if their machines ran out of memory, give a smaller --memory; what was "
                        "finished is kept, and the same command goes on"
                    )
                waiting.appendleft(stack)
            yield from ended

    def resources(self) -> dict[str, Any]:
        """As of an :class:`~lorabound.sweeps.executors.Executor`: the largest of any worker, the workers of all."""
        found = []
        for member in self._crew:
            try:
                found.append(ray.get(member.actor.resources.remote(), timeout=60))
            except ray.exceptions.RayError:
                continue  # lost just now
        hosts = Counter(f"{member.facts.host} ({member.facts.device})" for member in self._crew if member.facts)
        total: dict[str, Any] = {name: max(one[name] or 0 for one in found) for name in (found[0] if found else ())}
        total |= {"budget_gib": self._config.memory, "workers": sum(one["workers"] for one in found)}
        return total | {"machines": dict(hosts)}

    def _number(self, task: Task) -> int:
        """Which of the tasks of this executor has the examples of ``task``."""
        return next(number for number, own in enumerate(self._tasks) if own.samples is task.samples)

    def _enlist(self) -> None:
        """A worker for every machine, or GPU, that has none.

        Raises:
            InputError: every machine lost its worker again and again.
        """
        nodes = [node for node in _nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        usable = [node for node in nodes if self._lost[node["NodeID"]] < _MOST_LOST]
        if nodes and not usable and not self._crew:
            raise InputError(
                f"all {counted(len(nodes), 'machine')} of the Ray cluster lost their workers {_MOST_LOST} times "
                f"({self._why}): is there enough memory (--memory), and the same lorabound installed?"
            )
        for node in usable:
            cpus, gpus = node["Resources"]["CPU"], int(node["Resources"].get("GPU", 0))
            there = sum(member.node == node["NodeID"] for member in self._crew)
            for _ in range(there, max(1, gpus)):
                options = _Actor.options(
                    num_cpus=max(1, int(cpus / max(1, gpus))),
                    num_gpus=min(1, gpus),
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                )
                actor = options.remote(self._n_jobs)
                self._crew.append(_Member(actor, node["NodeID"], actor.load.remote(self._parcels, *self._of)))
        if not any(member.facts for member in self._crew):
            self._tell(
                f"waiting for {counted(len(self._crew), 'worker')}: all cores of a machine, or a GPU, and the model"
            )

    def _look(self, on_step: OnStep = lambda *_: None) -> tuple[list[Ended], list[list[Run]]]:
        """What happened within a moment: stacks that ended, and stacks whose worker was lost."""
        ended: list[Ended] = []
        dropped: list[list[Run]] = []
        refs = [ref for member in self._crew for ref in (*member.refs, *([] if member.facts else [member.ready]))]
        if not refs:
            time.sleep(_LOOKS_EVERY)
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=_LOOKS_EVERY) if refs else ([], [])
        n_ready = sum(member.facts is not None for member in self._crew)
        for member in list(self._crew):
            try:
                for ref in [ref for ref in member.refs if ref in done]:
                    outcomes = ray.get(ref)
                    ended.append((member.refs.pop(ref), [one.shared_by(n_ready) for one in outcomes]))
                if member.facts is None and member.ready in done:
                    member.facts = _same_code(ray.get(member.ready))
                for stack, steps_done, steps in self._steps_of(member):
                    on_step(stack, steps_done, steps)
            except ray.exceptions.RayTaskError as error:  # raised by our own code on the worker
                cause = error.cause
                raise (cause if isinstance(cause, LoraboundError) else error) from None
            except (ray.exceptions.RayError, ConnectionError) as error:
                self._why = first_line(error)
                dropped += member.refs.values()
                self._crew.remove(member)
                self._lost[member.node] += 1
                ray.kill(member.actor)
        return ended, dropped

    def _steps_of(self, member: _Member) -> list[tuple[list[Run], int, int]]:
        """The answer to the last question how far its stacks are, where it came; asks again."""
        if not member.refs:
            return []
        found: list[tuple[list[Run], int, int]] = []
        if member.asked is not None and ray.wait([member.asked], timeout=0)[0]:
            found, member.asked = ray.get(member.asked), None
        if member.asked is None:
            member.asked = member.actor.steps.remote()
        running = [stack[0] for stack in member.refs.values()]
        return [one for one in found if one[0][0] in running]


def _actor() -> Any:
    """The actor class: stacks on threads of their own, questions beside them, and loading before both."""
    for name, group in (("train", "train"), ("steps", "talk")):
        setattr(Worker, name, ray.method(concurrency_group=group)(getattr(Worker, name)))
    make: Any = ray.remote
    return make(concurrency_groups={"train": _MOST_AT_A_TIME, "talk": 1})(Worker)


_Actor = _actor()


def _nodes() -> list[dict[str, Any]]:
    ask: Any = ray.nodes
    return list(ask())


def _code() -> str:
    """Version and hash of the package, as it lies on this machine."""
    digest = hashlib.sha256()
    for file in sorted(Path(lorabound.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{lorabound.__version__}, code {digest.hexdigest()[:8]}"


def _same_code(facts: Facts) -> Facts:
    if facts.code != (here := _code()):
        raise InputError(
            f"{facts.host} has another lorabound ({facts.code}) than this machine ({here}): install the same on all "
            "machines of the Ray cluster"
        )
    return facts


def _connect(address: str | None) -> bool:
    """Join a cluster, or start one of this machine alone; returns whether this process did either.

    Raises:
        InputError: no cluster answers.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    asked = address or os.environ.get("RAY_ADDRESS")
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if asked and (port := asked.rpartition(":")[2]).isdigit():  # Ray itself would wait for minutes
            socket.create_connection((asked.rpartition(":")[0], int(port)), timeout=_ANSWERS_WITHIN).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {asked or 'this machine'} ({first_line(error)}): start one with  "
            "ray start --head  and give its --address, as HOST:6379; where the cluster wants a token, set "
            "RAY_AUTH_MODE=token"
        ) from None
    finally:
        if in_main:  # Ray has put its own there
            signal.signal(signal.SIGTERM, before)
    return True
