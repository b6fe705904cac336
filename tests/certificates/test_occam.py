"""Occam certificates: what is decoded is what is measured, everything trained is charged for, and the limits hold."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from lorabound.adapters import new_adapter
from lorabound.adapters.adapter import Factors
from lorabound.bounds import occam
from lorabound.certificates import occam as room
from lorabound.certificates.codes import DIRECTIONS, ENTRIES, Steps, encode
from lorabound.certificates.directions import directions_of, directions_space, entries_space
from lorabound.certificates.methods import METHODS
from lorabound.certificates.quantize import Grid
from lorabound.certificates.subject import prepared_subject
from lorabound.engine import Examples, Recipe, evaluate, train
from lorabound.errors import AdapterError
from lorabound.models import PromptClassifier, SequenceClassifier
from lorabound.stack import Stack, select_linears
from lorabound.sweeps.records import AdapterTask
from tests.conftest import TinyClassifier
from tests.text_models import WORDS, save_letters_bert, save_text_model

RECIPE = Recipe(epochs=2, batch_size=8, lr=0.02)
CLASSES = ["good", "bad", "room"]


def task_of(head="prompts"):
    return AdapterTask(
        model="m", model_sha256="", takes="texts", head=head, prompt="{}", classes=CLASSES, logit_scale=5.0,
        max_length=16, precision="float32", n_train=0,
    )  # fmt: skip


def sample_of(classifier, n, texts=WORDS, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    chosen = [" ".join(random.choice(texts, 2)) for _ in range(n)]
    labels = np.array([sum(map(ord, text.split()[0])) % n_classes for text in chosen])
    return Examples(classifier.prepare(chosen), labels)


@pytest.fixture
def text(tmp_path):
    """A small text encoder with prompts, and a sample of 60 texts."""
    classifier = PromptClassifier.load(str(save_text_model(tmp_path / "m")), CLASSES, "{}", 5.0, 16, "cpu")
    return classifier, sample_of(classifier, 60)


@pytest.fixture
def opened():
    """A function that makes a subject ready; one subject is ready at a time."""
    with ExitStack() as stack:

        def enter(adapter, classifier, sample, head="prompts"):
            stack.close()
            return stack.enter_context(
                prepared_subject(Path("adapter"), adapter, task_of(head), classifier, sample, RECIPE)
            )

        yield enter


def trained(classifier, sample, mode, rank=2):
    shapes = select_linears(classifier.module, ["query", "value"])
    start = replace(new_adapter(shapes, rank, mode, 3, "kaiming_uniform", 2.0), head=classifier.head)
    return train(classifier, sample, sample, [start], [0], RECIPE)[0].adapter


def errors_by_hand(classifier, adapter, sample):
    with Stack(classifier.module, [adapter], classifier.towers):
        return int(evaluate(classifier, sample.inputs, sample.labels)[0].errors.sum())


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
@pytest.mark.parametrize("certify", [room.certify_as_stored, room.certify_compressed])
def test_the_statement_is_about_the_decoded_adapter(text, opened, mode, certify):
    classifier, sample = text
    adapter = trained(classifier, sample, mode)
    subject = opened(adapter, classifier, sample)
    statement = certify(subject, 0.05)
    message = statement.files[f"{statement.method}.bin"]
    decoded = room.decoded_adapter(subject, message)
    assert statement.error * 60 == pytest.approx(errors_by_hand(classifier, decoded, sample))
    assert statement.record["code_bits"] == statement.bound.inputs["code_bits"] == 8 * len(message)
    assert statement.limit == occam(statement.error, 60, 8 * len(message), 0.05, zero_one=True).value
    for name, factors in decoded.layers.items():
        for factor in {"a", "b"} - set(subject.paid):  # what is not paid for is as the seed draws it
            np.testing.assert_array_equal(getattr(factors, factor), getattr(adapter.layers[name], factor))
    again = METHODS[statement.method].function("recompute")(subject, statement.record, statement.files, 0.05)
    assert (again.limit, again.error, again.speaks_of) == (statement.limit, statement.error, statement.speaks_of)
    if certify is room.certify_as_stored:
        for name, factors in decoded.layers.items():
            assert factors.b.tobytes() == adapter.layers[name].b.tobytes()
            assert factors.a.tobytes() == adapter.layers[name].a.tobytes()
        assert statement.vacuous
    else:
        assert len(message) < 30
        assert min(one["limit"] for one in statement.record["tried"]) == statement.limit


def test_both_factors_are_paid_for_where_no_seed_is_recorded(text, opened):
    classifier, sample = text
    ours = trained(classifier, sample, "freeze_a")
    foreign = replace(ours, mode="train_both", seed=None, law=None)
    lengths = [
        len(room.certify_as_stored(opened(one, classifier, sample), 0.05).files["as-stored.bin"])
        for one in (ours, foreign)
    ]
    # 4 layers of 2 x 16 entries more, nearly 4 bytes each
    assert lengths[1] - lengths[0] > 0.8 * 4 * 4 * 2 * 16
    subject = opened(foreign, classifier, sample)
    assert room.certify_compressed(subject, 0.05).record["paid"] == ["b", "a"]
    sizes = entries_space(subject).sizes
    message = encode(Steps(numbers=np.ones(sum(sizes), dtype=int), steps=(0.5,) * len(sizes), along=ENTRIES))
    decoded = room.decoded_adapter(subject, message)
    assert all((f.a == 0.5).all() and (f.b == 0.5).all() for f in decoded.layers.values())


def test_a_trained_head_is_counted(tmp_path, opened):
    classifier = SequenceClassifier.load(str(save_letters_bert(tmp_path)), ["Red", "green", "blue"], 16, "cpu")
    sample = sample_of(classifier, 40, ["ab", "bc", "ca"])
    adapter = trained(classifier, sample, "freeze_a")
    assert adapter.head is not None
    subject = opened(adapter, classifier, sample, "trained")
    message = room.certify_as_stored(subject, 0.05).files["as-stored.bin"]
    factors = sum(f.b.size for f in adapter.layers.values())
    assert len(message) > 0.8 * 4 * (factors + adapter.head.n_params)
    decoded = room.decoded_adapter(subject, message)
    assert decoded.head.weight.tobytes() == adapter.head.weight.tobytes()
    small = room.certify_compressed(subject, 0.05)
    assert (
        errors_by_hand(classifier, room.decoded_adapter(subject, small.files["compressed.bin"]), sample)
        == small.record["errors"]
    )


def test_directions_know_nothing_of_the_data(text, opened):
    classifier, sample = text
    adapter = trained(classifier, sample, "freeze_a")
    subject = opened(adapter, classifier, sample)
    space = directions_space(subject)
    few, many = (directions_of(subject, space, count) for count in (4, 8))
    torch.testing.assert_close(many @ many.T, torch.eye(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(many[:4], few)
    another = sample_of(classifier, 30, seed=1)
    other = opened(trained(classifier, another, "freeze_a"), classifier, another)
    torch.testing.assert_close(directions_of(other, directions_space(other), 8), many, atol=0, rtol=0)


def test_messages_that_are_missing_swapped_or_damaged(text, opened):
    classifier, sample = text
    subject = opened(trained(classifier, sample, "freeze_a"), classifier, sample)
    statement = room.certify_compressed(subject, 0.05)
    message = statement.files[f"{statement.method}.bin"]
    with pytest.raises(AdapterError, match=r"compressed.bin is missing: .* certify"):
        room.recompute_compressed(subject, statement.record, {}, 0.05)
    flipped = bytes([message[0], message[1] ^ 1, *message[2:]])
    with pytest.raises(AdapterError, match=r"not the message of this certificate \(SHA-256"):
        room.recompute_compressed(subject, statement.record, {"compressed.bin": flipped}, 0.05)
    with pytest.raises(AdapterError, match="cut off"):
        room.decoded_adapter(subject, message[:-1])
    with pytest.raises(AdapterError, match="ends after"):
        room.decoded_adapter(subject, message + b"\0")


def test_another_adapter_under_the_words_as_stored(text, opened):
    classifier, sample = text
    subject = opened(trained(classifier, sample, "freeze_a"), classifier, sample)
    small = room.certify_compressed(subject, 0.05)
    with pytest.raises(AdapterError, match="decodes to another adapter than adapter"):
        room.recompute_as_stored(subject, {}, {"as-stored.bin": small.files["compressed.bin"]}, 0.05)


def test_a_nan_is_refused(text, opened):
    classifier, sample = text
    adapter = trained(classifier, sample, "freeze_a")
    name, factors = next(iter(adapter.layers.items()))
    b = factors.b.copy()
    b[0, 0] = np.nan
    damaged = replace(adapter, layers=adapter.layers | {name: Factors(a=factors.a, b=b, scale=factors.scale)})
    subject = opened(damaged, classifier, sample)
    for certify in (room.certify_as_stored, room.certify_compressed):
        with pytest.raises(AdapterError, match="1 of 128 trained entries are not finite numbers"):
            certify(subject, 0.05)


class OneLayer(nn.Module):
    """The mean of the embedded letters, through one linear layer."""

    def __init__(self):
        super().__init__()
        self.embedding, self.value = nn.Embedding(50, 8), nn.Linear(8, 16)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, ids, mask):
        mask = mask.unsqueeze(-1).to(torch.float32)
        return self.value((self.embedding(ids) * mask).sum(1) / mask.sum(1))


def test_limits_hold_and_would_not_without_the_charge(monkeypatch):
    """200 samples from 60 words whose labels are coins, drawn with replacement: the risk of every adapter is known.

    Each repeat is the whole procedure: training through the quantizer, the message, the choice of the best one.
    """
    classifier = TinyClassifier()
    classifier.module = OneLayer().eval().requires_grad_(False)
    random = np.random.default_rng(7)
    words = ["".join(map(chr, 97 + random.integers(0, 26, 4))) for _ in range(60)]
    population = Examples(classifier.prepare(words), random.integers(0, 3, 60))
    start = new_adapter({"value": (16, 8)}, 4, "freeze_a", 0, "kaiming_uniform", 2.0)
    monkeypatch.setattr(room, "_COARSENESS", {DIRECTIONS: (1.0,), ENTRIES: (1.0,)})
    monkeypatch.setattr("lorabound.certificates.quantize._MOST_EPOCHS", 3)
    kept = []

    def grids(subject, _):
        kept[:] = kept or [room._directions(subject, 16), Grid(space=entries_space(subject), along=ENTRIES)]
        return kept  # the same for every sample

    monkeypatch.setattr(room, "_grids", grids)
    broken = uncharged = 0
    repeats, n, delta = 200, 20, 0.1
    recipe = replace(RECIPE, lr=0.5)
    for _ in range(repeats):
        drawn = random.integers(0, 60, n)
        sample = Examples(classifier.prepare([words[i] for i in drawn]), population.labels[drawn])
        with prepared_subject(Path("adapter"), start, task_of(), classifier, sample, recipe) as subject:
            statement = room.certify_compressed(subject, delta)
            decoded = room.decoded_adapter(subject, statement.files[f"{statement.method}.bin"], kept)
        risk = errors_by_hand(classifier, decoded, population) / 60
        broken += statement.limit < risk
        uncharged += occam(statement.error, n, 0, delta, zero_one=True).value < risk
    assert binom.sf(broken - 1, repeats, delta) > 1e-3
    assert binom.sf(uncharged - 1, repeats, delta) < 1e-6
