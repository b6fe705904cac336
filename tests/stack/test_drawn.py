"""Weights drawn anew for every row: the formula, what rows share, and what they do not."""

import numpy as np
import pytest
import torch

from lorabound.adapters import Head, entries_of, entry_name, new_adapter, with_entries
from lorabound.adapters.adapter import Adapter
from lorabound.data import Picture
from lorabound.models.clip import ClipClassifier
from lorabound.models.kinds import CLIP
from lorabound.models.layers import adapted_layers
from lorabound.modes import MODES
from lorabound.stack import DrawnStack, Stack, modules_of
from tests.adapter_cases import filled, new_on
from tests.clip_models import save_clip

SHAPES = {"layer.0.query": (16, 16), "layer.1.value": (20, 16)}


def adapter(mode="freeze_a"):
    return new_adapter(SHAPES, 3, mode, 0, "kaiming_uniform", 2.0)


def laws(one, spread, factors=("b",)):
    names = [entry_name(name, factor) for name in one.layers for factor in factors]
    shapes = [getattr(f, factor).shape for f in one.layers.values() for factor in factors]
    sizes = dict(zip(names, shapes, strict=True))
    return {n: torch.zeros(s) for n, s in sizes.items()}, {n: torch.full(s, spread) for n, s in sizes.items()}


@pytest.fixture
def layer():
    """One linear layer as a model, so that outputs are linear in what is drawn."""

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 5)

        def forward(self, x):
            return self.fc(x)

    torch.manual_seed(0)
    return One().requires_grad_(False)


def outputs_of(layer, x, n_draws, spread=0.3):
    """Outputs of n draws less the frozen product: (draws, tokens, 5)."""
    one = new_adapter({"fc": (5, 4)}, 2, "freeze_a", 0, "kaiming_uniform", 2.0)
    with DrawnStack(layer, one, *laws(one, spread)) as stack:
        stack.draw(n_draws, torch.Generator().manual_seed(1))
        return layer(x.expand(n_draws, *x.shape)) - stack.layers["fc"].base(x), one


def test_tokens_of_a_row_share_their_weights_and_rows_do_not(layer):
    """Exactly: cov(s B z, s B z') of two tokens is s^2 v <z, z'> per output, z = A x; of two rows it is 0."""
    x = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.5, 1.0, 1.0, -2.0]])
    drawn, one = outputs_of(layer, x, 40_000)
    z = x @ torch.from_numpy(one.layers["fc"].a).T
    expected = 4.0 * 0.09 * z @ z.T
    tokens = torch.einsum("nto,nso->ts", drawn, drawn) / (len(drawn) * 5)
    # 200,000 products: relative standard error of a covariance <= sqrt(2/200000) = 0.003
    torch.testing.assert_close(tokens, expected, rtol=0.02, atol=0.02 * float(expected.diagonal().max()))
    neighbours = (drawn[1:, 0] * drawn[:-1, 1]).mean()
    assert abs(neighbours) < 5 * float(expected.diagonal().prod().sqrt()) / np.sqrt(len(drawn) * 5)
    # The false variant, noise per token: its covariance between tokens is 0, which is told apart from the true one.
    assert abs(expected[0, 1]) > 20 * float(expected.diagonal().max()) * 0.003


def test_outputs_of_one_row_are_uncorrelated_given_the_input(layer):
    drawn, _ = outputs_of(layer, torch.ones(1, 4), 20_000)
    correlation = np.corrcoef(drawn[:, 0].T.numpy())
    assert np.abs(correlation - np.eye(5)).max() < 0.04


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
def test_without_spread_it_is_the_adapter(tiny, mode):
    random = np.random.default_rng(0)
    one = adapter(mode)
    for f in one.layers.values():
        f.b[:] = random.normal(size=f.b.shape) / 4
    inputs, index = tiny.prepare(["abc", "de", "fghij"]), np.arange(3)
    with Stack(tiny.module, [one], tiny.towers):
        expected = tiny.logits(inputs, index)
    means = {entry_name(n, p): torch.from_numpy(getattr(f, p)) for n, f in one.layers.items() for p in ("b", "a")}
    with DrawnStack(
        tiny.module, one, means, {n: torch.full_like(v, 1e-7) for n, v in means.items()}, tiny.towers
    ) as stack:
        stack.draw(3)
        torch.testing.assert_close(tiny.logits(inputs, index), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tiny.module.layer[0].query.weight, stack.layers["layer.0.query"].base.weight)
    assert isinstance(tiny.module.layer[0].query, torch.nn.Linear)


