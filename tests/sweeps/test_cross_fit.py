"""Cross-fit: every run again without each fold, tested on it; what that proves, and that it is true."""

import numpy as np
import pytest
from scipy.stats import binom

from lorabound.adapters import new_adapter
from lorabound.bounds import best_lam, cross_fit
from lorabound.data import read_table, split
from lorabound.engine import Examples, Recipe, evaluate, train
from lorabound.errors import InputError, StoreError
from lorabound.stack import select_linears
from lorabound.sweeps import Row, Sweep, SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.progressive import best_certificate, best_gain, cross_fit_certificate
from tests.commands import shown
from tests.engine.test_engine import make, task
from tests.stores import rewrite

CONFIG = SweepConfig(ranks=[2], modes=["freeze_a"], seeds=1, n_train=[60], n_test=10, epochs=2, cross_fit=5)


def folded(errors, n_folds=5, **changes):
    values = dict(
        key="k", rank=2, mode="freeze_a", n_train=len(errors), seed=0, n_params=8, seconds=1.0, status="done",
        n_folds=n_folds, fold_errors=np.asarray(errors, dtype=np.bool_), fold_test_error=0.5,
    )  # fmt: skip
    return Row(**{**values, **changes})


def test_adapters_of_one_stack_may_have_rows_of_their_own(tiny):
    """Rows of other lengths in every adapter: the same as each alone on its rows, under any limit of tokens."""
    everything, test_set = task(tiny, 40), task(tiny, 20, seed=1)
    folds = np.arange(40).reshape(4, 10)
    subsets = np.stack([np.delete(np.arange(40), fold) for fold in folds])
    specs = [("train_both", 2, 3), ("freeze_a", 2, 3), ("train_both", 1, 3), ("freeze_b", 2, 3)]
    lengths = np.sort(everything.inputs.lengths[subsets], axis=1)
    assert not (lengths == lengths[0]).all()
    recipe = Recipe(2, 8, 0.02, "cosine")
    together = train(
        tiny, everything, test_set, make(tiny, specs), [3] * 4, recipe, tokens_per_pass=50, subsets=subsets
    )
    for k, rows in enumerate(subsets):
        alone = Examples(everything.inputs, everything.labels)
        (one,) = train(tiny, alone, test_set, make(tiny, [specs[k]]), [3], recipe, subsets=rows[None])
        np.testing.assert_allclose(together[k].test.log_losses, one.test.log_losses, atol=1e-5)
        np.testing.assert_allclose(together[k].train.log_losses, one.train.log_losses, atol=1e-5)
        assert sorted(together[k].first_pass.order) == rows.tolist()


def test_the_rows_of_a_fold_are_never_trained_on(tiny):
    """Other labels in its fold change nothing about an adapter."""
    everything, test_set = task(tiny, 30), task(tiny, 10, seed=1)
    rows = np.delete(np.arange(30), np.arange(6, 12))[None]
    changed = Examples(everything.inputs, everything.labels.copy())
    changed.labels[6:12] = (changed.labels[6:12] + 1) % 3
    results = [
        train(tiny, examples, test_set, make(tiny, [("freeze_a", 2, 0)]), [0], Recipe(2, 8, 0.02), subsets=rows)[0]
        for examples in (everything, changed)
    ]
    np.testing.assert_array_equal(results[0].test.log_losses, results[1].test.log_losses)


def test_the_certificate_has_a_constant_that_no_data_decide():
    errors = np.arange(60) % 3 == 0
    lam = best_lam(0.25, 12, 0.05)
    assert cross_fit_certificate(folded(errors), CONFIG).value == cross_fit(20 / 60, 60, 5, 0.05, lam=lam).value
    assert cross_fit_certificate(folded(~errors), CONFIG).inputs["lam"] == lam
    assert best_certificate(folded(errors), CONFIG).value == cross_fit_certificate(folded(errors), CONFIG).value
    assert cross_fit_certificate(folded(errors, fold_errors=None), CONFIG) is None


def test_the_gain_is_paired_row_by_row():
    random = np.random.default_rng(0)
    bare_errors, errors = random.random(5000) < 0.65, random.random(5000) < 0.4
    bare = folded(bare_errors, rank=0, mode="zero_shot", n_folds=None, fold_errors=None, first_errors=bare_errors,
                  first_order=np.arange(5000), first_log_losses=np.zeros(5000, dtype=np.float32))  # fmt: skip
    gain = best_gain(folded(errors), bare, CONFIG)
    assert gain.delta == 0.05
    assert 0.15 < gain.value < (bare_errors.mean() - errors.mean()) - 0.02
    assert best_gain(folded(bare_errors), bare, CONFIG).value < 0


