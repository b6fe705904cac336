"""A sequence classifier whose head is trained along with the adapters: BERT, ... with a linear layer on top.

    logits(x) = W h(x) + b,   W (labels, width) and b trained whole.

Where the checkpoint knows the classes of the data by name, they start as its own, in its own order of labels; otherwise
at 0, one row per class in the sorted order of their names. So q counts both. The zero-shot row is the model as it
starts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.errors import ModelError
from lorabound.models.classifier import Answers, Inputs, Tower
from lorabound.models.encoder import refuse_padding_leaks
from lorabound.models.locate import locate_model
from lorabound.models.precision import Precision, default_device
from lorabound.models.pretrained import cast, copy_sharing_weights, explained, load_module, quiet
from lorabound.models.text import TextReader, TokenizedTexts, TokenLimit, check_longest_row
from lorabound.notation import Base


class SequenceClassifier:
    """A frozen ``AutoModelForSequenceClassification`` with a head that adapters bring along.

    Attributes:
        module: the model, in eval mode, gradients off.
        head: start of every adapter's head.
        precision: the number format of its weights and activations. Heads and losses are float32.
        limit: the longest row of tokens of an example.
        notes: sentences on what is unusual about the model and how it was read.
        sha256: hash over the files that decide the model's output.
    """

    towers: tuple[Tower, ...] = (("",),)
    answers: Answers = "classes"
    prompts: Inputs | None = None
    logit_scale: float | None = None
    limit: TokenLimit | None
    notes: tuple[str, ...]

    @classmethod
    def load(
        cls,
        model: str,
        classes: Sequence[str],
        max_length: int,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        by_name: bool = True,
        base: Base | None = None,
    ) -> SequenceClassifier:
        """Load the model and make its head one of the classes of the data.

        Args:
            base: format that the weights of its linear layers are rounded to; None leaves them as they are.
            by_name: whether classes that the checkpoint knows take the rows of its head; otherwise, and where two
                classes would share a row, the k-th row is that of the k-th class.
        Raises:
            ModelError: the model cannot be found or loaded, lacks weights below its head, does not end in one linear
                layer of its own (RoBERTa's head has two), or lets padding change what it computes.
        """
        folder, device = locate_model(model), torch.device(device) if device else default_device()
        kind = transformers.AutoModelForSequenceClassification
        name = _head_name(kind, folder)
        module = load_module(kind, folder, device, "a sequence classifier", may_lack=(f"{name}.",), base=base)
        reader = TextReader(folder, module, "a sequence classifier", max_length)
        rows = {} if module.lacks else {label.casefold(): row for row, label in module.config.id2label.items()}
        notes, module = tuple(module.notes), module.to(device)
        return cls(module, name, reader, classes, rows if by_name else {}, precision, module.sha256, notes)

    def __init__(
        self,
        module: nn.Module,
        name: str,
        reader: TextReader,
        classes: Sequence[str],
        rows: Mapping[str, int],
        precision: Precision = "float32",
        sha256: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        """Make the head of a model that is in memory, in float32, one of ``classes``, and cast it to ``precision``.

        Args:
            module: the model, on the device where it computes.
            name: name of its head in it.
            reader: its tokenizer.
            rows: class in lower case -> its row of the head, of the classes that the checkpoint knows.
        Raises:
            ModelError: it lets padding change what it computes.
        """
        self.device, self.precision, self.sha256 = next(module.parameters()).device, precision, sha256
        self._n_classes = len(classes)
        self._tokenizer, self.limit, self.notes = reader, reader.limit, tuple(notes)
        found = {rows[label.casefold()] for label in classes if label.casefold() in rows}
        known = len(found) == len(classes)
        order = [rows[label.casefold()] for label in classes] if known else list(range(len(classes)))
        self._columns = torch.tensor(order, device=self.device)
        head = _head(name, module, None if known else len(classes))
        self.head: Head | None = head
        self.module: nn.Module = module
        refuse_padding_leaks(self._raw, self.prepare)
        if self.device.type == "cpu":
            check_longest_row(self._raw, self._tokenizer)
        cast(module, precision)
        module.set_submodule(name, _float32_layer(head).to(self.device).requires_grad_(False))

    def prepare(self, examples: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, cut to ``limit.tokens``."""
        return self._tokenizer.examples(examples)

    def class_embeddings(self) -> Float[Tensor, "1 classes 0"]:
        """Nothing: classes are rows of the head."""
        return torch.zeros(1, self._n_classes, 0)

    def logits(
        self,
        inputs: TokenizedTexts,
        index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,  # noqa: ARG002 (the head holds them)
    ) -> Float[Tensor, "rows classes"]:
        """Class scores (rows, classes) of the rows ``index``; with K adapters attached, K groups of rows."""
        return self._raw(inputs, index)[:, self._columns]

    def _raw(self, inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows labels"]:
        """Scores in the head's own order."""
        ids, mask = inputs.batch(index)
        logits: Tensor = self.module(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        return logits

    def replica(self) -> SequenceClassifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        replica = copy.copy(self)
        replica.module = copy_sharing_weights(self.module)
        return replica


class _Float32Linear(nn.Linear):
    """A linear layer of float32 weights, whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def _float32_layer(head: Head) -> nn.Linear:
    made = _Float32Linear(head.weight.shape[1], len(head.bias))
    made.weight.data, made.bias.data = torch.from_numpy(head.weight.copy()), torch.from_numpy(head.bias.copy())
    return made


def _head_name(kind: Any, folder: Path) -> str:
    """The one linear layer, not a part of another module, whose outputs are the labels.

    Raises:
        ModelError: none, several, or one without a bias.
    """
    with explained(folder, "a sequence classifier"), quiet(), torch.device("meta"):
        module = kind.from_config(transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False))
    n_labels = module.config.num_labels
    ends = [
        name
        for name, part in module.named_children()
        if isinstance(part, nn.Linear) and part.out_features == n_labels and part.bias is not None
    ]
    if len(ends) != 1:
        raise ModelError(
            f"{folder} does not end in one linear layer with a bias for its {n_labels} labels, as BERT does"
        )
    return str(ends[0])


def _head(name: str, module: nn.Module, n_classes: int | None) -> Head:
    """The model's own head, or zeros for ``n_classes``; with the frozen layers that PEFT takes along by their name."""
    last = module.get_submodule(name)
    beside = {
        f"{other}.{key}": value.detach().cpu().numpy().copy()
        for other, part in module.named_modules()
        if other != name and other.endswith(name)
        for key, value in part.named_parameters()
    }
    weight, bias = (last.get_parameter(part).detach().cpu().numpy() for part in ("weight", "bias"))
    if n_classes is not None:
        weight, bias = np.zeros((n_classes, weight.shape[1]), np.float32), np.zeros(n_classes, np.float32)
    return Head(name=name, weight=weight.copy(), bias=bias.copy(), beside=beside)
