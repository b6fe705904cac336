"""Chains: links that are trained one after the other, against loops that merge for real, and against least squares."""

import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import nn

from lorabound.adapters import load_adapter, new_adapter, random_factor, save_adapter
from lorabound.adapters.spectra import inspect_adapter
from lorabound.certificates.subject import start_of
from lorabound.engine import Recipe, train
from lorabound.engine.batches import epoch_batches
from lorabound.engine.chains import Chain
from lorabound.errors import AdapterError, InputError
from lorabound.modes import MODES
from lorabound.stack import Stack, select_linears
from tests.adapter_cases import filled
from tests.adapters.test_folder import base_model, logits_of
from tests.engine.test_engine import task

LAWS = ["kaiming_uniform", "gaussian"]
CHAINS = [mode for mode, facts in MODES.items() if facts.in_peft]


def chain_of(tiny, rank, mode, links, seed=0, law="kaiming_uniform"):
    return new_adapter(select_linears(tiny.module, ["query", "value"]), rank, mode, seed, law, 2.0, links=links)


@pytest.mark.parametrize("law", LAWS)
def test_links_are_rows_of_one_draw_with_the_law_of_their_own_rank(law):
    chain = new_adapter({"one": (9, 8)}, 2, "freeze_a", 3, law, 2.0, links=3)
    a = chain.layers["one"].a
    assert (a.shape, chain.layers["one"].scale, chain.n_params) == ((6, 8), 2.0, 6 * 9)
    np.testing.assert_array_equal(a[:2], random_factor(3, "one", 2, 8, law))
    whole = random_factor(3, "one", 6, 8, law)
    np.testing.assert_allclose(a, whole * (3 if law == "gaussian" else 1), rtol=1e-6)


@pytest.mark.parametrize("mode", CHAINS)
def test_a_chain_is_what_training_and_merging_one_link_after_the_other_gives(tiny, mode):
    """Written out: after each link W becomes W + s B A, and new factors, a new optimizer and a new schedule begin.

    The losses of the first pass (steps 0 to 3, the second link begins at step 2) are those before each step: right
    after a link is merged those of the merged model, to which the next link adds nothing yet.
    """
    train_set, test_set = task(tiny, 30), task(tiny, 20, seed=1)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.02, schedule="cosine", weight_decay=0.1)
    chain = chain_of(tiny, 2, mode, 3, seed=5)
    (result,) = train(tiny, train_set, test_set, [chain], [5], recipe)

    plain = type(tiny)()
    weights = {n: plain.module.get_submodule(n).weight.detach().clone() for n in chain.layers}
    factors, before = {}, []
    steps = [index for epoch in range(2) for index in epoch_batches(train_set.inputs.lengths, 8, [5], epoch)]
    starts = [0, 2, 5, 8]  # 8 steps among 3 links
    for link, (first, end) in enumerate(pairwise(starts)):
        rows = slice(2 * link, 2 * link + 2)
        for n, f in chain.layers.items():
            factors[n] = torch.tensor(f.b[:, rows]), torch.tensor(f.a[rows])
        moving = [f[["b", "a"].index(part)] for f in factors.values() for part in MODES[mode].trained]
        for tensor in moving:
            tensor.requires_grad_(True)
        for n in chain.layers:
            module = plain.module.get_submodule(n)
            module.forward = lambda x, m=module, n=n: F.linear(
                x, weights[n] + 2.0 * factors[n][0] @ factors[n][1], m.bias
            )
        optimizer = torch.optim.AdamW(moving, weight_decay=0.1)
        for step in range(first, end):
            progress = (step - first) / (end - first)
            optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * progress))
            optimizer.zero_grad()
            index = steps[step][0]
            logits = plain.logits(train_set.inputs, index)
            losses = F.cross_entropy(logits, torch.from_numpy(train_set.labels[index]), reduction="none")
            before.append((index, losses.detach(), logits.argmax(1).numpy() != train_set.labels[index]))
            losses.mean().backward()
            optimizer.step()
        for n, (b, a) in factors.items():
            weights[n] = weights[n] + 2.0 * (b @ a).detach()
    for n, f in result.adapter.layers.items():
        update = weights[n] - plain.module.get_submodule(n).weight
        np.testing.assert_allclose(2.0 * f.b @ f.a, update.detach(), atol=2e-5)
        assert np.abs(f.b[:, -1]).max() > 1e-3  # the last link was trained
    order, log_losses, errors = (np.concatenate(parts) for parts in zip(*before[:4], strict=True))
    np.testing.assert_array_equal(result.first_pass.order, order)
    np.testing.assert_allclose(result.first_pass.log_losses, log_losses, atol=1e-5)
    np.testing.assert_array_equal(result.first_pass.errors, errors)


