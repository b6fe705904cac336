"""A causal language model in memory: loaded whole, its layers linear, sure to read from left to right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from lorabound.errors import ModelError
from lorabound.models.locate import locate_model
from lorabound.models.model_folder import CONFIG, read_json
from lorabound.models.pretrained import explained, load_module
from lorabound.notation import Base

WHAT = "a causal language model"


def load_decoder(model: str, device: torch.device | str, base: Base | None = None) -> tuple[Any, Path, tuple[str, ...]]:
    """A decoder with its output layer, in float32 and eval mode, gradients off.

    Args:
        model: packaged model, local folder, GGUF file or hub name (see :func:`lorabound.models.locate_model`).
        device: device where it is to compute.
        base: format that the weights of its linear layers are rounded to; None leaves them as they are.
    Returns:
        The module, ``lm_head`` included; the folder of its files; sentences on what is unusual about the model.
    Raises:
        ModelError: it cannot be found or loaded, lacks weights, is no language model, or lets a token change the
            scores of the tokens before it.
    """
    folder, device = locate_model(model), torch.device(device)
    config = read_json(folder / CONFIG)
    # PyTorch's own kernel from the start: short_rows is for encoders, which see both ways.
    module = load_module(transformers.AutoModelForCausalLM, folder, device, WHAT, short_rows=False, base=base)
    refuse_sight_of_later_tokens(module, folder)
    return module.to(device), folder, (*module.notes, *_code_notes(folder, config, module))


@torch.no_grad()
def refuse_sight_of_later_tokens(module: Any, folder: Path) -> None:
    """See that the scores at a token depend on the tokens up to it alone.

    Raises:
        ModelError: they depend on later ones (BERT loaded as a decoder sees both ways), or are no scores of tokens.
    """
    with explained(folder, WHAT):
        ids = torch.tensor([[3, 5, 7, 2], [3, 5, 7, 4]]) % module.get_input_embeddings().num_embeddings
        scores = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        before, change = scores[0, :-1], (scores[0] - scores[1]).abs()
    if float(change[:-1].max()) > 1e-3 * float(before.abs().max()) + 1e-6:
        raise ModelError(
            f"{folder}: the scores of a token depend on the tokens after it, so this {type(module).__name__} is an "
            "encoder: give a decoder, as gpt2 or Qwen/Qwen2.5-0.5B"
        )


def _code_notes(folder: Path, config: dict[str, Any], module: nn.Module) -> list[str]:
    code = (config.get("auto_map") or {}).get("AutoModelForCausalLM")
    if not code:
        return []
    return [
        f"{folder / CONFIG} names code of its own ({code}), which is never run here: the model is transformers' "
        f"{type(module).__name__}."
    ]
