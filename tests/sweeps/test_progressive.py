"""What the first pass proves: the window and its constant, the choice, the gain; and that it is true."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chi2

from lorabound.bounds import best_lam, disagreement, holdout, progressive
from lorabound.engine import Examples, Recipe, Unlabelled, evaluate, train
from lorabound.errors import DataError, InputError, StoreError
from lorabound.stack import select_linears
from lorabound.sweeps import Row, Sweep, SweepConfig
from lorabound.sweeps.choices import choices, of_cell
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.progressive import (
    best_gain,
    certificate,
    drawn_steps,
    final_certificate,
    final_start,
    gain,
    losses_of,
    why_not,
    window_start,
)
from tests.adapter_cases import new_on

CONFIG = SweepConfig(ranks=[1, 2], modes=["freeze_a"], seeds=2, n_train=[1000], n_test=10, epochs=1, batch_size=32)


def row(share, seed=0, rank=1, status="done", n_train=1000, config=CONFIG):
    """A run whose errors before the update are drawn with a chance that falls from 0.7 to ``share``."""
    random = np.random.default_rng([seed, rank])
    chance = share + (0.7 - share) * np.exp(-np.arange(n_train) / 200) if rank else np.full(n_train, 0.7)
    log_losses = np.where(random.random(n_train) < chance, 1.5, 0.3).astype(np.float32)
    return Row(
        key=f"{rank}-{seed}", rank=rank, mode="freeze_a" if rank else "zero_shot", n_train=n_train, seed=seed, n_params=8,
        seconds=1.0, status=status, first_errors=log_losses > 1, first_log_losses=log_losses,
        first_order=random.permutation(n_train) if rank else np.arange(n_train),
    )  # fmt: skip


@pytest.mark.parametrize(("n_train", "batch", "window", "start"), [
    (1000, 32, 0.5, 512),  # the middle, 500, is not between two steps; 512 is nearest
    (1000, 32, 0.1, 896),
    (64, 32, 0.5, 32),
    (64, 32, 0.999, 32),  # a step stands before it, for the constant
    (65, 32, 0.001, 64),  # the last step holds one example
    (50_000, 32, 0.5, 24992),
    (32, 32, 0.5, 0),  # one step: nothing was tested after an update
    (5, 32, 0.5, 0),
])  # fmt: skip
def test_a_window_begins_between_two_steps(n_train, batch, window, start):
    assert window_start(n_train, batch, window) == start


def test_the_certificate_is_the_bound_on_the_window_with_the_constant_from_before_it():
    run = row(0.3)
    start = window_start(1000, 32, 0.5)
    before, inside = run.first_errors[:start], run.first_errors[start:]
    lam = best_lam((before.sum() + 0.5) / (start + 1), len(inside), 0.05)
    found = certificate(run, CONFIG)
    assert found.value == progressive(inside.mean(), len(inside), 0.05, lam=lam).value
    assert found.n_samples == 1000 - 512
    changed = replace(run, first_errors=run.first_errors.copy())
    changed.first_errors[start:] ^= True
    assert certificate(changed, CONFIG).inputs["lam"] == lam  # nothing in the window decides it
    assert found.value < certificate(run, CONFIG, delta=0.01).value


def test_the_model_without_an_adapter_is_tested_on_every_example():
    bare = row(0.7, rank=0)
    assert certificate(bare, CONFIG).value == holdout(bare.first_errors.sum(), 1000, 0.05).value
    assert certificate(bare, CONFIG.model_copy(update={"epochs": 3})).value == certificate(bare, CONFIG).value


@pytest.mark.parametrize(("changes", "word"), [
    ({"epochs": 2}, "--epochs 1"), ({"augment": True}, "--augment"), ({"shots": [4]}, "--shots"),
])  # fmt: skip
def test_what_is_not_certified_says_why(changes, word):
    config = CONFIG.model_copy(update=changes)
    assert word in why_not(config)
    assert certificate(row(0.3), config) is None
    assert gain(row(0.3), row(0.7, rank=0), config) is None
    assert why_not(CONFIG) is None


def test_nothing_is_certified_of_a_diverged_run_an_older_store_or_one_step():
    assert certificate(row(0.3, status="diverged"), CONFIG) is None
    assert certificate(replace(row(0.3), first_errors=None, first_log_losses=None, first_order=None), CONFIG) is None
    assert certificate(row(0.3, n_train=32), CONFIG) is None


def test_a_choice_is_paid_for_by_every_run_of_the_grid():
    """Two ranks, two seeds: delta/4, though one run diverged and one is not there yet."""
    rows = [row(0.7, rank=0), row(0.5), row(0.3, seed=1), row(0.2, rank=2, status="diverged")]
    (found,) = choices(rows, CONFIG).values()
    assert found.n_candidates == 4
    assert found.row is rows[2]
    assert found.bound.value == certificate(rows[2], CONFIG, 0.05 / 4).value
    assert found.bound.delta == pytest.approx(0.05)
    assert found.gain.value == gain(rows[2], rows[0], CONFIG, 0.05 / 4).value
    assert choices(rows[:1], CONFIG) == {}


def test_a_cell_is_the_mean_of_its_runs_each_at_a_share_of_delta():
    rows = [row(0.5), row(0.3, seed=1)]
    assert of_cell(rows, CONFIG).value == pytest.approx(
        np.mean([certificate(run, CONFIG, 0.025).value for run in rows]), rel=1e-12
    )
    assert of_cell(rows[:1], CONFIG).value == certificate(rows[0], CONFIG).value
    assert of_cell([rows[0], replace(rows[1], status="diverged")], CONFIG) is None


def test_the_gain_is_paired_by_example():
    """A run that is right exactly where the bare model is right gains nothing, whatever their order."""
    bare = row(0.7, rank=0)
    run = replace(row(0.3), first_errors=bare.first_errors[row(0.3).first_order])
    assert gain(run, bare, CONFIG).value < 0
    assert gain(run, bare, CONFIG).terms["mean_gain"] == 0
    assert gain(row(0.3), bare, CONFIG).terms["mean_gain"] > 0.3


def test_one_minus_p_is_in_the_unit_interval_and_has_its_own_bound():
    run = replace(row(0.3), first_log_losses=np.float32([-1e-7, np.inf, *[0.5] * 998]))
    assert losses_of(run, "risk").min() == 0
    assert losses_of(run, "risk").max() == 1
    assert certificate(run, CONFIG, loss="risk").value > losses_of(run, "risk")[512:].mean()


def test_a_sweep_stores_what_it_proves(crossed_design, tmp_path):
    one = crossed_design.model_copy(update={"epochs": 1, "n_train": [40], "samples": 1, "ranks": [1]})
    store = run_sweep(one, tmp_path / "out")
    frame = store.frame()
    for run, at_most, error in zip(store.rows(), frame["progressive_at_most"], frame["progressive_error"], strict=True):
        assert at_most == certificate(run, store.config).value
        assert error == (run.first_errors[16 if run.rank else 0 :].mean())
        assert sorted(run.first_order) == list(range(40))
    assert frame["gain_at_least"].null_count() == 1  # of the model without an adapter
    twice = run_sweep(one.model_copy(update={"epochs": 2}), tmp_path / "twice").frame()
    assert twice.filter(rank=1)["progressive_error"].null_count() == 6
    assert twice.filter(rank=0)["progressive_error"].item() is not None
    reopened = Sweep.open(tmp_path / "out")
    for stored, given in zip(reopened.rows(), store.rows(), strict=True):
        np.testing.assert_array_equal(stored.first_order, given.first_order)


@pytest.mark.parametrize("links", [1, 4])
def test_certificates_of_real_training_hold(tiny, links):
    """Examples drawn with replacement from 60 strings, so that every risk is known exactly; 240 trainings.

    Four runs train in a stack on one sample of 48: risks of the checkpoint before every step come from the 60 strings.
    Violations at delta = 0.2 are compared with Bin(60, 0.2) for each run, for its final adapter (by 40 unlabelled
    strings), and for the choice of the lowest. Four links begin at
    steps 0, 1, 3 and 4 of six, and the window at step 3.
    """
    random = np.random.default_rng(5)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(60)]
    labels = np.array([ord(text[0]) % 3 for text in texts])
    population = Examples(tiny.prepare(texts), labels)
    config = CONFIG.model_copy(update={"n_train": [48], "batch_size": 8, "seeds": [0, 1], "ranks": [1, 2]})
    delta, n_trials = 0.2, 60
    violations, of_final, chosen = np.zeros(4, dtype=int), np.zeros(4, dtype=int), 0
    start = final_start(48, 8)
    for trial in range(n_trials):
        drawn = random.integers(0, 60, 48)
        sample = Examples(tiny.prepare([texts[i] for i in drawn]), labels[drawn])
        shapes = select_linears(tiny.module, ["query", "key", "value"])
        adapters = [
            new_on(tiny.module, shapes, "freeze_a", rank, seed, links=links) for rank in (1, 2) for seed in (0, 1)
        ]
        risks = []

        def watch(done, total, stacked=tiny, risks=risks):
            risks.append([losses.error for losses in evaluate(stacked, population.inputs, labels, 4)])

        before = evaluate(tiny, population.inputs, labels)[0].error
        seeds = [trial, trial + 1000, trial, trial + 1000]
        trained = train(
            tiny, sample, population, adapters, seeds, Recipe(1, 8, 0.05), watch,
            unlabelled=Unlabelled(tiny.prepare([texts[i] for i in random.integers(0, 60, 40)]), drawn_steps(40, 48, 8, start)),
        )  # fmt: skip
        true = np.array([[before] * 4, *risks[:-1]])[3:].mean(0)  # before steps 4, 5 and 6 of six
        rows = [
            Row(
                key=str(k), rank=1 + k // 2, mode="freeze_a", n_train=48, seed=k % 2, n_params=1, seconds=1.0, status="done",
                first_order=t.first_pass.order, first_errors=t.first_pass.errors,
                first_log_losses=t.first_pass.log_losses, final_start=start, n_unlabelled=40, n_differing=t.n_differing,
            )
            for k, t in enumerate(trained)
        ]  # fmt: skip
        violations += [
            float(certificate(run, config, delta).value) < risk for run, risk in zip(rows, true, strict=True)
        ]
        of_final += [
            float(final_certificate(run, config, delta).value) < t.test.error
            for run, t in zip(rows, trained, strict=True)
        ]
        (choice,) = choices(rows, config, delta).values()
        chosen += float(choice.bound.value) < true[int(choice.row.key)]
    assert (binom.sf(violations - 1, n_trials, delta) > 1e-4).all(), violations
    assert (binom.sf(of_final - 1, n_trials, delta) > 1e-4).all(), of_final
    assert binom.sf(chosen - 1, n_trials, delta) > 1e-4, chosen


def test_steps_of_unlabelled_examples_are_drawn_from_the_window_alone():
    """100,000 places from 448 to 499: steps of 32, the last of 20; each as often as it holds places (chi-square)."""
    steps = drawn_steps(100_000, 500, 32, 448)
    counts = np.bincount(steps)
    assert counts[:14].sum() == 0
    assert len(counts) == 16
    expected = 100_000 * np.array([32, 20]) / 52
    assert chi2.sf(((counts[14:] - expected) ** 2 / expected).sum(), 1) > 1e-3
    assert drawn_steps(3, 500, 32, 448).tolist() == steps[:3].tolist()


def test_the_final_adapter_is_certified_by_what_it_differs_in():
    config = CONFIG.model_copy(update={"unlabelled": 0.1})
    run = replace(row(0.3), final_start=896, n_unlabelled=400, n_differing=10)
    late = certificate(run, config, 0.025, start=896)
    assert late.n_samples == 104
    found = final_certificate(run, config)
    assert found.value == disagreement(late, 10, 400, 0.025).value
    assert (found.delta, found.predictor) == (0.05, "the final adapter")
    bare = row(0.7, rank=0)
    late_gain = gain(run, bare, config, 0.025, start=896)
    assert best_gain(run, bare, config).value == late_gain.value - found.terms["disagreement"]
    (chosen,) = choices([bare, run], config).values()
    assert chosen.bound.value == final_certificate(run, config, 0.05 / 4).value
    assert chosen.speaks_of == "the final adapter"
    assert final_certificate(row(0.3), config) is None
    assert of_cell([run, row(0.3, seed=1)], config) is None  # one run lacks it: no mean of two kinds of predictor
    said = final_certificate(run, config.model_copy(update={"unlabelled": "more.csv"})).assumptions
    assert any("rows of the file" in line for line in said)


def test_unlabelled_rows_of_a_share_and_of_a_file(crossed_design, tmp_path):
    one = crossed_design.model_copy(update={"epochs": 1, "n_train": [40], "samples": 1, "ranks": [1]})
    plain = run_sweep(one, tmp_path / "plain")
    shared = run_sweep(one.model_copy(update={"unlabelled": 0.2}), tmp_path / "share")
    n_rows = plain.about["n_pool"] + 60
    assert shared.about["n_unlabelled"] == round(0.2 * n_rows)
    assert shared.about["n_pool"] == plain.about["n_pool"] - round(0.2 * n_rows)
    for before, run in zip(plain.rows(), shared.rows(), strict=True):  # same training and test rows
        np.testing.assert_array_equal(run.first_errors, before.first_errors)
        np.testing.assert_array_equal(run.test_errors, before.test_errors)
        assert (run.n_unlabelled, run.final_start) == ((round(0.2 * n_rows), 32) if run.rank else (None, None))
    frame = shared.frame()
    assert frame.filter(rank=1)["final_at_most"].null_count() == 0
    texts = pl.read_csv(one.data)["text"]
    pl.DataFrame({"text": [*texts[:50], *("zq" * k for k in range(1, 31))]}).write_csv(tmp_path / "more.csv")
    filed = run_sweep(one.model_copy(update={"unlabelled": str(tmp_path / "more.csv")}), tmp_path / "file")
    assert filed.about["n_unlabelled"] == 30
    assert filed.about["n_unlabelled_removed"] == 50
    assert filed.about["data_sha256"] != plain.about["data_sha256"]
    with pytest.raises(StoreError, match="was made with unlabelled = 0.2, now it is None"):
        run_sweep(one, tmp_path / "share")


@pytest.mark.parametrize(("unlabelled", "error"), [
    (0.9, "without the unlabelled 0.9 of it has"), ("nowhere.csv", "no data file nowhere.csv"),
    (0.001, "is no row: give a larger share"),
])  # fmt: skip
def test_unlabelled_rows_that_cannot_be_had(crossed_design, tmp_path, unlabelled, error):
    one = crossed_design.model_copy(update={"epochs": 1, "n_train": [150], "samples": 1, "unlabelled": unlabelled})
    with pytest.raises((DataError, InputError), match=error):
        run_sweep(one, tmp_path / "out")


@pytest.mark.parametrize(("settings", "error"), [
    ({"unlabelled": 1.5}, "a share of the data lies between 0 and 1"), ({"unlabelled": "0.1", "epochs": 2}, "epochs = 1"),
    ({"unlabelled": "0.1"}, None), ({"unlabelled": "x.csv", "epochs": 1, "shots": [2]}, "no shots"),
])  # fmt: skip
def test_settings_of_unlabelled_rows(settings, error):
    if error is None:
        assert SweepConfig(**{"epochs": 1, **settings}).unlabelled == 0.1
        return
    with pytest.raises(InputError, match=error):
        SweepConfig(**settings)
