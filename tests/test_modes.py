"""The table of modes against first principles: what receives a gradient, what PEFT trains, what the paper writes down."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from peft import PeftModel

import lorabound
from lorabound.adapters import Adapter, Factors, new_adapter, random_factor, save_adapter
from lorabound.bounds import LoraNetwork
from lorabound.modes import FACTORS, LARGEST_MODE, MODES, PEFT_NAMES, Mode, ModeFacts, factor_shape, guideline
from lorabound.stack import Stack, select_linears, stack_order

# Kratsios et al. 2025, eq. 7 and section 4.3, for a layer of 20 x 16 at rank 3: B is 20 x 3, A is 3 x 16.
Q = {"freeze_a": 60, "freeze_b": 48, "train_both": 108}
# B drawn, both trained: the one of the four that the table does not have.
MIRROR = ModeFacts(name="freeze_b", drawn=("b",), trained=("b", "a"), sentence="")


def filled(adapter: Adapter) -> Adapter:
    """Without zeros, so that every trained entry has a gradient."""
    random = np.random.default_rng(0)
    drawn = lambda x: random.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return Adapter(
        layers={n: Factors(a=drawn(f.a), b=drawn(f.b), scale=f.scale) for n, f in adapter.layers.items()},
        mode=adapter.mode,
    )


def test_the_table_holds_the_three_modes_of_the_paper():
    assert {name: facts.n_params(3, [(20, 16)]) for name, facts in MODES.items()} == Q
    assert [facts.name for facts in MODES.values()] == list(MODES) == list(get_args(Mode))


@pytest.mark.parametrize("mode", MODES)
def test_q_is_the_number_of_entries_with_a_gradient(tiny, mode):
    shapes = select_linears(tiny.module, ["value"])  # 20 x 16, in two layers
    with Stack(tiny.module, [filled(new_adapter(shapes, 3, mode, 0, "gaussian", 2.0))]) as stack:
        tiny.logits(tiny.prepare(["abc", "de", "fghij"]), np.arange(3)).square().sum().backward()
        found = sum(int((p.grad != 0).sum()) for p in tiny.module.parameters() if p.grad is not None)
        q = stack.extract(0).n_params
    assert found == q == 2 * Q[mode]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_drawn_at_the_start_and_what_is_zero(mode):
    factors = new_adapter({"layer": (20, 16)}, 3, mode, 5, "gaussian", 2.0).layers["layer"]
    for factor in FACTORS:
        assert getattr(factors, factor).shape == factor_shape(factor, 3, 20, 16)
        if factor in MODES[mode].drawn:
            width = {"a": 16, "b": 20}[factor]
            np.testing.assert_array_equal(factors.rows(factor), random_factor(5, "layer", 3, width, "gaussian"))
        else:
            assert not getattr(factors, factor).any()
    assert not (factors.b @ factors.a).any()  # the model starts as pre-trained


@pytest.mark.parametrize("mode", MODES)
def test_peft_trains_q_entries_of_the_export_once_told_what_is_frozen(tiny, tmp_path, mode):
    """PEFT has no field for a frozen factor: it trains all of lora_A and lora_B, unless their names are held still."""
    shapes = select_linears(tiny.module, ["value"])
    save_adapter(new_adapter(shapes, 3, mode, 0, "kaiming_uniform", 2.0), tmp_path / "adapter")
    model = PeftModel.from_pretrained(tiny.module, tmp_path / "adapter", is_trainable=True)
    still = [PEFT_NAMES[factor] for factor in MODES[mode].frozen]
    for name, parameter in model.named_parameters():
        if any(f".{peft_name}." in name for peft_name in still):
            parameter.requires_grad_(False)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * Q[mode]


@pytest.mark.parametrize("mode", MODES)
def test_every_factor_is_drawn_or_trained(mode):
    """A factor that is neither would be 0 for good, and the adapter with it."""
    facts = MODES[mode]
    assert set(facts.drawn) | set(facts.trained) == set(FACTORS)
    assert set(facts.frozen) == set(FACTORS) - set(facts.trained)
    assert set(facts.drawn) != set(FACTORS)  # otherwise s B A is not 0 at the start


@pytest.mark.parametrize("mode", MODES)
def test_the_network_of_lemma_4_counts_the_same_q(mode):
    pair = len(MODES[mode].trained) > 1
    norms = [(0.0, 1.0)] if pair else [1.0]
    network = LoraNetwork([16, 20], 3, mode, [1.0], [0.0], norms, [(1.0, 1.0)] if pair else [1.0])
    assert network.n_params == Q[mode]


@pytest.mark.parametrize("mode", MODES)
def test_the_sentence_says_what_the_row_says(mode):
    facts = MODES[mode]
    said = f"only {facts.trained[0].upper()} is trained, " if facts.frozen else "A and B are trained, "
    said += "".join(f"{factor.upper()} stays as drawn at random" for factor in facts.frozen)
    assert facts.sentence.startswith(said)
    assert set(facts.frozen) <= set(facts.drawn)


def test_the_guideline_trains_as_many_entries_where_layers_are_square():
    first, second = guideline(4)
    counts = [MODES[mode].n_params(rank, [(64, 64), (32, 32)]) for mode, rank in (first, second)]
    assert counts == [2 * 4 * 96] * 2
    assert (first[1], second[1]) == (8, 4)


def test_the_largest_mode_trains_what_any_mode_trains():
    assert all(set(facts.trained) <= set(MODES[LARGEST_MODE].trained) for facts in MODES.values())


def test_another_row_is_drawn_counted_stacked_and_bounded(tiny, monkeypatch):
    """The row decides, the name does not: a mode to come that needs no new factor is a row and nothing else."""
    monkeypatch.setitem(MODES, "freeze_b", MIRROR)
    shapes = select_linears(tiny.module, ["value"])
    made = new_adapter(shapes, 3, "freeze_b", 0, "gaussian", 2.0)
    factors = next(iter(made.layers.values()))
    assert factors.b.any()
    assert not factors.a.any()
    assert made.n_params == 2 * 108
    assert made.frozen_sha256() is None

    modes = ["freeze_b", "train_both", "freeze_a", "freeze_b"]
    stacked = [filled(new_adapter(shapes, 3, modes[k], k, "gaussian", 2.0)) for k in stack_order(modes)]
    with Stack(tiny.module, stacked) as stack:
        inputs = tiny.prepare(["abc", "de", "fghij"])
        tiny.logits(inputs, np.tile(np.arange(3), 4)).square().sum().backward()
        torch.optim.SGD(stack.parameters(), lr=0.1).step()
        after = [stack.extract(k) for k in range(4)]
    for old, new in zip(stacked, after, strict=True):
        for name in shapes:
            changed = {f for f in FACTORS if (getattr(new.layers[name], f) != getattr(old.layers[name], f)).any()}
            assert changed == set(MODES[old.mode].trained)

    network = LoraNetwork([16, 20], 3, "freeze_b", [1.0], [0.0], [(0.5, 0.0)], [(1.0, 2.0)])
    # Lambda_B = |s| reach_A rho = 2 and Lambda_A = |s| reach_B rho = 1.5, reach = initial norm + radius.
    np.testing.assert_allclose(np.exp(network.log_lipschitz()[0]), [2.0, 1.5])


def test_no_other_file_decides_on_the_name_of_a_mode():
    """Elsewhere a name stands only where a setting or an argument has its default."""
    root = Path(lorabound.__file__).parent
    seen, found = 0, []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defaults: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.arguments):
                defaults |= {
                    inside for value in (*node.defaults, *node.kw_defaults) if value for inside in ast.walk(value)
                }
            if isinstance(node, ast.ClassDef):
                values = [entry.value for entry in node.body if isinstance(entry, ast.AnnAssign) and entry.value]
                defaults |= {inside for value in values for inside in ast.walk(value)}
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in MODES]
        if path == root / "modes.py":
            seen = len(names)
        else:
            found += [f"{path.relative_to(root)}:{node.lineno}" for node in names if node not in defaults]
    assert seen >= 3  # the search finds names
    assert found == []
