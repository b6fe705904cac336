"""Blocks: runs on nested sizes, each tested on the rows up to the next size."""

import numpy as np
import pytest
from scipy.stats import binom

from lorabound.adapters import new_adapter
from lorabound.bounds import best_lam, progressive
from lorabound.data import read_table, split
from lorabound.engine import Examples, Recipe, train
from lorabound.errors import InputError, StoreError
from lorabound.stack import select_linears
from lorabound.sweeps import Row, SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.progressive import block_certificate
from tests.engine.test_engine import make
from tests.stores import rewrite

CONFIG = SweepConfig(ranks=[2], modes=["freeze_a"], seeds=1, n_train=[20, 30, 40], n_test=10, epochs=3, blocks=True)


def stage(n_train, next_errors=None, **changes):
    values = dict(
        key=f"{n_train}", rank=2, mode="freeze_a", n_train=n_train, seed=0, n_params=8, seconds=1.0, status="done",
        n_next=None if next_errors is None else len(next_errors), next_errors=next_errors,
    )  # fmt: skip
    return Row(**{**values, **changes})


def test_each_stage_counts_with_its_block():
    random = np.random.default_rng(0)
    first, second = random.random(10) < 0.5, random.random(10) < 0.4
    rows = [stage(40), stage(30, second), stage(20, first), stage(20, first, seed=1), stage(30, second, rank=1)]
    found = block_certificate(rows[0], rows, CONFIG)
    both = np.concatenate([first, second])
    assert found.value == progressive(both.mean(), 20, 0.05, lam=best_lam(0.25, 20, 0.05)).value
    assert "20 (10), 30 (10)" in found.predictor
    (single,) = [block_certificate(rows[1], rows, CONFIG)]
    assert single.terms["block_error"] == first.mean()
    assert block_certificate(rows[2], rows, CONFIG) is None
    longer = stage(20, random.random(20) < 0.5)  # measured before the size 30 was added
    assert block_certificate(rows[0], [rows[0], rows[1], longer], CONFIG).n_samples == 20


def test_a_sweep_with_blocks(crossed_design, tiny, tmp_path):
    """A run is the same as without; its errors on the next rows are those of its adapter."""
    one = crossed_design.model_copy(
        update={"n_train": [16, 24], "samples": 2, "seeds": [0], "modes": ["freeze_a"], "blocks": True}
    )
    store = run_sweep(one, tmp_path / "out")
    plain = run_sweep(one.model_copy(update={"blocks": False}), tmp_path / "plain")
    for run, other in zip(store.rows(), plain.rows(), strict=True):
        np.testing.assert_allclose(run.test_log_losses, other.test_log_losses, atol=1e-5)
        np.testing.assert_array_equal(run.first_order, other.first_order)
        assert run.train_error == other.train_error
        assert run.n_next == (8 if run.rank and run.n_train == 16 else None)
    data = split(read_table(one.data), 48, 60)
    shapes = select_linears(tiny.module, one.targets)
    for run in [row for row in store.rows() if row.n_next]:
        block = slice(24 * run.sample, 24 * run.sample + 24)
        examples = Examples(tiny.prepare(data.train_examples[block]), data.train_labels[block])
        adapter = new_adapter(shapes, 2, "freeze_a", 0, one.law, one.alpha_over_r)
        recipe = Recipe(one.epochs, one.batch_size, one.lr, one.schedule)
        (alone,) = train(tiny, examples.head(16), examples, [adapter], [run.sample << 64], recipe)
        np.testing.assert_array_equal(run.next_errors, alone.test.errors[16:])
    frame = store.frame().filter(rank=2, n_train=24)
    assert frame["block_error"].to_list() == [run.next_errors.mean() for run in store.rows() if run.n_next]
    rewrite(store, "update runs set n_next = 80 where n_next > 0")
    with pytest.raises(StoreError, match="too few examples in the next block"):
        store.rows()


def test_blocks_need_rows_as_they_come():
    with pytest.raises(InputError, match="in place of shots"):
        SweepConfig(shots=[2], blocks=True)


def test_certificates_of_blocks_hold(tiny):
    """Stages on 20, 30 and 40 of 50 examples drawn with replacement from 60 strings of known risk; 60 trainings."""
    random = np.random.default_rng(7)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(60)]
    labels = np.array([ord(text[0]) % 3 for text in texts])
    population = Examples(tiny.prepare(texts), labels)
    violations, n_trials, delta = 0, 60, 0.2
    for _ in range(n_trials):
        drawn = random.integers(0, 60, 50)
        sample = Examples(tiny.prepare([texts[i] for i in drawn]), labels[drawn])
        rows, risks = [stage(50)], []
        for size in (20, 30, 40):
            (result,) = train(
                tiny, sample, population, make(tiny, [("freeze_a", 2, 0)]), [0], Recipe(2, 8, 0.05),
                subsets=np.arange(size)[None],
            )  # fmt: skip
            rows.append(stage(size, result.train.errors[size : size + 10]))
            risks.append(result.test.error)
        violations += float(block_certificate(rows[0], rows, CONFIG, delta).value) < np.mean(risks)
    assert binom.sf(violations - 1, n_trials, delta) > 1e-4, violations
