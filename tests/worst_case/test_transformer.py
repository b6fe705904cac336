"""The worst case on an encoder: signed means and their gradients are right, larger classes never measure less."""

import numpy as np
import polars as pl
import pytest
import torch

from lorabound.data import Dialogue, Turn
from lorabound.engine import Examples, Pool, evaluate
from lorabound.engine.memory import Allotment
from lorabound.models.causal import load_causal
from lorabound.stack import Stack, select_linears
from lorabound.sweeps import SweepConfig
from lorabound.worst_case.measured import transformer
from lorabound.worst_case.measured.transformer import TransformerClass, _adapters, described, measure_transformer
from lorabound.worst_case.options import ComplexityConfig
from tests.decoder_models import save_llama

SETTINGS = ComplexityConfig(ranks=(1, 3), n_train=(12, 24), signs=4, steps=12, radius=2.0)


@pytest.fixture
def examples(tiny):
    random = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 7))) for _ in range(15)]
    return Examples(tiny.prepare(texts), np.array([ord(t[0]) % 3 for t in texts]))


def test_signed_means_and_gradients(tiny, examples):
    shapes = select_linears(tiny.module, ["query", "value"])
    adapters = _adapters(shapes, 2, SETTINGS, [0, 1])
    torch.manual_seed(1)
    signs = torch.randint(2, (4, 15)).float() * 2 - 1
    with Stack(tiny.module, adapters) as stack:
        members = TransformerClass(tiny, stack, examples, 2.0)
        factors = [0.3 * torch.randn(4, *shape) for shape in members.shapes]
        values, gradients = members.signed_means(factors, signs)
        for k in range(4):  # one row after another, written out
            logits = tiny.logits(examples.inputs, np.tile(np.arange(15), 4)).view(4, 15, -1)[k]
            losses = 1 - logits.softmax(-1)[torch.arange(15), torch.from_numpy(examples.labels)]
            assert values[k].item() == pytest.approx((signs[k] * (losses - 0.5)).mean().item(), abs=1e-6)
        for index, (factor, gradient) in enumerate(zip(factors, gradients, strict=True)):
            moved = [f.clone() for f in factors]
            direction = torch.randn_like(factor)
            gradient = gradient.clone()
            moved[index] = factor + 1e-2 * direction
            up = members.signed_means(moved, signs)[0]
            moved[index] = factor - 1e-2 * direction
            down = members.signed_means(moved, signs)[0]
            slope = (gradient * direction).flatten(1).sum(1)
            torch.testing.assert_close((up - down) / 2e-2, slope, atol=2e-4, rtol=2e-2)


def test_pairs_share_their_factor_and_ranks_are_nested(tiny):
    shapes = select_linears(tiny.module, ["query"])
    small, large = (_adapters(shapes, rank, SETTINGS, [0, 1]) for rank in (1, 3))
    for name in shapes:
        np.testing.assert_array_equal(small[0].layers[name].a, large[0].layers[name].a[:1])
        np.testing.assert_array_equal(large[0].layers[name].a, large[2].layers[name].a)  # s and -s of pair 0
        assert (large[0].layers[name].a != large[1].layers[name].a).all()


def test_a_budget_cuts_the_searches_into_smaller_stacks(tiny, monkeypatch, tmp_path):
    """What fits is what a stack holds; every pair of signs is still searched once, and found about as large."""
    path = tmp_path / "letters.csv"
    random = np.random.default_rng(2)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, 5)) for _ in range(80)})
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    monkeypatch.setattr("lorabound.engine.pool.n_workers", lambda *_: 1)
    widths, longest = [], []
    original = TransformerClass.signed_means

    def watched(self, factors, signs):
        widths.append(len(signs))
        longest.append(self._most)
        return original(self, factors, signs)

    monkeypatch.setattr(TransformerClass, "signed_means", watched)
    settings = ComplexityConfig(ranks=(2,), n_train=(20,), signs=8, steps=30)
    config = SweepConfig(data=str(path), targets=["query", "value"])
    wide = measure_transformer(config, settings)
    assert set(widths) == {8}
    widths.clear()
    longest.clear()
    monkeypatch.setattr(Pool, "fit", lambda *_: Allotment(2, 64))
    narrow = measure_transformer(config, settings)
    assert set(widths) == {2}
    assert set(longest) == {64}
    assert len(narrow.rows[0].values) == len(wide.rows[0].values) == 4  # pairs
    np.testing.assert_allclose(narrow.rows[0].values, wide.rows[0].values, rtol=0.1)


