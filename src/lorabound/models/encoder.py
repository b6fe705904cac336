"""A frozen sentence encoder whose classifier is made of prompts: nothing is trained but the adapters.

    logits(x) = tau * cos( e(x), e("This is a {class} word.") ),   as CLIP does with images.

The prompt embeddings are computed once, by the pre-trained encoder, and stay fixed while adapters train.
Without an adapter this is the zero-shot classifier: rank 0 of every table.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.errors import InputError, ModelError
from lorabound.models.classifier import Inputs, Tower, cosine_logits
from lorabound.models.locate import locate_model, model_sha256
from lorabound.models.precision import Precision, default_device
from lorabound.models.pretrained import cast, copy_sharing_weights, load_module, load_part
from lorabound.models.text import TokenizedTexts


class PromptClassifier:
    """A frozen encoder with frozen class prompts.

    Attributes:
        module: the encoder; adapters attach to its linear layers. In eval mode, gradients off.
        precision: the number format of its weights and activations. Embeddings are pooled, compared and
            turned into losses in float32, and adapters keep float32 factors, whatever it is.
        prototypes: (classes, width) unit embeddings of the prompts, always computed in float32.
        sha256: hash over the files that decide the encoder's output.
    """

    towers: tuple[Tower, ...] = (("",),)
    prompts: Inputs | None = None
    head: Head | None = None

    def __init__(
        self,
        model: str,
        classes: Sequence[str],
        prompt: str,
        logit_scale: float,
        max_length: int,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Load the encoder and embed the prompts.

        Args:
            model: packaged model, local folder or hub name (see :func:`lorabound.models.locate_model`).
            prompt: a template with one ``{}`` for the class name.
            logit_scale: tau > 0.
            max_length: tokens a text is cut to, special tokens included.
            device: "cpu", "cuda", ...; None takes a GPU where there is one.
        Raises:
            ModelError: the model cannot be found or loaded.
            InputError: a prompt without exactly one ``{}``, or two classes whose prompts are the same to the model.
        """
        folder = locate_model(model)
        self.sha256 = model_sha256(folder)
        self.device = torch.device(device) if device else default_device()
        self.logit_scale = logit_scale
        self.precision = precision
        self._tokenizer = load_part(transformers.AutoTokenizer, folder, "a text encoder")
        module = load_module(transformers.AutoModel, folder, self.device, "a text encoder", may_lack=("pooler.",))
        if getattr(module, "pooler", None) is not None:
            module.pooler = None  # not on the way to the embedding: a parameter there would be counted, never trained
        self.module: nn.Module = module.to(self.device)
        self._pool = _pooling(folder)
        positions = getattr(self.module.config, "max_position_embeddings", None) or 512
        self._limit = min(int(positions), self._tokenizer.model_max_length)
        self._max_length = min(max_length, self._limit)
        prompts = tokenized_prompts(prompt, classes, self._tokenizer, self._limit)
        try:
            with torch.no_grad():
                embedded = self._embed(*prompts.batch(np.arange(len(prompts))))
            self.prototypes = torch.nn.functional.normalize(embedded, dim=-1)
            refuse_padding_leaks(lambda texts, index: self._embed(*texts.batch(index)), self.prepare)
            cast(self.module, precision)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"{folder} does not embed a text by itself ({error}): give a text encoder") from error

    def prepare(self, examples: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, cut to ``max_length``."""
        encoded = self._tokenizer(list(examples), truncation=True, max_length=self._max_length)
        n_cut = sum(bool(encoding.overflowing) for encoding in encoded.encodings or ())
        return TokenizedTexts(encoded["input_ids"], self._tokenizer.pad_token_id or 0, n_cut)

    def class_embeddings(self) -> Float[Tensor, "1 classes width"]:
        """The prototypes, one group for every adapter."""
        return self.prototypes[None]

    def logits(
        self, inputs: TokenizedTexts, index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,
    ) -> Float[Tensor, "rows classes"]:  # fmt: skip
        """Class scores (rows, classes) of the rows ``index``; with K adapters attached, K groups of rows."""
        return cosine_logits(
            self.logit_scale, self._embed(*inputs.batch(index)), self.class_embeddings() if classes is None else classes
        )

    def twin(self) -> PromptClassifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        twin = copy.copy(self)
        twin.module = copy_sharing_weights(self.module)
        return twin

    def _embed(self, ids: Int[Tensor, "rows t"], mask: Int[Tensor, "rows t"]) -> Float[Tensor, "rows width"]:
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = self.module(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        if self._pool == "cls":
            return hidden[:, 0]  # type: ignore[no-any-return]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)  # type: ignore[no-any-return]


def tokenized_prompts(
    prompt: str, classes: Sequence[str], tokenizer: transformers.PreTrainedTokenizerBase, limit: int
) -> TokenizedTexts:
    """The class prompts, cut to ``limit`` tokens.

    Raises:
        InputError: a prompt without exactly one ``{}``, or two classes that the model cannot tell apart.
    """
    if prompt.count("{}") != 1:
        raise InputError(f"the prompt needs exactly one {{}} for the class name, got {prompt!r}")
    filled = [prompt.replace("{}", name) for name in classes]
    token_ids = tokenizer(filled, truncation=True, max_length=limit)["input_ids"]
    first: dict[tuple[int, ...], str] = {}
    for name, ids in zip(classes, token_ids, strict=True):
        other = first.setdefault(tuple(ids), name)
        if other != name:
            raise InputError(f"the model reads the classes {other!r} and {name!r} as the same prompt: rename one")
    return TokenizedTexts(token_ids, pad_id=tokenizer.pad_token_id or 0)


@torch.no_grad()
def refuse_padding_leaks(
    run: Callable[[TokenizedTexts, Int[np.ndarray, " rows"]], Tensor],
    prepare: Callable[[Sequence[str]], TokenizedTexts],
) -> None:
    """Check that a padded row is computed as the same row alone: rows that share a batch must not change one another.

    Raises:
        ModelError: they do (ConvBERT, FNet, ... mix tokens without a mask).
    """
    texts = prepare(["a", "a longer text of several words"])
    together, alone = run(texts, np.array([0, 1]))[0], run(texts, np.array([0]))[0]
    if not torch.allclose(together, alone, atol=1e-3 * float(alone.abs().max()) + 1e-6):
        raise ModelError(
            "padding changes what this model computes (it mixes tokens without a mask): choose another encoder"
        )


def _pooling(folder: Path) -> str:
    """ "cls" or "mean", as sentence-transformers records it; "mean" where nothing is recorded."""
    path = folder / "1_Pooling" / "config.json"
    modules = _json(folder / "modules.json") or []
    for module in modules:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ModelError(f"{folder / 'modules.json'}: a {kind} module is not supported, only mean or cls pooling")
    record = _json(path) or {}
    recorded = record.get("pooling_mode")  # newer folders hold a name or a list, older ones a flag a mode
    if recorded:
        chosen = {recorded} if isinstance(recorded, str) else set(recorded)
    else:
        flags = (name for name, on in record.items() if name.startswith("pooling_mode_") and on is True)
        chosen = {flag.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for flag in flags}
    if chosen <= {"mean"}:
        return "mean"
    if chosen == {"cls"}:
        return "cls"
    raise ModelError(f"{path}: pooling {', '.join(sorted(chosen))} is not supported, only mean or cls")


def _json(path: Path) -> Any:
    """The content of a JSON file, None where there is none."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from None
