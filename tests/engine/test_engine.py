"""Training in a stack: the same as alone, untouched by a neighbour's failure, and it learns."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chi2

from lorabound.adapters import Adapter, Factors
from lorabound.engine import Examples, Recipe, evaluate, train
from lorabound.engine.batches import epoch_batches
from lorabound.engine.train import clip_gradients
from lorabound.stack import select_linears
from tests.adapter_cases import new_on

SPECS = [
    ("freeze_a", 1, 0),
    ("train_both", 3, 1),
    ("freeze_b", 2, 0),
    ("freeze_a", 4, 2),
    ("train_both", 1, 0),
]
EVERY_MODE = [
    *SPECS,
    ("core", 3, 1),
    ("subspace", 2, 3),
    ("common", 2, 0),
    ("core", 2, 0),
    ("subspace", 4, 1),
]


def task(tiny, n, seed=0):
    """Random strings labelled by their first letter: learnable, of several lengths."""
    random = np.random.default_rng(seed)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 8))) for _ in range(n)]
    labels = np.array([ord(t[0]) % 3 for t in texts])
    return Examples(tiny.prepare(texts), labels)


def make(tiny, specs):
    shapes = select_linears(tiny.module, ["query", "key", "value"])
    return [new_on(tiny.module, shapes, mode, rank, seed) for mode, rank, seed in specs]


@pytest.mark.parametrize("recipe", [
    Recipe(3, 8, 0.02), Recipe(3, 8, 0.02, "cosine", weight_decay=0.1, clip_norm=0.05),
])  # fmt: skip
def test_stacked_runs_equal_separate_runs(tiny, recipe):
    train_set, test_set = task(tiny, 50), task(tiny, 40, seed=1)
    seeds = [s for _, _, s in EVERY_MODE]
    together = train(tiny, train_set, test_set, make(tiny, EVERY_MODE), seeds, recipe)
    for spec, stacked in zip(EVERY_MODE, together, strict=True):
        (alone,) = train(tiny, train_set, test_set, make(tiny, [spec]), [spec[2]], recipe)
        for name, factors in alone.adapter.layers.items():
            np.testing.assert_allclose(stacked.adapter.layers[name].a, factors.a, atol=1e-5)
            np.testing.assert_allclose(stacked.adapter.layers[name].b, factors.b, atol=1e-5)
        np.testing.assert_allclose(stacked.test.log_losses, alone.test.log_losses, atol=1e-5)
        np.testing.assert_array_equal(stacked.train.errors, alone.train.errors)


def test_against_a_plain_training_loop(tiny):
    """One adapter, written out with ordinary modules and AdamW, no stack, no buffers."""
    train_set, test_set = task(tiny, 30), task(tiny, 20, seed=1)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.02, schedule="cosine", weight_decay=0.01)
    (adapter,) = make(tiny, [("train_both", 2, 5)])
    (result,) = train(tiny, train_set, test_set, [adapter], [5], recipe)

    plain = type(tiny)()
    a = {n: torch.nn.Parameter(torch.from_numpy(f.a.copy())) for n, f in adapter.layers.items()}
    b = {n: torch.nn.Parameter(torch.from_numpy(f.b.copy())) for n, f in adapter.layers.items()}
    for name in a:
        module = plain.module.get_submodule(name)
        module.forward = lambda x, m=module, n=name: F.linear(x, m.weight + 2.0 * b[n] @ a[n], m.bias)
    parameters = [*a.values(), *b.values()]
    optimizer = torch.optim.AdamW(parameters, lr=0.02, weight_decay=0.01)
    step, total = 0, 2 * 4
    for epoch in range(2):
        for index in epoch_batches(train_set.inputs.lengths, 8, [5], epoch):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * step / total))
            optimizer.zero_grad()
            logits = plain.logits(train_set.inputs, index[0])
            F.cross_entropy(logits, torch.from_numpy(train_set.labels[index[0]])).backward()
            optimizer.step()
            step += 1
    for name, factors in result.adapter.layers.items():
        np.testing.assert_allclose(factors.a, a[name].detach(), atol=2e-5)
        np.testing.assert_allclose(factors.b, b[name].detach(), atol=2e-5)


def test_a_frozen_factor_never_moves(tiny):
    adapters = make(tiny, SPECS)
    results = train(tiny, task(tiny, 40), task(tiny, 10), adapters, [0] * 5, Recipe(3, 8, 0.05, weight_decay=0.1))
    for before, result in zip(adapters, results, strict=True):
        assert before.frozen_sha256() == result.adapter.frozen_sha256()
        assert all(
            (result.adapter.layers[n].b != f.b).any() or (result.adapter.layers[n].a != f.a).any()
            for n, f in before.layers.items()
        )


def test_training_learns(tiny):
    train_set, test_set = task(tiny, 60), task(tiny, 60, seed=1)
    before = evaluate(tiny, train_set.inputs, train_set.labels)[0]
    (result,) = train(tiny, train_set, test_set, make(tiny, [("train_both", 4, 0)]), [0], Recipe(5, 8, 0.02))
    assert result.train.cross_entropy < 0.5 * before.cross_entropy
    assert result.train.error < result.test.error + 1e-9


def test_nan_marks_the_run_and_leaves_its_neighbours_bitwise_alone(tiny):
    train_set, test_set = task(tiny, 40), task(tiny, 20, seed=1)
    healthy = make(tiny, SPECS)
    poisoned = make(tiny, SPECS)
    first = next(iter(poisoned[2].layers))
    factors = poisoned[2].layers[first]
    bad = {**poisoned[2].layers, first: Factors(a=np.full_like(factors.a, np.nan), b=factors.b, scale=factors.scale)}
    poisoned[2] = Adapter(layers=bad, mode=poisoned[2].mode)
    recipe = Recipe(2, 8, 0.02, clip_norm=0.1)
    clean = train(tiny, train_set, test_set, healthy, [0] * 5, recipe)
    mixed = train(tiny, train_set, test_set, poisoned, [0] * 5, recipe)
    assert [r.diverged for r in mixed] == [False, False, True, False, False]
    for k in (0, 1, 3, 4):
        np.testing.assert_array_equal(clean[k].test.log_losses, mixed[k].test.log_losses)


def test_a_huge_step_size_ends_marked_not_raised(tiny):
    (result,) = train(
        tiny, task(tiny, 40), task(tiny, 10), make(tiny, [("train_both", 2, 0)]), [0], Recipe(20, 8, 1e30)
    )
    assert result.diverged


def test_a_run_that_blows_up_in_its_last_step_is_marked(tiny):
    """One step in all: its loss and gradient are finite, what it leaves behind is not."""
    (result,) = train(tiny, task(tiny, 8), task(tiny, 10), make(tiny, [("train_both", 2, 0)]), [0], Recipe(1, 8, 1e30))
    assert result.diverged


def test_clipping_is_by_adapter(tiny):
    from lorabound.stack import Stack, stack_order

    ordered = [make(tiny, SPECS)[k] for k in stack_order([m for m, _, _ in SPECS])]
    inputs = tiny.prepare(["abc", "de"])
    with Stack(tiny.module, ordered) as stack:
        weights = torch.tensor([0.0, 1.0, 10.0, 100.0, 1e-9]).view(5, 1, 1)
        (tiny.logits(inputs, np.tile(np.arange(2), 5)).view(5, 2, -1).square() * weights).sum().backward()
        norms = clip_gradients(stack, 0.5)
        after = clip_gradients(stack, math.inf)
    assert norms[0] == 0
    torch.testing.assert_close(after, norms.clamp(max=0.5), rtol=1e-4, atol=1e-6)
    assert (norms > 0.5).any()
    assert ((norms > 0) & (norms < 0.5)).any()


def test_losses_by_hand(tiny):
    examples = task(tiny, 12)
    losses = evaluate(tiny, examples.inputs, examples.labels)[0]
    for i in range(12):
        probabilities = tiny.logits(examples.inputs, np.array([i])).softmax(-1)[0].numpy()
        y = examples.labels[i]
        assert losses.errors[i] == (probabilities.argmax() != y)
        assert losses.log_losses[i] == pytest.approx(-np.log(probabilities[y]), abs=1e-5)
    assert losses.risk == pytest.approx(float((1 - np.exp(-losses.log_losses)).mean()), abs=1e-6)


def test_batches_hold_each_example_once_and_lengths_agree_across_seeds():
    lengths = np.random.default_rng(0).integers(2, 9, 101)
    batches = epoch_batches(lengths, 16, [0, 1, 2], epoch=4)
    for k in range(3):
        assert sorted(np.concatenate([b[k] for b in batches])) == list(range(101))
    for batch in batches:
        np.testing.assert_array_equal(lengths[batch[0]], lengths[batch[1]])
        np.testing.assert_array_equal(lengths[batch[0]], lengths[batch[2]])
    assert not all((b[0] == b[1]).all() for b in batches)
    again = epoch_batches(lengths, 16, [1], epoch=4)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), np.concatenate([b[0] for b in again]))


def test_every_order_of_the_examples_is_equally_likely():
    """One row per batch shows the order: all 5! = 120 orders of five rows of three lengths, over 9,600 epochs.

    The chi-square statistic has 119 degrees of freedom; batches of similar length would leave most orders out.
    """
    lengths = np.array([3, 7, 3, 5, 7])
    seen = Counter(
        tuple(int(batch[0, 0]) for batch in epoch_batches(lengths, 1, [epoch % 7], epoch)) for epoch in range(9_600)
    )
    assert len(seen) == 120
    statistic = sum((count - 80) ** 2 / 80 for count in seen.values())
    assert chi2.sf(statistic, 119) > 1e-3, statistic


def test_where_a_batch_ends_depends_on_no_length():
    """A progressive certificate needs it: every batch has the same number of rows, the last one what is left."""
    for lengths in (np.full(50, 3), np.arange(1, 51), np.repeat([2, 200], 25)):
        assert [batch.shape for batch in epoch_batches(lengths, 16, [0, 1], 0)] == [(2, 16)] * 3 + [(2, 2)]


def test_batches_mix_lengths():
    """Mean length of a batch of 32 as of 32 rows drawn at random: its variance is the rows' variance over 32."""
    lengths = np.random.default_rng(0).integers(2, 60, 32 * 200)
    means = np.array([lengths[batch[0]].mean() for batch in epoch_batches(lengths, 32, [0], 0)])
    expected = lengths.std() / 32**0.5
    assert means.std() == pytest.approx(expected, rel=0.2)  # relative standard error of 200 means: 0.05
