"""Losses in [0, 1] of each row of a batch, from the outputs that a training step has computed anyway.

    classes   error: [argmax != label]            probability: 1 - p(label)
    tokens    wrong_tokens: mean [argmax != token]  probability: mean (1 - p(token))  error: [any token wrong]

Means are over the tokens that have a label, each predicted from the right tokens before it. A number that is not finite
counts as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from lorabound.certificates.training import LossName
from lorabound.errors import InputError

Kind = Literal["classes", "tokens"]

# Loss of a row that has no label: it is told apart from every loss in [0, 1].
NO_LABEL = -1.0
_IGNORED = -100
# Bytes of scores that are turned into float32 at once.
_PIECE = 16 * 2**20

_LOGITS_AT = (
    "the model returned no logits: set use_liger_kernel=False, or "
    "liger_kernel_config={'fused_linear_cross_entropy': False} to keep Liger's other kernels"
)


def kind_of(labels: Tensor | None, outputs: Any, model: str) -> Kind:
    """Whether a model chooses among classes or continues texts.

    Args:
        labels: labels of the batch.
        outputs: outputs of the model.
        model: name of the class of the model, beneath its adapter.
    Raises:
        InputError: no labels, no logits, or a task whose loss is none of those above.
    """
    if not isinstance(labels, Tensor):
        raise InputError(
            "the model gets no labels: set label_smoothing_factor=0 and leave compute_loss_func out, which keep the "
            "labels from it, and see that the data have a column label or labels"
        )
    if labels.is_floating_point():
        raise InputError("labels that are not whole numbers (regression, several labels a row) have no error to limit")
    logits = _logits(outputs)
    if labels.ndim == 2 and (_fused(outputs) is not None or model.endswith(("ForCausalLM", "LMHeadModel"))):
        if _fused(outputs) is None and logits is None:
            raise InputError(_LOGITS_AT)
        return "tokens"
    if logits is None:
        raise InputError(_LOGITS_AT)
    if labels.ndim == 1 and logits.ndim == 2 and logits.shape[1] > 1:
        return "classes"
    raise InputError(
        f"{model} has labels of shape {tuple(labels.shape)}: only a model that classifies rows "
        "(..ForSequenceClassification) or continues texts (..ForCausalLM) can be certified"
    )


def row_losses(labels: Tensor, outputs: Any, kind: Kind, loss: LossName) -> Tensor:
    """(rows,) float32 losses of a batch; :data:`NO_LABEL` for a row without a label.

    Args:
        labels: (rows,) classes or (rows, length) tokens; -100 stands for none.
        outputs: what the model returned for them.
        kind: what :func:`kind_of` says.
        loss: name of the loss.
    Raises:
        InputError: the outputs do not fit the labels.
    """
    with torch.no_grad():
        return _of_classes(labels, outputs, loss) if kind == "classes" else _of_tokens(labels, outputs, loss)


def _of_classes(labels: Tensor, outputs: Any, loss: LossName) -> Tensor:
    logits = _logits(outputs)
    if logits is None or logits.shape[:1] != labels.shape:
        raise InputError(_misfit(labels, logits))
    labels, scores = labels.to(logits.device), logits.detach().float()
    losses = _wrong(scores, labels) if loss == "error" else _improbable(scores, labels.clamp(min=0))
    return losses.masked_fill(labels == _IGNORED, NO_LABEL)


def _of_tokens(labels: Tensor, outputs: Any, loss: LossName) -> Tensor:
    fused = _fused(outputs)
    if fused is not None:
        log_p, right, mask = fused
        per_token = 1 - log_p.float().exp() if loss == "probability" else (~right.bool()).float()
        per_token = per_token.nan_to_num(nan=1.0).masked_fill(~mask, 0.0)
        sums, counts = per_token.sum(1), mask.sum(1)
    else:
        sums, counts = _sums(labels, outputs, loss)
    losses = (sums / counts.clamp(min=1)).clamp(0.0, 1.0)
    if loss == "error":
        losses = (sums > 0).float()
    return losses.masked_fill(counts == 0, NO_LABEL)


def _sums(labels: Tensor, outputs: Any, loss: LossName) -> tuple[Tensor, Tensor]:
    """(rows,) sums of the losses of the tokens of each row, and (rows,) numbers of those tokens."""
    logits = _logits(outputs)
    if logits is None or logits.shape[:2] != labels.shape:
        raise InputError(_misfit(labels, logits))
    rows, length = labels.shape
    following = torch.full_like(labels, _IGNORED)
    following[:, :-1] = labels[:, 1:]
    following = following.to(logits.device).flatten()
    places = (following != _IGNORED).nonzero()[:, 0]
    scores = logits.detach().reshape(rows * length, -1)
    sums = torch.zeros(rows, dtype=torch.float32, device=logits.device)
    step = max(1, _PIECE // (4 * scores.shape[1]))
    for piece in torch.split(places, step):
        of_piece, targets = scores[piece], following[piece]
        losses = _improbable(of_piece.float(), targets) if loss == "probability" else _wrong(of_piece, targets)
        sums.index_add_(0, piece // length, losses)
    return sums, torch.bincount(places // length, minlength=rows)


def _wrong(scores: Tensor, targets: Tensor) -> Tensor:
    largest, chosen = scores.max(-1)
    return ((chosen != targets) | ~largest.isfinite()).float()


def _improbable(scores: Tensor, targets: Tensor) -> Tensor:
    p = (scores.gather(-1, targets[:, None])[:, 0] - scores.logsumexp(-1)).exp()
    return (1 - p).nan_to_num(nan=1.0).clamp(0.0, 1.0)


def _logits(outputs: Any) -> Tensor | None:
    """The scores among the outputs: a field of that name, or the entry after the loss."""
    if isinstance(outputs, Mapping):
        found = outputs.get("logits")
    elif isinstance(outputs, tuple | list):
        found = outputs[1] if len(outputs) > 1 else None
    else:
        found = getattr(outputs, "logits", None)
    return found if isinstance(found, Tensor) and found.numel() else None


def _fused(outputs: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """What TRL's fused output layer tells of each token in place of logits: log p, whether it is the first, whether it
    has a label."""
    found = [getattr(outputs, name, None) for name in ("log_probs", "is_top1", "label_mask")]
    return (found[0], found[1], found[2]) if all(isinstance(one, Tensor) for one in found) else None  # type: ignore[return-value]


def _misfit(labels: Tensor, logits: Tensor | None) -> str:
    shape = None if logits is None else tuple(logits.shape)
    return f"labels of shape {tuple(labels.shape)} do not fit logits of shape {shape}: which row is which is not known"
