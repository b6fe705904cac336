"""Losses before the update: they belong to the adapter that stood before the step, and to no later one."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorabound.engine import Recipe, Unlabelled, evaluate, train
from lorabound.engine.evaluate import predictions
from lorabound.stack import Stack, stack_order
from tests.engine.test_engine import SPECS, make, task


class _Stopped(Exception):
    """Training has gone as far as the test wants."""


def adapters_before_step(tiny, n_steps, recipe, train_set, monkeypatch):
    """The adapters of SPECS after ``n_steps`` steps of the same training, taken out of its stack."""
    stacks = []

    class Watched(Stack):
        def __enter__(self):
            stacks.append(self)
            return super().__enter__()

    def stop(done, _total):
        if done == n_steps:
            raise _Stopped

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[train.__module__], "Stack", Watched)
        with pytest.raises(_Stopped):
            train(tiny, train_set, train_set, make(tiny, SPECS), [s for *_, s in SPECS], recipe, stop)
    order = stack_order([mode for mode, *_ in SPECS])
    return {order[k]: stacks[0].extract(k) for k in range(len(SPECS))}


@pytest.mark.parametrize("epochs", [1, 2])
def test_losses_are_those_of_the_adapter_before_the_step(tiny, monkeypatch, epochs):
    """The last step but one, and the second, of a separate run that is stopped before it."""
    train_set = task(tiny, 43)
    recipe = Recipe(epochs, 8, 0.02, "cosine")
    seeds = [seed for *_, seed in SPECS]
    trained = train(tiny, train_set, task(tiny, 9, seed=1), make(tiny, SPECS), seeds, recipe)
    for n_steps in (1, 4):
        places = slice(8 * n_steps, 8 * (n_steps + 1))
        for k, adapter in adapters_before_step(tiny, n_steps, recipe, train_set, monkeypatch).items():
            with Stack(tiny.module, [adapter], tiny.towers):
                losses = evaluate(tiny, train_set.inputs, train_set.labels)[0]
            first = trained[k].first_pass
            rows = first.order[places]
            np.testing.assert_allclose(first.log_losses[places], losses.log_losses[rows], atol=1e-5)
            np.testing.assert_array_equal(first.errors[places], losses.errors[rows])


def test_every_example_is_tested_once_and_the_first_step_is_the_model_without_an_adapter(tiny):
    train_set = task(tiny, 43)
    bare = evaluate(tiny, train_set.inputs, train_set.labels)[0]
    for trained in train(tiny, train_set, train_set, make(tiny, SPECS), [7] * 5, Recipe(2, 8, 0.02)):
        first = trained.first_pass
        assert sorted(first.order) == list(range(43))
        assert first.batch_size == 8
        np.testing.assert_allclose(first.log_losses[:8], bare.log_losses[first.order[:8]], atol=1e-5)
        np.testing.assert_array_equal(first.errors[:8], bare.errors[first.order[:8]])
        assert not np.allclose(first.log_losses[8:], bare.log_losses[first.order[8:]], atol=1e-3)


def test_rows_of_a_step_are_sorted_by_length_so_that_a_window_begins_at_a_step(tiny):
    train_set = task(tiny, 64)
    (trained,) = train(tiny, train_set, train_set, make(tiny, SPECS[:1]), [0], Recipe(1, 16, 0.02))
    lengths = train_set.inputs.lengths[trained.first_pass.order].reshape(4, 16)
    assert (np.diff(lengths, axis=1) >= 0).all()
    assert (lengths[:, 0] < lengths[:, -1]).all()


def test_changed_images_leave_no_record(tiny):
    """Their losses speak of cropped and flipped images; a text stands in for them here."""
    train_set = task(tiny, 24)

    changed = replace(train_set, inputs=copy.copy(train_set.inputs))
    changed.inputs.augmented = lambda seeds, epoch: changed.inputs
    recipe = Recipe(1, 8, 0.02, augment=True)
    (trained,) = train(tiny, changed, train_set, make(tiny, SPECS[:1]), [0], recipe)
    assert trained.first_pass is None
    (trained,) = train(tiny, changed, train_set, make(tiny, SPECS[:1]), [0], replace(recipe, augment=False))
    assert trained.first_pass is not None


def test_unlabelled_inputs_are_compared_with_the_checkpoint_before_their_own_step(tiny, monkeypatch):
    """Twelve inputs with steps 0, 4 and 5 of six, in any order, against runs that were stopped before those steps."""
    train_set, other = task(tiny, 43), task(tiny, 12, seed=3)
    steps = np.array([5, 0, 4, 4, 0, 5, 5, 4, 0, 0, 5, 4])
    recipe = Recipe(1, 8, 0.05)
    seeds = [seed for *_, seed in SPECS]
    unlabelled = Unlabelled(other.inputs, steps)
    trained = train(
        tiny, train_set, train_set, make(tiny, SPECS), seeds, recipe, tokens_per_pass=40, unlabelled=unlabelled
    )
    plain = train(tiny, train_set, train_set, make(tiny, SPECS), seeds, recipe, tokens_per_pass=40)
    differing = np.zeros(5, dtype=int)
    for step in (0, 4, 5):
        rows = np.flatnonzero(steps == step)
        before = (
            adapters_before_step(tiny, step, recipe, train_set, monkeypatch)
            if step
            else dict(enumerate(make(tiny, SPECS)))
        )
        for k, adapter in before.items():
            classes = []
            for one in (adapter, trained[k].adapter):
                with Stack(tiny.module, [one], tiny.towers):
                    classes.append(predictions(tiny, other.inputs, rows)[0])
            differing[k] += (classes[0] != classes[1]).sum()
    assert [run.n_differing for run in trained] == differing.tolist()
    assert len(set(differing)) > 1
    for run, alone in zip(trained, plain, strict=True):  # looking changes nothing
        np.testing.assert_array_equal(run.test.log_losses, alone.test.log_losses)
        assert alone.n_differing is None


def test_predictions_are_in_the_order_of_the_rows(tiny):
    examples = task(tiny, 20)
    rows = np.array([7, 3, 19, 0, 11])
    (found,) = predictions(tiny, examples.inputs, rows, tokens_per_pass=16)
    with torch.no_grad():
        expected = [int(tiny.logits(examples.inputs, np.array([row])).argmax()) for row in rows]
    assert found.tolist() == expected