@pytest.mark.parametrize("mode", CHAINS)
def test_the_first_link_is_a_run_of_its_rank_and_stays(tiny, mode):
    train_set, test_set = task(tiny, 32), task(tiny, 10, seed=1)
    (chain,) = train(tiny, train_set, test_set, [chain_of(tiny, 2, mode, 2)], [0], Recipe(2, 8, 0.02, weight_decay=0.1))
    (alone,) = train(tiny, train_set, test_set, [chain_of(tiny, 2, mode, 1)], [0], Recipe(1, 8, 0.02, weight_decay=0.1))
    for name, f in alone.adapter.layers.items():
        np.testing.assert_allclose(chain.adapter.layers[name].b[:, :2], f.b, atol=1e-5)
        np.testing.assert_allclose(chain.adapter.layers[name].a[:2], f.a, atol=1e-5)
        assert np.abs(f.b).max() > 1e-3


def test_chains_in_a_stack_equal_chains_alone(tiny):
    train_set, test_set = task(tiny, 30), task(tiny, 20, seed=1)
    specs = [(mode, rank, rank) for mode in CHAINS for rank in (1, 3)]
    recipe = Recipe(2, 8, 0.02, "cosine", weight_decay=0.1, clip_norm=0.05)
    made = [chain_of(tiny, rank, mode, 2, seed) for mode, rank, seed in specs]
    together = train(tiny, train_set, test_set, made, [seed for *_, seed in specs], recipe)
    for adapter, stacked, (*_, seed) in zip(made, together, specs, strict=True):
        (alone,) = train(tiny, train_set, test_set, [adapter], [seed], recipe)
        assert stacked.adapter.links == 2
        assert stacked.adapter.frozen_sha256() == adapter.frozen_sha256()
        for name, f in alone.adapter.layers.items():
            np.testing.assert_allclose(stacked.adapter.layers[name].a, f.a, atol=1e-5)
            np.testing.assert_allclose(stacked.adapter.layers[name].b, f.b, atol=1e-5)


