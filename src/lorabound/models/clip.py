"""CLIP (Radford et al. 2021): two towers, of images and of class prompts; adapters may sit in either or both.

    logits(x) = tau cos( v(x), t("a photo of a {class}.") ),   tau = exp of the checkpoint's logit scale.

Without an adapter this is CLIP's zero-shot classifier: rank 0 of every table. A tower without adapters is computed once
an image or prompt, by the engine's rule for everything below the first adapted layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.data import Picture
from lorabound.errors import ModelError
from lorabound.models.classifier import Answers, Tower, cosine_logits
from lorabound.models.kinds import CLIP
from lorabound.models.locate import locate_model
from lorabound.models.pixels import AugmentedImages, PreparedImages, resized
from lorabound.models.precision import Precision, default_device
from lorabound.models.pretrained import cast, copy_sharing_weights, load_module, load_part
from lorabound.models.text import TextReader, TokenLimit
from lorabound.notation import Base
from lorabound.stack import n_stacked


class ClipClassifier:
    """A frozen CLIP; see the top of this file.

    Attributes:
        module: transformers' ``CLIPModel`` in eval mode, gradients off; both towers return their pooled output.
        precision: the number format of its weights and activations. Similarities and losses are float32.
        logit_scale: tau.
        prompts: the tokenized class prompts.
        limit: None, images are never cut.
        notes: sentences on what is unusual about the model and how it was read.
        sha256: hash over the files that decide the model's output.
    """

    towers: tuple[Tower, ...] = CLIP.towers
    answers: Answers = "classes"
    head: Head | None = None
    limit: TokenLimit | None = None
    notes: tuple[str, ...]

    @classmethod
    def load(
        cls,
        model: str,
        classes: Sequence[str],
        prompt: str,
        logit_scale: float | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        base: Base | None = None,
    ) -> ClipClassifier:
        """Load the model and tokenize the prompts.

        Args:
            model: local folder or hub name (see :func:`lorabound.models.locate_model`).
            prompt: a template with one ``{}`` for the class name.
            logit_scale: tau > 0; None takes the checkpoint's.
            device: "cpu", "cuda", ...; None takes a GPU where there is one.
            base: format that the weights of its linear layers are rounded to; None leaves them as they are.
        Raises:
            ModelError: the model cannot be found or loaded, or is no CLIP.
            InputError: a prompt without exactly one ``{}``, or two classes whose prompts are the same to the model.
        """
        folder, device = locate_model(model), torch.device(device) if device else default_device()
        processor = load_part(transformers.AutoImageProcessor, folder, "a CLIP model", backend="pil")
        module = load_module(transformers.CLIPModel, folder, device, "a CLIP model", base=base)
        reader = TextReader(folder, module.text_model, "a CLIP model")
        notes, module = tuple(module.notes), module.to(device)
        return cls(module, reader, processor, classes, prompt, logit_scale, precision, module.sha256, notes)

    def __init__(
        self,
        module: Any,
        reader: TextReader,
        processor: Any,
        classes: Sequence[str],
        prompt: str,
        logit_scale: float | None = None,
        precision: Precision = "float32",
        sha256: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        """Tokenize the prompts for a CLIP that is in memory, in float32, and cast it to ``precision``.

        Args:
            module: transformers' ``CLIPModel``, on the device where it computes.
            reader: its tokenizer.
            processor: its image processor.
        Raises:
            ModelError: the logit scale of the checkpoint is not finite.
            InputError: as :meth:`load`.
        """
        self.device, self.precision, self.sha256 = next(module.parameters()).device, precision, sha256
        self._processor = processor
        scale = float(module.logit_scale.detach().cpu().exp()) if logit_scale is None else logit_scale
        self.logit_scale: float = scale
        if not math.isfinite(scale):
            raise ModelError(f"{reader.folder}: the logit scale of the checkpoint is not finite: give logit_scale")
        vision = module.config.vision_config
        self._size = int(vision.image_size)
        self._n_tokens = (vision.image_size // vision.patch_size) ** 2 + 1
        self.prompts = reader.class_prompts(prompt, classes)
        self.notes = (*notes, *reader.prompt_notes(self.prompts))
        module.logit_scale = None  # not an adapter's business; what follows casts parameters
        for tower in (module.vision_model, module.text_model):
            tower.register_forward_hook(_pooled)
        cast(module, precision)
        self.module: nn.Module = module

    def prepare(self, examples: Sequence[Picture]) -> PreparedImages:
        """The images as the model's own processor makes them.

        Raises:
            DataError: some cannot be decoded, or the cache of decoded images cannot be written.
        """
        processor = self._processor
        scale = float(processor.rescale_factor) if processor.do_rescale else 1.0
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        return PreparedImages(resized(examples, processor, self._size), self._n_tokens, scale, mean, std)

    def class_embeddings(self) -> Float[Tensor, "groups classes width"]:
        """t of every class prompt, for each of the K adapters now attached: (K, classes, width), norm 1."""
        ids, mask = self.prompts.batch(np.tile(np.arange(len(self.prompts)), n_stacked()))
        pooled = self.module.text_model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))  # type: ignore[operator]
        embedded = F.normalize(self.module.text_projection(pooled).float(), dim=-1)  # type: ignore[operator]
        return embedded.view(n_stacked(), len(self.prompts), -1)

    def logits(
        self,
        inputs: PreparedImages | AugmentedImages,
        index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Class scores (rows, classes) of the rows ``index``; with K adapters attached, K groups of rows."""
        if classes is None:
            classes = self.class_embeddings()
        pooled = self.module.vision_model(pixel_values=inputs.batch(index).to(self.device))  # type: ignore[operator]
        return cosine_logits(self.logit_scale, self.module.visual_projection(pooled).float(), classes)  # type: ignore[operator]

    def replica(self) -> ClipClassifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        replica = copy.copy(self)
        replica.module = copy_sharing_weights(self.module)
        return replica


def _pooled(_: nn.Module, __: tuple[Any, ...], output: Any) -> Tensor:
    pooled: Tensor = output.pooler_output
    return pooled
