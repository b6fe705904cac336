"""The table of modes against first principles: what receives a gradient, what PEFT trains, what the paper writes down."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from peft import PeftModel

import lorabound
from lorabound.adapters import entries_of, new_adapter, random_factor, save_adapter
from lorabound.bounds import LoraNetwork
from lorabound.errors import InputError
from lorabound.modes import (
    FACTORS,
    LARGEST_MODE,
    MODES,
    PEFT_MODES,
    PEFT_NAMES,
    Mode,
    ModeFacts,
    foreign_settings,
    guideline,
    part_shape,
)
from lorabound.stack import Stack, select_linears, stack_order
from tests.adapter_cases import SUBSPACE, filled, new_on

# Kratsios et al. 2025, eq. 7 and section 4.3, for a layer of 20 x 16 at rank 3: B is 20 x 3, A is 3 x 16, M is 3 x 3.
Q = {"freeze_a": 60, "freeze_b": 48, "train_both": 108, "core": 9, "common": 48}
# Of two such layers: the vector is there once.
Q_OF_TWO = {**{mode: 2 * q for mode, q in Q.items()}, "subspace": SUBSPACE}
# B drawn, both trained: the one of the four that the table does not have.
MIRROR = ModeFacts(name="freeze_b", brief="both", drawn=("b",), trained=("b", "a"), sentence="")


def test_the_table_counts_what_each_mode_trains():
    assert {name: facts.n_params(3, [(20, 16)] * 2, SUBSPACE) for name, facts in MODES.items()} == Q_OF_TWO
    assert [facts.name for facts in MODES.values()] == list(MODES) == list(get_args(Mode))
    assert PEFT_MODES == ("freeze_a", "freeze_b", "train_both")  # those of the paper


def test_a_vector_must_fit_the_factors_it_fills():
    shapes = [(20, 16)] * 2  # 120 entries of B at rank 3
    assert MODES["subspace"].n_params(3, shapes, 120) == 120
    for size in (0, 121):
        with pytest.raises(InputError, match=r"does not fit the 120 entries of all factors B.*choose 1 to 120"):
            MODES["subspace"].n_params(3, shapes, size)
    with pytest.raises(InputError, match="give subspace_size"):
        MODES["subspace"].n_params(3, shapes)


@pytest.mark.parametrize("mode", MODES)
def test_q_is_the_number_of_entries_with_a_gradient(tiny, mode):
    shapes = select_linears(tiny.module, ["value"])  # 20 x 16, in two layers
    with Stack(tiny.module, [filled(new_on(tiny.module, shapes, mode))]) as stack:
        tiny.logits(tiny.prepare(["abc", "de", "fghij"]), np.arange(3)).square().sum().backward()
        found = sum(int((p.grad != 0).sum()) for p in stack.parameters() if p.grad is not None)
        others = {id(p) for p in tiny.module.parameters() if p.requires_grad and p.numel()}
        q = stack.extract(0).n_params
        assert others <= {id(p) for p in stack.parameters()}
    assert found == q == Q_OF_TWO[mode]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_drawn_at_the_start_and_what_is_zero(tiny, mode):
    shapes = select_linears(tiny.module, ["value"])
    made = new_on(tiny.module, shapes, mode, seed=5, law="gaussian")
    name = next(iter(shapes))
    factors = made.layers[name]
    streams = {"a": name, "b": f"{name}.lora_B" if mode == "core" else name}  # two factors need two streams
    for factor in FACTORS:
        assert getattr(factors, factor).shape == part_shape(factor, 3, 20, 16)
        if factor not in MODES[mode].drawn:
            assert not getattr(factors, factor).any()
        elif not MODES[mode].common:
            width = {"a": 16, "b": 20}[factor]
            expected = random_factor(5, streams[factor], 3, width, "gaussian")
            np.testing.assert_array_equal(factors.rows(factor), expected)
    assert not any(
        value.any() for value in entries_of(made, set(MODES[mode].trained) - set(MODES[mode].drawn)).values()
    )
    assert not (factors.b @ factors.a).any()  # the model starts as pre-trained


@pytest.mark.parametrize("mode", PEFT_MODES)
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
    smaller = set(facts.trained) - set(FACTORS)
    assert set(facts.drawn) | set(facts.trained) | ({"b"} if smaller else set()) == set(FACTORS) | smaller
    assert set(facts.frozen) == set(FACTORS) & set(facts.drawn) - set(facts.trained)
    assert set(facts.trained) - set(facts.drawn)  # otherwise s B A is not 0 at the start


@pytest.mark.parametrize("mode", MODES)
def test_the_network_of_lemma_4_counts_the_same_q(mode):
    facts = MODES[mode]
    norms = (0.0, 1.0) if len(facts.frozen or facts.trained) > 1 else 1.0
    radii = (1.0, 1.0) if len(facts.trained) > 1 else 1.0
    network = LoraNetwork(
        [16, 20, 16, 20], 3, mode, [1.0] * 3, [0.0] * 3, [norms, None, norms], [radii, None, radii],
        subspace_size=SUBSPACE,
    )  # fmt: skip
    assert network.n_params == Q_OF_TWO[mode]
    assert sum(size for size, _ in network.blocks()) == Q_OF_TWO[mode]


def test_the_sentence_says_what_the_row_says():
    for facts in MODES.values():
        named = {"b": "B", "a": "A", "m": "r x r matrix", "theta": "vector"}
        before, stays, after = facts.sentence.partition("stays as" if "stays as" in facts.sentence else "stay as")
        assert all(named[part] in before for part in facts.trained)
        assert bool(stays) == bool(facts.frozen)
        for factor in facts.frozen:
            assert re.search(rf"\b{factor.upper()}\b", before)
        assert ("at random" in after) == ((bool(facts.frozen) and facts.in_peft) or facts.name == "subspace")


def test_a_setting_that_one_mode_reads_is_foreign_to_the_others():
    assert foreign_settings("subspace") == set()
    assert all(foreign_settings(mode) == {"subspace_size"} for mode in (*MODES, "zero_shot") if mode != "subspace")


def test_the_guideline_trains_as_many_entries_where_layers_are_square():
    first, second = guideline(4)
    counts = [MODES[mode].n_params(rank, [(64, 64), (32, 32)]) for mode, rank in (first, second)]
    assert counts == [2 * 4 * 96] * 2
    assert (first[1], second[1]) == (8, 4)


def test_the_largest_mode_trains_at_least_as_much_as_any_mode():
    most = MODES[LARGEST_MODE].n_params(3, [(20, 16)] * 2)
    assert all(facts.n_params(3, [(20, 16)] * 2, 120) <= most for facts in MODES.values())


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
    stacked = [filled(new_adapter(shapes, 3, modes[k], k, "gaussian", 2.0), FACTORS) for k in stack_order(modes)]
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