def least_squares(links, steps, seed, rank=2, width=12):
    """Fit E by gradient steps on ||B A - E||^2, x = every unit vector; returns the factors, what is left, and E."""
    random = np.random.default_rng(0)
    wanted = torch.from_numpy(random.normal(size=(20, width)).astype(np.float32))
    layer = nn.Linear(width, 20, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
    model, x = nn.Sequential(layer), torch.eye(width)
    adapter = new_adapter({"0": (20, width)}, rank, "freeze_a", seed, "kaiming_uniform", 1.0, links=links)
    with Stack(model, [adapter]) as stack:
        chain = Chain(stack, steps)
        optimizer = torch.optim.SGD(stack.parameters(), lr=1.0)
        for done in range(steps):
            chain.reach(done)
            optimizer.zero_grad()
            (model(x) - wanted.T).square().sum().mul(0.5).backward()
            chain.mask_gradients()
            chain.step(optimizer)
        made = stack.extract(0).layers["0"]
    return made, wanted.numpy() - made.b @ made.a, wanted.numpy()


def test_one_frozen_factor_stalls_where_a_chain_goes_on():
    made, left, wanted = least_squares(1, 400, seed=1)
    stalled = float((_after_projections(wanted, made.a, 1) ** 2).sum())  # ||E (I - A^+ A)||^2
    np.testing.assert_allclose((left**2).sum(), stalled, rtol=1e-4)
    made, left, wanted = least_squares(4, 1600, seed=1)
    expected = _after_projections(wanted, made.a, 4)  # each link the best for what is left
    np.testing.assert_allclose(left, expected, atol=1e-3)
    assert (left**2).sum() < 0.75 * stalled
    joint = _after_projections(wanted, made.a, 1)  # all 8 rows at once: at least as good
    assert (joint**2).sum() < (left**2).sum()


def _after_projections(wanted, a, links):
    """E (I - A_1^+ A_1) .. (I - A_T^+ A_T), A_m the m-th block of rows of A."""
    left = wanted.astype(np.float64)
    for block in np.split(a.astype(np.float64), links):
        left = left - left @ np.linalg.pinv(block) @ block
    return left


def test_the_residual_falls_by_one_minus_r_over_d_in_per_link():
    """Mean over 200 draws of chains with the exact best B of each link; 4 standard errors."""
    rank, width, links = 2, 16, 5
    wanted = np.random.default_rng(0).normal(size=(10, width))
    shares = []
    for seed in range(200):
        a = new_adapter({"0": (10, width)}, rank, "freeze_a", seed, "gaussian", 1.0, links=links).layers["0"].a
        left = _after_projections(wanted, a, links)
        shares.append((left**2).sum() / (wanted**2).sum())
    error = np.std(shares) / len(shares) ** 0.5
    assert error < 0.01
    assert abs(np.mean(shares) - (1 - rank / width) ** links) < 4 * error


@pytest.mark.parametrize("law", LAWS)
def test_peft_loads_a_chain_with_the_same_logits_and_we_know_it_again(minilm, tmp_path, law):
    shapes = select_linears(minilm.module, ["query", "output.dense"], [2, 5])
    adapter = filled(new_adapter(shapes, 2, "freeze_a", 4, law, 2.0, links=3), size=0.05)
    save_adapter(adapter, tmp_path / "adapter")
    with Stack(minilm.module, [adapter]):
        ours = logits_of(minilm, minilm.module)
    loaded = PeftModel.from_pretrained(base_model(), tmp_path / "adapter").eval()
    config = loaded.peft_config["default"]
    assert (config.r, config.lora_alpha) == (6, 12)  # T r, and T times the lora_alpha of rank r at scale 2
    torch.testing.assert_close(ours, logits_of(minilm, loaded), atol=1e-5, rtol=0)
    assert (ours - logits_of(minilm, minilm.module)).abs().max() > 0.01
    again = load_adapter(tmp_path / "adapter")
    assert (again.links, again.mode, again.n_params) == (3, "freeze_a", adapter.n_params)
    assert inspect_adapter(tmp_path / "adapter").recorded.links == 3
    start = start_of(again)  # what certificates centre a prior at: drawn from the seed, before the data
    for name, f in start.layers.items():
        np.testing.assert_array_equal(f.a, adapter.layers[name].a)
        assert not f.b.any()


def test_one_link_is_not_recorded(tmp_path):
    """Folders, and with them the hashes of stored runs, are as they were before there were chains."""
    one = new_adapter({"one": (6, 5)}, 2, "freeze_a", 0, "gaussian", 2.0)
    assert "links" not in (save_adapter(one, tmp_path / "one") / "lorabound.json").read_text()
    folder = save_adapter(new_adapter({"one": (6, 5)}, 2, "freeze_a", 0, "gaussian", 2.0, links=2), tmp_path / "two")
    record = folder / "lorabound.json"
    record.write_text(record.read_text().replace('"links": 2', '"links": 3'))
    with pytest.raises(AdapterError, match=r"records a chain of 3 links, and rank 4 of one cannot be divided by it"):
        load_adapter(folder)


def test_another_process_draws_the_same_links():
    code = (
        "from lorabound.adapters import new_adapter\n"
        "made = new_adapter({'one': (9, 8)}, 2, 'freeze_a', 3, 'gaussian', 2.0, links=3)\n"
        "print(made.frozen_sha256())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = new_adapter({"one": (9, 8)}, 2, "freeze_a", 3, "gaussian", 2.0, links=3)
    assert done.stdout.strip() == here.frozen_sha256()


def test_chains_that_cannot_be(tiny):
    with pytest.raises(InputError, match="links must be at least 1, got 0"):
        chain_of(tiny, 1, "freeze_a", 0)
    with pytest.raises(InputError, match=r"mode core cannot be a chain of links.*choose modes among freeze_a, "):
        chain_of(tiny, 1, "core", 2)
    with pytest.raises(InputError, match=r"links 3 of rank 6 are rank 18 together, which does not fit layer"):
        chain_of(tiny, 6, "freeze_a", 3)
    with pytest.raises(InputError, match="links 5 need a step each, and training has 4 steps in all"):
        train(tiny, task(tiny, 8), task(tiny, 8), [chain_of(tiny, 1, "freeze_a", 5)], [0], Recipe(2, 4, 0.1))
    mixed = [chain_of(tiny, 1, "freeze_a", links) for links in (1, 2)]
    with pytest.raises(InputError, match="must be chains of equally many links"):
        train(tiny, task(tiny, 8), task(tiny, 8), mixed, [0, 0], Recipe(2, 4, 0.1))
