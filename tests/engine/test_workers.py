"""Workers: the same results as one after another, errors that surface, interruptions that end, a model left as it was."""

import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from lorabound.adapters import new_adapter
from lorabound.engine import Examples, Recipe, WithPrefix, run_in_threads, train
from lorabound.stack import select_linears


@pytest.fixture
def task(tiny):
    random = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(40)]
    return Examples(tiny.prepare(texts), np.array([ord(t[0]) % 3 for t in texts]))


@pytest.fixture
def workers(tiny, task):
    first = WithPrefix(tiny, list(select_linears(tiny.module, ["value"])), [task.inputs])
    with ExitStack() as stack:
        yield [stack.enter_context(worker) for worker in (first, first.replica(), first.replica())]


def test_side_by_side_is_one_after_another(tiny, task, workers):
    shapes = select_linears(tiny.module, ["value"])
    jobs = [(mode, seed) for mode in ("freeze_a", "train_both", "freeze_b") for seed in range(3)]

    def run(worker, job):
        mode, seed = job
        adapter = new_adapter(shapes, 2, mode, seed, "kaiming_uniform", 2.0)
        return train(worker, task, task, [adapter], [seed], Recipe(2, 8, 0.02))[0]

    threads = torch.get_num_threads()
    together = dict(run_in_threads(workers, jobs, run))
    assert torch.get_num_threads() == threads
    assert set(together) == set(jobs)
    for job in jobs:
        np.testing.assert_allclose(run(workers[0], job).test.log_losses, together[job].test.log_losses, atol=1e-6)
    fresh = type(tiny)()
    for job in jobs[:2]:
        mode, seed = job
        adapter = new_adapter(shapes, 2, mode, seed, "kaiming_uniform", 2.0)
        (plain,) = train(fresh, task, task, [adapter], [seed], Recipe(2, 8, 0.02))
        np.testing.assert_allclose(together[job].test.log_losses, plain.test.log_losses, atol=1e-5)


def test_twins_share_weights_and_nothing_else(tiny):
    replica = tiny.replica()
    assert replica.module is not tiny.module
    for (name, mine), (other, theirs) in zip(
        tiny.module.named_parameters(), replica.module.named_parameters(), strict=True
    ):
        assert name == other
        assert mine is theirs
    replica.module.layer[0].query = torch.nn.Linear(16, 16)
    assert tiny.module.layer[0].query is not replica.module.layer[0].query


def test_an_error_surfaces_and_the_others_end_soon(task, workers):
    begun = threading.Event()

    def run(worker, job):
        if job == 0:
            begun.wait(10)
            raise ValueError("of one job")
        begun.set()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            worker.logits(task.inputs, np.arange(2))
        raise AssertionError("never interrupted")

    start = time.monotonic()
    with pytest.raises(ValueError, match="of one job"):
        list(run_in_threads(workers, list(range(9)), run))
    assert time.monotonic() - start < 10


def test_a_caller_that_stops_stops_the_workers(task, workers):
    ran = []

    def run(worker, job):
        ran.append(job)
        worker.logits(task.inputs, np.arange(2))
        time.sleep(0.05)
        return job

    results = run_in_threads(workers, list(range(60)), run)
    next(results)
    results.close()
    assert len(ran) < 20
