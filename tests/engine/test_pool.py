"""The pool: the same results as one after another, errors that surface, interruptions that end, a model left as it was."""

import threading
import time

import numpy as np
import psutil
import pytest
import torch

from lorabound.adapters import new_adapter
from lorabound.engine import Examples, Pool, Recipe, pool, train
from lorabound.engine.memory import GIB
from lorabound.errors import InputError
from lorabound.stack import select_linears


@pytest.fixture
def task(tiny):
    random = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(40)]
    return Examples(tiny.prepare(texts), np.array([ord(t[0]) % 3 for t in texts]))


@pytest.fixture
def three(tiny, task, monkeypatch):
    """A pool of three workers."""
    monkeypatch.setattr(pool, "n_workers", lambda *_: 3)
    with Pool(tiny, list(select_linears(tiny.module, ["value"])), [task.inputs], 9) as made:
        yield made


def test_side_by_side_is_one_after_another(tiny, task, three):
    shapes = select_linears(tiny.module, ["value"])
    jobs = [(mode, seed) for mode in ("freeze_a", "train_both", "freeze_b") for seed in range(3)]

    def run(worker, job):
        mode, seed = job
        adapter = new_adapter(shapes, 2, mode, seed, "kaiming_uniform", 2.0)
        return train(worker, task, task, [adapter], [seed], Recipe(2, 8, 0.02))[0]

    threads = torch.get_num_threads()
    together = dict(three.run(jobs, run))
    assert torch.get_num_threads() == threads
    assert set(together) == set(jobs)
    for job in jobs:
        np.testing.assert_allclose(run(three.workers[0], job).test.log_losses, together[job].test.log_losses, atol=1e-6)
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


def test_an_error_surfaces_and_the_others_end_soon(task, three):
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
        list(three.run(list(range(9)), run))
    assert time.monotonic() - start < 10


def test_a_caller_that_stops_stops_the_workers(task, three):
    ran = []

    def run(worker, job):
        ran.append(job)
        worker.logits(task.inputs, np.arange(2))
        time.sleep(0.05)
        return job

    results = three.run(list(range(60)), run)
    next(results)
    results.close()
    assert len(ran) < 20


def test_a_pool_keeps_to_its_budget(tiny, task, tmp_path):
    """A tight budget narrows the stack or the pass and moves the prefix to disk; one that holds nothing is refused."""
    shapes = select_linears(tiny.module, ["value"])
    names, probe = list(shapes), new_adapter(shapes, 8, "train_both", 0, "kaiming_uniform", 2.0)
    with Pool(tiny, names, [task.inputs], 2) as free:
        wide = free.fit(probe)
        assert not free.resources(wide)["stored_on_disk"]
    taken = psutil.Process().memory_info().rss / GIB
    with (
        Pool(tiny, names, [task.inputs], 2, taken / 2, tmp_path) as tight,
        pytest.raises(InputError, match="GiB more: raise --memory"),
    ):
        tight.fit(probe)
    assert tight.workers[0].on_disk
    assert tight.resources(wide)["budget_gib"] == taken / 2