def test_a_row_is_what_a_stack_of_that_draw_computes(tiny):
    """Each row against an ordinary stack that holds the weights drawn for it, both factors random."""
    one = adapter("train_both")
    inputs, index = tiny.prepare(["abc", "de", "fghij"]), np.arange(3)
    means, spreads = laws(one, 0.4, ("b", "a"))
    with DrawnStack(tiny.module, one, means, spreads, tiny.towers) as stack:
        stack.draw(3, torch.Generator().manual_seed(3))
        together = tiny.logits(inputs, index)
        drawn = {name: dict(layer.drawn) for name, layer in stack.layers.items()}
    for i in index:
        layers = {
            name: type(f)(a=drawn[name]["a"][i].numpy(), b=drawn[name]["b"][i].numpy(), scale=f.scale)
            for name, f in one.layers.items()
        }
        with Stack(tiny.module, [Adapter(layers=layers, mode="train_both", seed=0)], tiny.towers):
            torch.testing.assert_close(tiny.logits(inputs, index)[i], together[i], atol=1e-4, rtol=1e-4)


def test_a_head_is_drawn_with_its_bias(layer):
    """The head replaces the layer: scores of row i are W_i x + b_i, W and b drawn."""
    head = Head(name="fc", weight=np.zeros((5, 4), np.float32), bias=np.zeros(5, np.float32))
    one = Adapter(layers={}, mode="freeze_a", head=head)
    spreads = {"fc.weight": torch.full((5, 4), 0.5), "fc.bias": torch.full((5,), 0.25)}
    with DrawnStack(layer, one, {}, spreads) as stack:
        stack.draw(30_000, torch.Generator().manual_seed(0))
        scores = layer(torch.tensor([[1.0, 2.0, 0.0, 1.0]]).expand(30_000, 4))
    # Variance 0.25 * |x|^2 + 0.0625 = 1.5625, relative standard error sqrt(2/150000) = 0.0037.
    assert float(scores.square().mean()) == pytest.approx(1.5625, rel=0.02)


def test_prompts_are_drawn_with_their_image(tmp_path, monkeypatch):
    """CLIP with both towers adapted: image and class prompts of a row see one draw, that of no other row."""
    from lorabound.models import pixels

    monkeypatch.setattr(pixels, "CACHE", tmp_path / "cache")
    random = np.random.default_rng(0)
    shown = [random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(3)]
    clip = ClipClassifier.load(str(save_clip(tmp_path / "clip")), ["cat", "dog"], "a photo of a {}.")
    images, index = clip.prepare([Picture(f"{i}", lambda p=p: p) for i, p in enumerate(shown)]), np.arange(3)
    one = new_adapter(adapted_layers(modules_of(clip.module), CLIP, ["q"], None, "both"), 2, "freeze_a", 0, "gaussian", 2.0)  # fmt: skip
    with torch.no_grad(), DrawnStack(clip.module, one, *laws(one, 0.4), clip.towers) as stack:
        stack.draw(3, torch.Generator().manual_seed(3))
        together = clip.logits(images, index)
        drawn = {name: layer.drawn["b"] for name, layer in stack.layers.items()}
    for i in index:
        layers = {name: type(f)(a=f.a, b=drawn[name][i].numpy(), scale=f.scale) for name, f in one.layers.items()}
        with torch.no_grad(), Stack(clip.module, [Adapter(layers=layers, mode="freeze_a", seed=0)], clip.towers):
            torch.testing.assert_close(clip.logits(images, index)[i], together[i], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_each_draw_is_an_adapter_of_its_mode(tiny, mode):
    """Whatever is drawn (a factor, M, one vector for all layers): row i sees the adapter with the i-th draw in it."""
    one = filled(new_on(tiny.module, SHAPES, mode), size=0.3)
    trained = entries_of(one, MODES[mode].trained)
    means = {name: torch.from_numpy(value) for name, value in trained.items()}
    spreads = {name: torch.full(value.shape, 0.2) for name, value in trained.items()}
    inputs, index = tiny.prepare(["abc", "cab", "bca"]), np.arange(3)
    with DrawnStack(tiny.module, one, means, spreads) as stack, torch.no_grad():
        stack.draw(3, torch.Generator().manual_seed(0))
        together = tiny.logits(inputs, index)
        drawn = {}
        for module in stack.random:
            prefix = next((name for name, layer in stack.layers.items() if layer is module), "")
            drawn |= {entry_name(prefix, part): module.drawn[part] for part in module.spreads}
    assert set(drawn) == set(trained)
    for i in range(3):
        alone = with_entries(one, {name: value[i].numpy() for name, value in drawn.items()})
        with Stack(tiny.module, [alone]), torch.no_grad():
            torch.testing.assert_close(together[i : i + 1], tiny.logits(inputs, index[i : i + 1]), atol=1e-4, rtol=1e-4)