def test_larger_ranks_measure_no_less_and_the_ball_holds(tiny, monkeypatch, tmp_path):
    random = np.random.default_rng(1)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, 5)) for _ in range(80)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    norms = []
    original = TransformerClass.signed_means

    def watched(self, factors, signs):
        norms.extend(factor.flatten(1).norm(dim=1).max().item() for factor in factors)
        return original(self, factors, signs)

    monkeypatch.setattr(TransformerClass, "signed_means", watched)
    config = SweepConfig(data=str(path), targets=["query", "value"])
    result = measure_transformer(config, SETTINGS)
    assert [(row.rank, row.n_train) for row in result.rows] == [(1, 12), (1, 24), (3, 12), (3, 24)]
    for n in (12, 24):
        one, three = (row for row in result.rows if row.n_train == n)
        assert all(a <= b + 1e-6 for a, b in zip(one.values, three.values, strict=True))
        assert 0 < one.mean < 0.5
        assert three.proved < three.mean < 0.5
        assert three.n_params == 3 * (2 * 16 + 2 * 20)
    assert max(norms) <= 2.0 * (1 + 1e-5)
    assert {growth.axis for growth in result.growth} == {"rank", "n_train"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("llama"))


def test_signed_means_of_completions_are_those_of_one_minus_p(llama):
    """The mean of 1 - p over the tokens of each completion, as a sweep measures it, and its gradient."""
    model = load_causal(str(llama), [], "")
    said = ["cat", "dog water", "bread and pain", "chien"]
    dialogues = [Dialogue((Turn("user", f"say {a}"), Turn("assistant", a)), chat=True) for a in said]
    examples = Examples(model.prepare(dialogues), np.zeros(4, dtype=np.int64))
    shapes = select_linears(model.module, ["q_proj", "down_proj"])
    signs = torch.tensor([[1.0, -1, -1, 1], [-1.0, 1, 1, 1]])
    torch.manual_seed(2)
    with Stack(model.module, _adapters(shapes, 2, SETTINGS, [0]), model.towers) as stack:
        members = TransformerClass(model, stack, examples, 2.0)
        factors = [0.2 * torch.randn(2, *shape) for shape in members.shapes]
        values, gradients = members.signed_means(factors, signs)
        found = evaluate(model, examples.inputs, examples.labels, 2)
        expected = [(s.numpy() * (losses.misses - 0.5)).mean() for s, losses in zip(signs, found, strict=True)]
        np.testing.assert_allclose(values, expected, atol=1e-6)
        assert np.ptp(found[0].misses) > 0.01
        slope = sum((g * g).flatten(1).sum(1) for g in gradients)  # along the gradient itself
        step = 1e-3 / slope.sqrt().view(-1, 1, 1)
        ahead, behind = (
            members.signed_means(
                [f + s * step * g for f, g in zip(factors, map(torch.clone, gradients), strict=True)], signs
            )[0]
            for s in (1, -1)
        )
        torch.testing.assert_close((ahead - behind) / 2e-3, slope.sqrt(), rtol=2e-2, atol=1e-4)


def test_a_search_on_a_language_model_says_how_long_it_takes(llama, tmp_path, monkeypatch):
    rows = [f"{a} {b} {i}" for i, (a, b) in enumerate([("cat", "good"), ("dog", "bad")] * 10)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["text,label", *(f"{row},{row.split()[1]}" for row in rows)]))
    asked = {"data": str(path), "model": str(llama), "layers": "top1", "template": "say {}", "precision": "float32"}
    config = SweepConfig(**asked)
    assert "asked for as 'say {}'" in described(config)
    settings = ComplexityConfig(ranks=[1], n_train=[4, 8], signs=4, steps=2)
    monkeypatch.setattr(transformer, "LONG", -1.0)
    told = []
    found = measure_transformer(config, settings, told.append)
    assert [(row.family, row.n_train) for row in found.rows] == [("adapters", 4), ("adapters", 8)]
    (searching,) = [line for line in told if line.startswith("searching: ")]
    assert "on this machine if nothing else runs; --ranks 1,4 --n-train 16,64 --signs 8 --steps 25 takes" in searching
