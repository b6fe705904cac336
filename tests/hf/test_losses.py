"""Losses of rows from outputs of models, beside the same worked out token by token."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

from lorabound.errors import InputError
from lorabound.hf import losses as module
from lorabound.hf.fingerprints import fingerprints
from lorabound.hf.losses import NO_LABEL, kind_of, row_losses


def test_losses_of_classes():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [float("nan"), 0.0, 0.0]])
    labels = torch.tensor([0, 2, -100, 0])
    outputs = SequenceClassifierOutput(logits=logits)
    assert kind_of(labels, outputs, "Any") == "classes"
    assert row_losses(labels, outputs, "classes", "error").tolist() == [0, 1, NO_LABEL, 1]
    p = [np.exp(2) / (np.exp(2) + 2), 1 / (np.e + 2)]
    found = row_losses(labels, (None, logits), "classes", "probability")
    assert found.tolist() == pytest.approx([1 - p[0], 1 - p[1], NO_LABEL, 1], abs=1e-6)


@pytest.mark.parametrize("piece", [1, 2**20])
def test_losses_of_tokens(piece, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", piece)
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(5, 7, 4)).astype(np.float32), random.integers(4, size=(5, 7))
    labels[random.random((5, 7)) < 0.3] = -100
    labels[4] = -100
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wrong, missing = [], []
    for row, scores, chances in zip(labels, logits, p, strict=True):
        places = [t for t in range(1, 7) if row[t] != -100]
        wrong.append([float(scores[t - 1].argmax() != row[t]) for t in places])
        missing.append([1 - chances[t - 1, row[t]] for t in places])
    outputs, given = CausalLMOutput(logits=torch.from_numpy(logits)), torch.from_numpy(labels)
    assert kind_of(given, outputs, "LlamaForCausalLM") == "tokens"
    for loss, expected in (
        ("wrong_tokens", [np.mean(row) for row in wrong[:4]]),
        ("probability", [np.mean(row) for row in missing[:4]]),
        ("error", [float(any(row)) for row in wrong[:4]]),
    ):
        found = row_losses(given, outputs, "tokens", loss)
        assert found.tolist() == pytest.approx([*expected, NO_LABEL], abs=1e-6)


def test_losses_of_a_fused_output_layer():
    """What TRL returns in place of logits, for the same scores."""
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 6, 5, generator=random), torch.randint(5, (3, 6), generator=random)
    labels[:, :2] = -100
    following, mask = labels[:, 1:].clamp(min=0), labels[:, 1:] != -100
    log_p = logits[:, :-1].log_softmax(-1).gather(-1, following[..., None])[..., 0]
    fused = CausalLMOutput()
    fused.log_probs, fused.label_mask = log_p.masked_fill(~mask, 0), mask
    fused.is_top1 = (logits[:, :-1].argmax(-1) == following) & mask
    assert kind_of(labels, fused, "Wrapped") == "tokens"
    for loss in ("error", "wrong_tokens", "probability"):
        plain = row_losses(labels, CausalLMOutput(logits=logits), "tokens", loss)
        assert row_losses(labels, fused, "tokens", loss).tolist() == pytest.approx(plain.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (None, SequenceClassifierOutput(logits=torch.zeros(2, 2)), "gets no labels"),
        (torch.zeros(2), SequenceClassifierOutput(logits=torch.zeros(2, 1)), "not whole numbers"),
        (torch.zeros(2, 3).long(), CausalLMOutput(), "use_liger_kernel=False"),
        (torch.zeros(2).long(), CausalLMOutput(), "returned no logits"),
        (
            torch.zeros(2).long(),
            SequenceClassifierOutput(logits=torch.zeros(2, 1)),
            "only a model that classifies rows",
        ),
    ],
)
def test_what_has_no_bounded_loss_is_refused(labels, outputs, said):
    with pytest.raises(InputError, match=said):
        kind_of(labels, outputs, "LlamaForCausalLM")


def test_labels_of_other_rows_than_the_logits_are_refused():
    with pytest.raises(InputError, match="do not fit logits"):
        row_losses(torch.zeros(2, 4).long(), CausalLMOutput(logits=torch.zeros(1, 8, 3)), "tokens", "error")


def test_fingerprints_know_tokens_and_no_padding():
    rows = [[5, 6, 7], [5, 6, 8], [6, 5, 7], [5, 6, 7], [5, 6, 7, 7]]
    sides = []
    for left in (False, True):
        ids, mask = torch.zeros(5, 6).long(), torch.zeros(5, 6).long()
        for place, row in enumerate(rows):
            span = slice(6 - len(row), 6) if left else slice(0, len(row))
            ids[place, span], mask[place, span] = torch.tensor(row), 1
        sides.append(fingerprints({"input_ids": ids, "attention_mask": mask}, 5).tolist())
    assert sides[0] == sides[1]
    assert sides[0][0] == sides[0][3]
    assert len(set(sides[0])) == 4
    assert fingerprints({"points": torch.zeros(2, 3)}, 2).tolist() == [0, 0]
