"""What the engine asks of a model: an encoder of examples, and embeddings of classes to compare them with.

    logits(x) = tau cos( e(x), c_y )     for classes y, as CLIP does with images and class prompts.

A sequence classifier has a head in place of class embeddings and gives empty ones.

An encoder of examples and one of prompts (CLIP has both) are *towers*: they share no module, and neither sees what the
other computes. Adapters may sit in either. A stack of K adapters has K groups of examples, and K groups of class
embeddings where prompts pass an adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters import Head
from lorabound.models.kinds import Tower as Tower
from lorabound.models.precision import Precision
from lorabound.models.text import TokenLimit

Answers = Literal["classes", "tokens"]
"""What a model says of a row: scores of classes, or the tokens of its completion, one after the other."""


@runtime_checkable
class Inputs(Protocol):
    """Examples as a model takes them.

    Attributes:
        lengths: (n,) tokens of each; rows of one length share a batch without padding.
        n_cut: number of examples that were longer than the limit and lost their end.
    """

    lengths: Int[np.ndarray, " n"]
    n_cut: int

    def __len__(self) -> int: ...


@runtime_checkable
class Classifier(Protocol):
    """Adapters attach to ``module``; examples go in as rows of ``inputs``.

    Attributes:
        towers: towers of the examples, and of the prompts where a model encodes them itself.
        prompts: the rows of the second tower, None where class embeddings never change.
    """

    @property
    def module(self) -> nn.Module:
        """The frozen model that adapters attach to."""
        ...

    @property
    def towers(self) -> tuple[Tower, ...]:
        """Towers of the examples, and of the prompts where the model encodes them itself."""
        ...

    @property
    def answers(self) -> Answers:
        """What the model says of a row; one that writes tokens has ``completion_losses`` (see
        :class:`lorabound.models.CompletionModel`)."""
        ...

    @property
    def prompts(self) -> Inputs | None:
        """Rows of the second tower; None where class embeddings never change."""
        ...

    def class_embeddings(self) -> Float[Tensor, "groups classes width"]:
        """Unit embeddings of the classes, one group or one for each of K adapters; of width 0 where a head has them."""
        ...

    def logits(
        self,
        inputs: Any,
        index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Class scores of the rows ``index`` of what :meth:`LoadedClassifier.prepare` made; ``classes`` are computed
        when they are not given."""
        ...

    def replica(self) -> Classifier:
        """The same classifier on a copy of the module that shares its weights: for another thread."""
        ...


class LoadedClassifier(Classifier, Protocol):
    """A classifier with everything a sweep needs to know of it.

    Attributes:
        device, precision: device and number format in which the frozen model computes.
        logit_scale: tau, None where classes are rows of a head.
        head: start of a trained head; None where classes are prompts.
        limit: the longest row of tokens of an example; None where examples are never cut.
        notes: sentences on what is unusual about the model and how it was read.
        sha256: hash over the files that decide the model's output.
    """

    device: torch.device
    precision: Precision
    head: Head | None
    limit: TokenLimit | None
    notes: tuple[str, ...]
    sha256: str

    @property
    def logit_scale(self) -> float | None:
        """tau, the factor of the cosine similarities; None where classes are rows of a head."""
        ...

    def prepare(self, examples: Sequence[Any]) -> Inputs:
        """Examples, texts or images, as the model takes them."""
        ...


def cosine_logits(
    scale: float, embedded: Float[Tensor, "rows width"], classes: Float[Tensor, "groups classes width"]
) -> Float[Tensor, "rows classes"]:
    """scale x cosine of every row with every class of its group; ``classes`` have norm 1."""
    rows = scale * F.normalize(embedded, dim=-1)
    if len(classes) == 1:
        return rows @ classes[0].T
    return (rows.view(len(classes), -1, rows.shape[-1]) @ classes.mT).flatten(0, 1)