def test_a_sweep_with_folds(crossed_design, tmp_path):
    """Every fold error is that of an adapter trained by itself on the other rows of the split; rows go on being read."""
    one = crossed_design.model_copy(update={"n_train": [23], "samples": 1, "seeds": [0], "modes": ["freeze_a"]})
    plain = run_sweep(one, tmp_path / "plain")
    store = run_sweep(one.model_copy(update={"cross_fit": 4}), tmp_path / "folds")
    run, bare = store.rows()
    assert bare.fold_errors is None
    assert (run.n_folds, len(run.fold_errors)) == (4, 20)
    np.testing.assert_array_equal(run.test_log_losses, plain.rows()[0].test_log_losses)  # the run itself is the same
    frame = store.frame()
    assert frame["cross_fit_error"].to_list() == [run.fold_errors.mean(), None]
    assert frame["cross_fit_at_most"][0] == cross_fit_certificate(run, store.config).value
    again = Sweep.open(tmp_path / "folds").rows()[0]
    np.testing.assert_array_equal(again.fold_errors, run.fold_errors)
    terminal = " ".join(shown(store).split())
    assert "one of 4 adapters trained alike without one fold each, picked at random" in terminal
    rewrite(store, "update runs set fold_errors = x'00' where rank > 0")
    with pytest.raises(StoreError, match="too few examples in its folds"):
        store.rows()
    with pytest.raises(StoreError, match="was made with cross_fit = 4, now it is None"):
        run_sweep(one, tmp_path / "folds")


def test_fold_errors_are_those_of_the_adapters_without_them(crossed_design, tiny, tmp_path):
    one = crossed_design.model_copy(
        update={"n_train": [24], "samples": 1, "seeds": [0], "modes": ["freeze_a"], "cross_fit": 3}
    )
    (run, _) = run_sweep(one, tmp_path / "out").rows()
    data = split(read_table(one.data), 24, 60)
    examples = Examples(tiny.prepare(data.train_examples[:24]), data.train_labels[:24])
    shapes = select_linears(tiny.module, one.targets)
    recipe = Recipe(one.epochs, one.batch_size, one.lr, one.schedule)
    for fold in range(3):
        own = np.arange(8 * fold, 8 * fold + 8)
        adapter = new_adapter(shapes, 2, "freeze_a", 0, one.law, one.alpha_over_r)
        rows = np.delete(np.arange(24), own)[None]
        (alone,) = train(tiny, examples, examples, [adapter], [0], recipe, subsets=rows)
        np.testing.assert_array_equal(run.fold_errors[own], alone.train.errors[own])


@pytest.mark.parametrize(("settings", "error"), [
    ({"cross_fit": 1}, "cross_fit = 1"), ({"cross_fit": 5, "unlabelled": 0.1, "epochs": 1}, "give one of them"),
    ({"cross_fit": 5, "shots": [3]}, "in place of shots"), ({"cross_fit": 20, "n_train": [30]}, "give fewer folds"),
])  # fmt: skip
def test_settings_that_do_not_fit(settings, error):
    with pytest.raises(InputError, match=error):
        SweepConfig(**settings)


def test_certificates_of_folds_hold(tiny):
    """48 examples drawn with replacement from 60 strings of known risk, four folds, two epochs; 60 trainings.

    Violations at delta = 0.2 of the mean risk of the four adapters, and of their gain over the bare model.
    """
    random = np.random.default_rng(6)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(60)]
    labels = np.array([ord(text[0]) % 3 for text in texts])
    population = Examples(tiny.prepare(texts), labels)
    bare_risk = evaluate(tiny, population.inputs, labels)[0].error
    folds = np.arange(48).reshape(4, 12)
    others = np.stack([np.delete(np.arange(48), fold) for fold in folds])
    violations, of_gain, n_trials, delta = 0, 0, 60, 0.2
    for _ in range(n_trials):
        drawn = random.integers(0, 60, 48)
        sample = Examples(tiny.prepare([texts[i] for i in drawn]), labels[drawn])
        adapters = make(tiny, [("freeze_a", 2, 0)] * 4)
        trained = train(tiny, sample, population, adapters, [0] * 4, Recipe(2, 8, 0.05), subsets=others)
        risk = np.mean([result.test.error for result in trained])
        errors = np.concatenate([result.train.errors[fold] for fold, result in zip(folds, trained, strict=True)])
        run = folded(errors, 4)
        before = evaluate(tiny, sample.inputs, sample.labels)[0]
        bare = folded(errors, 4, rank=0, mode="zero_shot", first_errors=before.errors, first_order=np.arange(48),
                      first_log_losses=before.log_losses)  # fmt: skip
        violations += float(cross_fit_certificate(run, CONFIG, delta).value) < risk
        of_gain += float(best_gain(run, bare, CONFIG, delta).value) > bare_risk - risk
    assert binom.sf(violations - 1, n_trials, delta) > 1e-4, violations
    assert binom.sf(of_gain - 1, n_trials, delta) > 1e-4, of_gain
