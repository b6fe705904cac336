"""Whether rows of a decoder may share a pass, and whether its scores are a linear layer's: tried when it is loaded.

Refused are a state that runs along the row (Mamba), positions that the model counts by itself (ALiBi), and scores that
are bent at the end (Gemma 2). A factor of all scores is no such case: it is read from the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorabound.errors import ModelError
from lorabound.models.packing import PackedRows, Row

_OTHERS = "choose another model, such as Llama 3, Qwen2.5 or SmolLM2"
# What configurations call the factor of the scores, and its power: Granite divides by it, Cohere multiplies.
_FACTORS = {"logits_scaling": -1, "logit_scale": 1}
_BENDING = "final_logit_softcapping"


def score_factor(config: Any) -> float:
    """Number by which a model multiplies the scores of its output layer."""
    for name, power in _FACTORS.items():
        value = getattr(config, name, None)
        if isinstance(value, int | float) and value > 0:
            return float(value) ** power
    return 1.0


@torch.no_grad()
def refuse_what_cannot_be_packed(module: Any, hidden: Callable[[PackedRows, Any], Tensor], folder: Path) -> None:
    """Check that packed rows are computed as the same rows alone, and that scores are those of a linear layer.

    Args:
        module: decoder with its output layer.
        hidden: what it makes of every token of a pass, times the factor of its scores.
    Raises:
        ModelError: they are not.
    """
    kind, output = type(module).__name__, module.get_output_embeddings()
    if not isinstance(output, nn.Linear):
        raise ModelError(f"{folder}: {kind} has no linear layer that scores tokens: {_OTHERS}")
    vocabulary = module.get_input_embeddings().weight.shape[0]
    rows = [[token % vocabulary for token in ids] for ids in ([5, 9, 13, 17, 21], [5, 9, 13, 33, 40, 11, 6])]
    expected = [_scores(module, ids, folder) for ids in rows]
    packed, index = PackedRows([Row(ids) for ids in rows]), np.array([[0, 1]])
    _, owner = packed.places(index)
    try:
        found = hidden(packed, index)
    except Exception:  # a model that reads the mask in its own way may raise anything
        found = None
    for number, scores in enumerate(expected):
        own = None if found is None else output(found[torch.from_numpy(np.flatnonzero(owner[0] == number))])
        if own is None or not _close(own, scores[-len(own) :]):
            raise ModelError(
                f"{folder}: rows that share a pass change one another in a {kind} (it counts positions by itself, as "
                f"with ALiBi, or carries a state along the row, as Mamba does): {_OTHERS}"
            )


def _scores(module: Any, ids: Sequence[int], folder: Path) -> Float[Tensor, "tokens vocabulary"]:
    """Scores of every token of a row that stands alone, if they are a multiple of those of the output layer."""
    row = torch.tensor([ids], device=module.device)
    scores: Tensor = module(input_ids=row, use_cache=False).logits[0]
    made = module.base_model(input_ids=row, use_cache=False).last_hidden_state[0]
    if not _close(module.get_output_embeddings()(made * score_factor(module.config)), scores):
        bend = getattr(module.config, _BENDING, None)
        raise ModelError(
            f"{folder}: the scores of a {type(module).__name__} are not those of a linear layer"
            f"{f' ({_BENDING} = {bend:g})' if bend else ''}: {_OTHERS}"
        )
    return scores


def _close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found.float(), expected.float(), atol=1e-3 * float(expected.float().abs().max()) + 1e-5)
