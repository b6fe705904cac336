"""A frozen sentence encoder whose classifier is made of prompts: nothing is trained but the adapters.

    logits(x) = tau * cos( e(x), e("This is a {class} word.") ),   as CLIP does with images.

The prompt embeddings are computed once, by the pre-trained encoder, and stay fixed while adapters train.
Without an adapter this is the zero-shot classifier: rank 0 of every table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.errors import ModelError
from lorabound.models.classifier import Answers, Inputs, Tower, cosine_logits
from lorabound.models.locate import locate_model
from lorabound.models.precision import Precision, default_device
from lorabound.models.pretrained import cast, copy_sharing_weights, load_module
from lorabound.models.sentence_folder import SentenceFolder, read_sentence_folder
from lorabound.models.text import TextReader, TokenizedTexts, TokenLimit, check_longest_row
from lorabound.notation import Base


class PromptClassifier:
    """A frozen encoder with frozen class prompts.

    Attributes:
        module: the encoder; adapters attach to its linear layers. In eval mode, gradients off.
        precision: the number format of its weights and activations. Embeddings are pooled, compared and
            turned into losses in float32, and adapters keep float32 factors, whatever it is.
        prototypes: (classes, width) unit embeddings of the prompts, always computed in float32.
        limit: the longest row of tokens of an example.
        notes: sentences on what is unusual about the model and how it was read.
        sha256: hash over the files that decide the encoder's output.
    """

    towers: tuple[Tower, ...] = (("",),)
    answers: Answers = "classes"
    prompts: Inputs | None = None
    head: Head | None = None
    limit: TokenLimit | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        model: str,
        classes: Sequence[str],
        prompt: str,
        logit_scale: float,
        max_length: int,
        device: torch.device | str | None = None,
        precision: Precision = "float32",
        base: Base | None = None,
    ) -> PromptClassifier:
        """Load the encoder and embed the prompts.

        Args:
            model: packaged model, local folder or hub name (see :func:`lorabound.models.locate_model`).
            prompt: a template with one ``{}`` for the class name.
            logit_scale: tau > 0.
            max_length: tokens a text is cut to, special tokens included.
            device: "cpu", "cuda", ...; None takes a GPU where there is one.
            base: format that the weights of its linear layers are rounded to; None leaves them as they are.
        Raises:
            ModelError: the model cannot be found or loaded.
            InputError: a prompt without exactly one ``{}``, or two classes whose prompts are the same to the model.
        """
        folder, device = locate_model(model), torch.device(device) if device else default_device()
        module = load_module(transformers.AutoModel, folder, device, "a text encoder", may_lack=("pooler.",), base=base)
        if getattr(module, "pooler", None) is not None:
            module.pooler = None  # not on the way to the embedding: a parameter there would be counted, never trained
        around = read_sentence_folder(folder)
        reader = TextReader(
            folder, module, "a text encoder", max_length, around.max_tokens, around.lower_case, around.prompt
        )
        notes = (*module.notes, *around.notes)
        module = module.to(device)
        return cls(module, reader, around, classes, prompt, logit_scale, precision, module.sha256, notes)

    def __init__(
        self,
        module: nn.Module,
        reader: TextReader,
        around: SentenceFolder,
        classes: Sequence[str],
        prompt: str,
        logit_scale: float,
        precision: Precision = "float32",
        sha256: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        """Embed the prompts with an encoder that is in memory, in float32, and cast it to ``precision``.

        Args:
            module: the encoder, on the device where it computes.
            reader: its tokenizer.
            around: steps before and after it.
        Raises:
            ModelError: it does not embed texts, or lets padding change what it computes.
            InputError: as :meth:`load`.
        """
        self.module, self.device = module, next(module.parameters()).device
        self.logit_scale, self.precision, self.sha256 = logit_scale, precision, sha256
        self.limit, self._tokenizer, self._around = reader.limit, reader, around
        if not around.pooling.include_prompt:
            pooling = replace(around.pooling, n_prompt=reader.n_prompt_tokens())
            self._around = replace(around, pooling=pooling)
        prompts = reader.class_prompts(prompt, classes)
        self.notes = (*notes, *reader.prompt_notes(prompts))
        try:
            with torch.no_grad():
                embedded = self._embed(*prompts.batch(np.arange(len(prompts))))
            self.prototypes = torch.nn.functional.normalize(embedded, dim=-1)
            run = lambda texts, index: self._embed(*texts.batch(index))  # noqa: E731
            refuse_padding_leaks(run, self.prepare)
            if self.device.type == "cpu":
                check_longest_row(run, reader)
            cast(self.module, precision)
        except ModelError:
            raise
        except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise ModelError(
                f"{reader.folder} does not embed a text by itself ({error}): give a text encoder"
            ) from error

    @property
    def embeds_by_mean(self) -> bool:
        """Whether an embedding is nothing but the mean of the token vectors."""
        return self._around.is_mean

    def prepare(self, examples: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, cut to ``limit.tokens``."""
        return self._tokenizer.examples(examples)

    def class_embeddings(self) -> Float[Tensor, "1 classes width"]:
        """The prototypes, one group for every adapter."""
        return self.prototypes[None]

    def logits(
        self,
        inputs: TokenizedTexts,
        index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Class scores (rows, classes) of the rows ``index``; with K adapters attached, K groups of rows."""
        return cosine_logits(
            self.logit_scale, self._embed(*inputs.batch(index)), self.class_embeddings() if classes is None else classes
        )

    def replica(self) -> PromptClassifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        replica = copy.copy(self)
        replica.module = copy_sharing_weights(self.module)
        return replica

    def _embed(self, ids: Int[Tensor, "rows t"], mask: Int[Tensor, "rows t"]) -> Float[Tensor, "rows width"]:
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = self.module(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return self._around.embed(hidden, mask)


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
