"""A sequence classifier whose head is trained along with the adapters: BERT, ... with a linear layer on top.

    logits(x) = W h(x) + b,   W (classes, width) and b trained whole, starting at the checkpoint's

where the checkpoint knows the classes of the data by name, at 0 otherwise. So q counts both. The zero-shot row is the
model as it starts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.errors import ModelError
from lorabound.models.attention import NAME as SHORT_ROWS
from lorabound.models.classifier import Inputs, Tower
from lorabound.models.encoder import copy_sharing_weights, quiet
from lorabound.models.locate import locate_model, model_sha256
from lorabound.models.precision import Precision, default_device
from lorabound.models.text import TokenizedTexts


class SequenceClassifier:
    """A frozen ``AutoModelForSequenceClassification`` with a head that adapters bring along.

    Attributes:
        module: the model, in eval mode, gradients off.
        head: where every adapter's head starts.
        precision: the number format of its weights and activations. Heads and losses are float32.
        sha256: hash over the files that decide the model's output.
    """

    towers: tuple[Tower, ...] = (("",),)
    prompts: Inputs | None = None
    logit_scale: float | None = None

    def __init__(
        self,
        model: str,
        classes: Sequence[str],
        max_length: int,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Load the model and make its head one of the classes of the data.

        Raises:
            ModelError: the model cannot be found or loaded, or does not end in one linear layer.
        """
        folder = locate_model(model)
        self.sha256 = model_sha256(folder)
        self.device = torch.device(device) if device else default_device()
        self.precision = precision
        self._n_classes = len(classes)
        try:
            with quiet():
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                module: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
                    folder, use_safetensors=True, dtype=torch.float32
                )
                if self.device.type == "cpu" and module.config._attn_implementation == "sdpa":
                    module.set_attn_implementation(SHORT_ROWS)
        except Exception as error:  # transformers raises many kinds; all mean that this folder cannot be used
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"{folder} cannot be loaded by transformers as a sequence classifier: {reason}") from error
        positions = getattr(module.config, "max_position_embeddings", None) or 512
        self._max_length = min(max_length, int(positions), self._tokenizer.model_max_length)
        named = [
            (name, part)
            for name, part in module.named_modules()
            if (isinstance(part, nn.Linear) and part.out_features == module.config.num_labels and "." not in name)
            or (isinstance(part, nn.Linear) and name.endswith("classifier.out_proj"))
        ]  # fmt: skip
        if len(named) != 1:
            raise ModelError(f"{folder} does not end in one linear layer of its {module.config.num_labels} labels")
        name, last = named[0]
        head = _starting_head(name, last, module.config.id2label, classes)
        self.head: Head | None = head
        module.set_submodule(name, _linear(head))  # of the classes of the data: what the zero-shot row measures
        for weight in module.parameters():
            weight.data = weight.data.to(getattr(torch, precision))
        self.module: nn.Module = module.to(self.device).eval().requires_grad_(False)

    def prepare(self, examples: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, cut to ``max_length``."""
        encoded = self._tokenizer(list(examples), truncation=True, max_length=self._max_length)
        n_cut = sum(bool(encoding.overflowing) for encoding in encoded.encodings or ())
        return TokenizedTexts(encoded["input_ids"], self._tokenizer.pad_token_id or 0, n_cut)

    def class_embeddings(self) -> Float[Tensor, "1 classes 0"]:
        """Nothing: classes are rows of the head."""
        return torch.zeros(1, self._n_classes, 0)

    def logits(
        self, inputs: TokenizedTexts, index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,  # noqa: ARG002 (the head holds them)
    ) -> Float[Tensor, "rows classes"]:  # fmt: skip
        """Class scores (rows, classes) of the rows ``index``; with K adapters attached, K groups of rows."""
        ids, mask = inputs.batch(index)
        logits: Tensor = self.module(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        return logits.float()

    def twin(self) -> SequenceClassifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        twin = copy.copy(self)
        twin.module = copy_sharing_weights(self.module)
        return twin


def _starting_head(name: str, last: nn.Linear, labels: dict[int, str], classes: Sequence[str]) -> Head:
    """The checkpoint's rows in the order of the classes, if it knows them all; zeros otherwise."""
    rows = {label.casefold(): row for row, label in labels.items()}
    if not all(name.casefold() in rows for name in classes):
        return Head(
            name, np.zeros((len(classes), last.in_features), dtype=np.float32), np.zeros(len(classes), dtype=np.float32)
        )
    order = [rows[name.casefold()] for name in classes]
    weight = last.weight.detach()[order].numpy().copy()
    bias = np.zeros(len(classes), dtype=np.float32) if last.bias is None else last.bias.detach()[order].numpy().copy()
    return Head(name, weight, bias)


def _linear(head: Head) -> nn.Linear:
    made = nn.Linear(head.weight.shape[1], len(head.bias))
    made.weight.data, made.bias.data = torch.from_numpy(head.weight.copy()), torch.from_numpy(head.bias.copy())
    return made
