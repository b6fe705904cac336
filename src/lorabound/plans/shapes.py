"""Which weights get an adapter: shapes written down, or read from the headers of a model's files of weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lorabound.errors import InputError
from lorabound.sweeps import SweepConfig

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


def check_shapes(shapes: Mapping[str, tuple[int, int]]) -> Shapes:
    """Shapes given from Python, with each layer a pair of whole numbers.

    Raises:
        InputError: no layer, or one that is no (d_out, d_in).
    """
    for name, shape in shapes.items():
        pair = list(shape) if isinstance(shape, list | tuple) else []
        if len(pair) != 2 or any(isinstance(d, bool) or not isinstance(d, int) or d < 1 for d in pair):
            raise InputError(f"shapes: {name!r} is {shape!r}, give (d_out, d_in) as in (384, 384)")
    if not shapes:
        raise InputError('shapes: name one layer at least, as in {"layer 1": (384, 384)}')
    return {name: (int(d_out), int(d_in)) for name, (d_out, d_in) in shapes.items()}


def model_shapes(config: SweepConfig) -> Shapes:
    """The shapes of the layers that a sweep of this configuration adapts; no weight is loaded.

    They are read from the headers of the files of weights; in a local folder of ``config.json`` alone, from that.

    Raises:
        ModelError: no such model, layer or target.
    """
    from lorabound.models import (
        adapted_layers,
        config_outline,
        configuration_alone,
        find_kind,
        locate_model,
        weight_outline,
    )
    from lorabound.models.model_folder import CONFIG, read_json

    folder = configuration_alone(config.model)
    if folder:
        kind, outline = find_kind(config.model, config.head, read_json(folder / CONFIG)), config_outline(folder)
    else:
        kind, outline = find_kind(config.model, config.head), weight_outline(locate_model(config.model))
    return adapted_layers(outline.modules, kind, config.targets, config.layers, config.encoder)
