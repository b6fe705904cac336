"""Which weights get an adapter: shapes written down, or read from a model's configuration without its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lorabound.errors import InputError, ModelError

Shapes = dict[str, tuple[int, int]]
"""Layer name -> (d_out, d_in)."""


def parse_shapes(text: str) -> Shapes:
    """ "384x384,1536x384" -> two layers, each d_out x d_in.

    Raises:
        InputError: anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    shapes: Shapes = {}
    for index, part in enumerate(parts, start=1):
        found = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", part)
        if found is None or min(map(int, found.groups())) < 1:
            raise InputError(f"shapes: {part!r} is no layer, write d_out x d_in of each as in 384x384,1536x384")
        shapes[f"layer {index}"] = (int(found[1]), int(found[2]))
    if not shapes:
        raise InputError("shapes: name one layer at least, as in 384x384,1536x384")
    return shapes


def model_shapes(model: str, targets: Sequence[str], layers: Sequence[int] | None = None) -> Shapes:
    """The shapes of the linear layers that ``targets`` and ``layers`` select; no weight is loaded.

    Raises:
        ModelError: no such model, layer or target.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from lorabound.adapters import select_linears
    from lorabound.models import locate_model

    folder = locate_model(model)
    try:
        with torch.device("meta"):
            module = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    except Exception as error:  # transformers raises many kinds; all mean that this configuration cannot be used
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{folder} cannot be read by transformers: {reason}") from error
    if getattr(module, "pooler", None) is not None:
        module.pooler = None  # as in a sweep: it is not on the way to the embedding
    return select_linears(module, targets, layers)
