"""A decoder that writes: what it learns is the completion of a prompt, or which of a few labels follows a text.

    completions    -ln p(token | everything before it), averaged over the tokens of the completion
    labels         score of class y = sum over the tokens of its label of ln p(token | prompt, tokens before it)

Scores are normalized over the classes by the softmax of the losses. Nothing is trained but the adapters, and without
one this is the model as it came: rank 0 of every table. The output layer stays frozen; it is looked at only where a
token is predicted, a piece of the tokens at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lorabound.adapters import Head
from lorabound.data import Dialogue
from lorabound.models.classifier import Answers, Inputs, Tower
from lorabound.models.decoder import load_decoder
from lorabound.models.packable import refuse_what_cannot_be_packed, score_factor
from lorabound.models.packing import PackedRows
from lorabound.models.precision import Precision, default_device
from lorabound.models.pretrained import cast, copy_sharing_weights
from lorabound.models.rendering import ChatReader
from lorabound.models.text import TokenLimit
from lorabound.models.token_losses import token_losses
from lorabound.notation import Base
from lorabound.stack import n_stacked


@dataclass(frozen=True)
class CompletionLosses:
    """Losses of rows, one entry each; all in [0, 1] but the first.

    Attributes:
        log_losses: mean of -ln p over the tokens of the completion, in nats; has a gradient.
        misses: mean of 1 - p over them; has a gradient too.
        wrong: share of tokens that are not the most likely one.
        errors: whether any token is wrong, which is when greedy decoding would not write the completion.
    """

    log_losses: Float[Tensor, " rows"]
    misses: Float[Tensor, " rows"]
    wrong: Float[Tensor, " rows"]
    errors: Tensor


class Decoder:
    """A frozen decoder, its output layer apart.

    Attributes:
        module: the decoder with its output layer, in eval mode, gradients off; adapters attach below the output layer.
        precision: the number format of its weights and activations. Scores are summed in float32.
        limit: the longest row of tokens of an example.
        notes: sentences on what is unusual about the model and how it was read.
        sha256: hash over the files that decide its output.
    """

    prompts: Inputs | None = None
    head: Head | None = None
    logit_scale: float | None = None
    _n_scores = 1  # of a row

    def __init__(
        self,
        module: Any,
        reader: ChatReader,
        precision: Precision = "float32",
        sha256: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        """Take a decoder that is in memory, see that it can be packed, and cast it to ``precision``.

        Raises:
            ModelError: packed rows are not computed as rows alone, or scores are not a linear layer's.
        """
        self.module, self.device = module, next(module.parameters()).device
        self.towers: tuple[Tower, ...] = ((module.base_model_prefix,),)
        self.precision, self.sha256, self.notes = precision, sha256, tuple(notes)
        self.limit: TokenLimit | None = reader.limit
        self._reader, self._factor = reader, score_factor(module.config)
        refuse_what_cannot_be_packed(self.module, self.hidden, reader.folder)
        cast(module, precision)

    def replica(self) -> Any:
        """The same model on a copy of the module that shares its weights: for another thread."""
        replica = copy.copy(self)
        replica.module = copy_sharing_weights(self.module)
        return replica

    def class_embeddings(self) -> Float[Tensor, "1 scores 0"]:
        """Nothing: a decoder writes what it answers."""
        return torch.empty(1, self._n_scores, 0, device=self.device)

    def hidden(self, inputs: PackedRows, index: Int[np.ndarray, "k rows"]) -> Float[Tensor, "tokens width"]:
        """What the decoder makes of every token of a pass, (K T, width), times the factor of its scores."""
        pack = inputs.pack(index)
        made: Tensor = self.module.base_model(
            input_ids=pack.ids.to(self.device),
            attention_mask=pack.seen.to(self.device),
            position_ids=pack.positions.to(self.device),
            use_cache=False,
        ).last_hidden_state
        made = made.flatten(0, 1)
        return made if self._factor == 1 else made * self._factor

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones."""
        return self._reader.text_of(ids)

    def losses(self, hidden: Float[Tensor, "tokens width"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """-ln p of the token that follows each, and whether it is the most likely one."""
        return token_losses(hidden, self.module.get_output_embeddings(), targets.to(self.device))


def load_causal(
    model: str,
    classes: Sequence[str],
    template: str,
    max_length: int | None = None,
    device: torch.device | str | None = None,
    precision: Precision = "float32",
    base: Base | None = None,
) -> CompletionModel | LabelModel:
    """A language model that learns to complete, or, where there are classes, which of them follows a text.

    Args:
        model: packaged model, local folder, GGUF file or hub name (see :func:`lorabound.models.locate_model`).
        template: what asks for the class, with one ``{}`` for the text, and ``{labels}`` where all classes are named.
        max_length: tokens that an example may have; None: as many as the model takes.
        device: "cpu", "cuda", ...; None takes a GPU where there is one.
        base: format that the weights of its linear layers are rounded to; None leaves them as they are.
    Raises:
        ModelError: the model cannot be found or loaded, or its rows cannot be packed.
        InputError: a template without exactly one ``{}``, or labels of the same tokens.
    """
    device = torch.device(device) if device else default_device()
    module, folder, notes = load_decoder(model, device, base)
    reader = ChatReader(folder, module, max_length)
    if not classes:
        return CompletionModel(module, reader, precision, module.sha256, notes)
    return LabelModel(module, reader, template, classes, precision, module.sha256, notes)


class CompletionModel(Decoder):
    """A decoder that learns to complete."""

    answers: Answers = "tokens"

    def prepare(self, examples: Sequence[Dialogue]) -> PackedRows:
        """Rows of tokens; see :meth:`lorabound.models.rendering.ChatReader.dialogues`."""
        return self._reader.dialogues(examples)

    def completion_losses(self, inputs: PackedRows, index: Int[np.ndarray, "k rows"]) -> CompletionLosses:
        """Losses of the rows ``index[k]`` of adapter k, (K rows,)."""
        token, owner = inputs.places(index)
        group, place = np.nonzero(inputs.learnt[token] & (owner >= 0))
        row = torch.from_numpy(group * index.shape[1] + owner[group, place]).to(self.device)
        before = torch.from_numpy(group * token.shape[1] + place - 1).to(self.device)  # always of the same row
        targets = inputs.ids[torch.from_numpy(token[group, place])]
        losses, right = self.losses(self.hidden(inputs, index)[before], targets)
        n = torch.from_numpy(inputs.n_learnt[index].reshape(-1)).to(self.device)

        def mean(values: Tensor) -> Tensor:
            return torch.zeros(len(n), device=self.device).index_add(0, row, values.float()) / n

        misses, wrong = mean(-torch.expm1(-losses)), mean(~right)
        return CompletionLosses(mean(losses), misses, wrong, wrong > 0)

    def logits(
        self,
        inputs: PackedRows,
        index: Int[np.ndarray, " rows"],
        classes: Tensor | None = None,  # noqa: ARG002 (labels are no embeddings)
    ) -> Float[Tensor, "rows 1"]:
        """One score per row: the mean of ln p over its completion."""
        return -self.completion_losses(inputs, index.reshape(n_stacked(), -1)).log_losses[:, None]


class LabelModel(Decoder):
    """A decoder that says which of a few labels follows a text."""

    answers: Answers = "classes"

    def __init__(
        self,
        module: Any,
        reader: ChatReader,
        template: str,
        classes: Sequence[str],
        precision: Precision = "float32",
        sha256: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        """As :class:`Decoder`; a template with one ``{}`` holds the text.

        Raises:
            InputError: a template without exactly one ``{}``, or labels of the same tokens.
        """
        self._template, self._classes, self._n_scores = template, list(classes), len(classes)
        answers = reader.answers(template, classes)
        self._first = torch.tensor([answer[0] for answer in answers])
        # Every later token of a label: its class, the place of the token before it in the branches, itself.
        starts = np.cumsum([0, *(len(answer) - 1 for answer in answers)])
        later = [(y, int(starts[y]) + i, token) for y, a in enumerate(answers) for i, token in enumerate(a[1:])]
        self._later = torch.tensor(later, dtype=torch.long).reshape(-1, 3)
        super().__init__(module, reader, precision, sha256, notes)

    def prepare(self, examples: Sequence[str]) -> PackedRows:
        """Rows of tokens that end in a branch per class."""
        return self._reader.texts(examples, self._template, self._classes)

    def logits(
        self,
        inputs: PackedRows,
        index: Int[np.ndarray, " rows"],
        classes: Tensor | None = None,  # noqa: ARG002 (labels are no embeddings)
    ) -> Float[Tensor, "rows classes"]:
        """ln p of every label, up to one number per row, which the softmax over the classes takes away: the same token
        stands before all labels, so that ln sum exp over the vocabulary is left out for their first tokens."""
        rows = index.reshape(n_stacked(), -1)
        width = inputs.n_shared + int(inputs.lengths[rows].max(0).sum())
        ends = inputs.begins(rows) + inputs.lengths[rows] + np.arange(len(rows))[:, None] * width
        last = torch.from_numpy(ends.reshape(-1) - len(self._later) - 1).to(self.device)
        hidden = self.hidden(inputs, rows)
        output = self.module.get_output_embeddings()
        first, bias = self._first.to(self.device), getattr(output, "bias", None)
        scores = F.linear(hidden[last], output.weight[first], None if bias is None else bias[first]).float()
        if not len(self._later):
            return scores
        of, place, token = self._later.to(self.device).unbind(1)
        losses, _ = self.losses(hidden[(last[:, None] + 1 + place).reshape(-1)], token.repeat(len(last)))
        return scores.index_add(1, of, -losses.view(len(last), -1))
