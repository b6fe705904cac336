"""Stacked adapters: the formula, the frozen factor, the model put back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lorabound.adapters import Adapter, entries_of, new_adapter
from lorabound.engine.train import clip_gradients
from lorabound.errors import AdapterError, InputError
from lorabound.modes import MODES
from lorabound.stack import Stack, select_linears, stack_order
from tests.adapter_cases import SUBSPACE, filled, new_on


def adapters(tiny, specs, full=True):
    """Adapters with random entries in all that is trained, and scales of their own, so that every term counts."""
    shapes = select_linears(tiny.module, ["query", "value"])
    made = []
    for k in stack_order([mode for mode, _ in specs]):
        mode, rank = specs[k]
        adapter = new_on(tiny.module, shapes, mode, rank, seed=k)
        if full:
            adapter = filled(adapter, size=0.25, seed=k)
            layers = {name: replace(factors, scale=1.0 + k) for name, factors in adapter.layers.items()}
            adapter = replace(adapter, layers=layers)
        made.append(adapter)
    return made


SPECS = [
    ("train_both", 2), ("freeze_b", 3), ("core", 4), ("freeze_a", 1), ("subspace", 2), ("freeze_a", 5), ("core", 2),
    ("common", 2), ("subspace", 5),
]  # fmt: skip


def test_each_group_sees_its_own_w_plus_s_b_a(tiny):
    stack_adapters = adapters(tiny, SPECS)
    inputs = tiny.prepare(["abc", "de", "fghij"])
    index = np.arange(3)
    with Stack(tiny.module, stack_adapters):
        together = tiny.logits(inputs, np.tile(index, len(SPECS))).view(len(SPECS), 3, -1)
    for k, adapter in enumerate(stack_adapters):
        merged = type(tiny)()
        for name, f in adapter.layers.items():
            merged.module.get_submodule(name).weight += torch.from_numpy(f.scale * f.b @ f.a)
        torch.testing.assert_close(together[k], merged.logits(inputs, index), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_adapter_leaves_the_model_as_it_is(tiny, mode):
    inputs = tiny.prepare(["abc", "de"])
    before = tiny.logits(inputs, np.arange(2))
    with Stack(tiny.module, adapters(tiny, [(mode, 3)], full=False)):
        torch.testing.assert_close(tiny.logits(inputs, np.arange(2)), before)
    torch.testing.assert_close(tiny.logits(inputs, np.arange(2)), before)
    assert not [name for name, _ in tiny.module.named_modules() if "base" in name]


@pytest.mark.parametrize("mode", MODES)
def test_number_of_trained_values_is_q(tiny, mode):
    """q counted from what actually changes in a step of noise, against the formula."""
    (adapter,) = adapters(tiny, [(mode, 3)], full=False)
    with Stack(tiny.module, [adapter]) as stack:
        assert sum(p.numel() for p in stack.parameters()) == adapter.n_params
        with torch.no_grad():
            for parameter in stack.parameters():
                parameter += 1.0
        after = stack.extract(0)
    every = ("a", "b") if set(MODES[mode].trained) <= {"a", "b"} else ("a", *MODES[mode].trained)
    old, new = entries_of(adapter, every), entries_of(after, every)
    changed = sum(int((new[name] != value).sum()) for name, value in old.items())
    # query is 16 x 16, value 20 x 16, in two layers
    expected = {
        "freeze_a": 3 * 2 * (16 + 20),
        "freeze_b": 3 * 2 * 32,
        "train_both": 3 * 2 * (32 + 36),
        "core": 4 * 9,
        "subspace": SUBSPACE,
        "common": 3 * 2 * 32,
    }[mode]
    assert changed == adapter.n_params == expected


def test_padding_of_short_ranks_stays_zero(tiny):
    stack_adapters = adapters(tiny, SPECS)
    inputs = tiny.prepare(["abc", "de", "fghij"])
    with Stack(tiny.module, stack_adapters) as stack:
        optimizer = torch.optim.AdamW(stack.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            tiny.logits(inputs, np.tile(np.arange(3), len(SPECS))).square().sum().backward()
            optimizer.step()
        for layer in stack.layers.values():
            a, b = layer.factors()
            for k, adapter in enumerate(stack_adapters):
                rank = next(iter(adapter.layers.values())).rank
                assert not a[k, rank:].any()
                assert not b[k, :, rank:].any()
        for name in stack.layers:
            rows = stack.stacked(name, "m")
            assert not rows[1, 2:].any()  # of rank 2 beside one of rank 5
            assert not rows[1, :, 2:].any()


def test_what_is_frozen_stays_and_the_rest_moves(tiny):
    before = adapters(tiny, SPECS)
    with Stack(tiny.module, before) as stack:
        optimizer = torch.optim.AdamW(stack.parameters(), lr=0.1, weight_decay=0.1)
        tiny.logits(tiny.prepare(["abc", "de", "fghij"]), np.tile(np.arange(3), len(SPECS))).square().sum().backward()
        optimizer.step()
        after = [stack.extract(k) for k in range(len(SPECS))]
    for old, new in zip(before, after, strict=True):
        assert new.frozen_sha256() == old.frozen_sha256()
        trained = MODES[old.mode].trained
        moved = {
            name: (value != entries_of(old, trained)[name]).any() for name, value in entries_of(new, trained).items()
        }
        assert all(moved.values())
        for name, copies in new.copies().items():  # B is still filled from the vector
            np.testing.assert_allclose(new.layers[name].b, copies.of(new.theta), rtol=1e-6)


def test_the_gradient_of_a_vector_counts_once_and_is_that_of_the_factors_it_fills(tiny):
    """B = P theta for an isometry P: the gradient in theta is P' of the one in all B's, and its norm counts once."""
    (one,) = adapters(tiny, [("subspace", 3)])
    inputs, copies = tiny.prepare(["abc", "de", "fghij"]), one.copies()
    whole = Adapter(layers={n: replace(f) for n, f in one.layers.items()}, mode="freeze_a", seed=0)

    def gradients(adapter):
        with Stack(tiny.module, [adapter]) as stack:
            tiny.logits(inputs, np.arange(3)).square().sum().backward()
            return stack, [parameter.grad for parameter in stack.parameters()]

    factors, in_factors = gradients(whole)
    vectors, (in_theta,) = gradients(one)
    expected = np.zeros(SUBSPACE)
    for name, gradient in zip(factors.layers, in_factors, strict=True):
        np.add.at(expected, copies[name].index, copies[name].weight * gradient[0].numpy())
    np.testing.assert_allclose(in_theta[0].numpy(), expected, rtol=1e-4, atol=1e-6)
    norm = in_theta.norm(dim=1)  # clipping changes the gradient itself
    torch.testing.assert_close(clip_gradients(vectors, 0.5), norm)
    torch.testing.assert_close(in_theta.norm(), torch.tensor(0.5), atol=1e-5, rtol=0)


def test_norms_in_a_mixed_stack_are_those_of_each_adapter_alone(tiny):
    stacked, inputs = adapters(tiny, SPECS), tiny.prepare(["abc", "de", "fghij"])

    def norms(some):
        with Stack(tiny.module, some) as stack:
            tiny.logits(inputs, np.tile(np.arange(3), len(some))).square().sum().backward()
            return clip_gradients(stack, float("inf"))

    torch.testing.assert_close(norms(stacked), torch.cat([norms([one]) for one in stacked]), rtol=1e-4, atol=1e-6)


def test_only_the_factors_are_offered_to_an_optimizer(tiny):
    tiny.module.requires_grad_(True)  # a user's model, not frozen
    with Stack(tiny.module, adapters(tiny, [("freeze_a", 2), ("freeze_a", 1)])) as stack:
        assert {tuple(p.shape) for p in stack.parameters()} == {(2, 16, 2), (2, 20, 2)}


def test_a_layer_that_sees_something_else_than_rows_is_refused(tiny):
    """Shared inputs (relative positions) have no row of their own for each adapter."""

    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.positions = torch.nn.Linear(4, 4)

        def forward(self, x):
            return x + self.positions(torch.ones(6, 4)).mean(0)

    model = Shared()
    made = [new_adapter({"positions": (4, 4)}, 2, "freeze_a", k, "gaussian", 1.0) for k in range(2)]
    with Stack(model, made), pytest.raises(AdapterError, match="sees 6 rows of a batch of 2"):
        model(torch.ones(2, 4))
    with Stack(model, made[:1]):
        model(torch.ones(2, 4))


def test_a_bfloat16_model_takes_float32_factors(tiny):
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8)).to(torch.bfloat16)
    with Stack(layer, [new_adapter({"0": (8, 8)}, 2, "freeze_a", k, "gaussian", 1.0) for k in range(2)]):
        assert layer(torch.ones(4, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_rank_too_large_names_the_layer(tiny):
    with pytest.raises(
        InputError, match=r"rank 17 does not fit layer layer.0.query \(16 x 16\): choose a rank from 1 to 16"
    ):
        adapters(tiny, [("freeze_a", 17)])


def test_adapter_of_another_model_is_refused(tiny):
    alien = new_adapter({"layer.0.query": (16, 99)}, 1, "freeze_a", 0, "gaussian", 1.0)
    with pytest.raises(AdapterError, match="needs a linear layer layer.0.query of 16 x 99"):
        Stack(tiny.module, [alien])
