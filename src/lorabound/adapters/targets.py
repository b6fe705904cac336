"""Which linear layers an adapter goes on: PEFT-style target names, matched by whole words; layer indices, positions.

No torch: a model is its modules by name, whether it is loaded or only the headers of its weights were read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lorabound.adapters.adapter import Shapes
from lorabound.errors import ModelError

# Target that stands for every linear layer but those of HEADS, as PEFT has it.
ALL_LINEAR = "all-linear"
# Kinds of models (model_type) whose layers are transformers' Conv1D, which keeps the transpose of a linear layer.
CONV1D_KINDS = ("gpt2", "openai-gpt", "imagegpt")
# Output layers of language models: the scores of all tokens, often the very table that embeds them.
OUTPUT_LAYERS = ("lm_head", "embed_out")
# Parts of a model that turn hidden states into its answers, by the names that transformers gives them.
HEADS = (
    *OUTPUT_LAYERS,
    "pooler",
    "cls",
    "score",
    "classifier",
    "pre_classifier",
    "qa_outputs",
    "vocab_projector",
    "vocab_transform",
)
_LAYER_INDEX = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Modules:
    """The modules of a model, as far as adapters are concerned.

    Attributes:
        model: name of the model's class.
        linears: module name -> (d_out, d_in) of each linear layer, in the model's own order.
        others: module name -> class name of each other module that holds no modules.
    """

    model: str
    linears: Shapes
    others: Mapping[str, str]


def select_layers(
    modules: Modules, targets: Sequence[str], layers: Sequence[int] | str | None = None, within: Sequence[str] = ("",)
) -> Shapes:
    """The linear layers that adapters go on, module name -> (d_out, d_in), in the model's own order.

    Args:
        modules: modules to choose from.
        targets: names of layers. A target matches a module whose dotted name equals it or ends in ``"." + target``
            (PEFT's rule for a list of ``target_modules``), never a part of a word; ``all-linear`` alone matches all
            but heads.
        layers: layer indices, which a module's first all-digit name part must be one of (PEFT's
            ``layers_to_transform``); or a position among the layers of the module's tower (see :func:`at_position`);
            None for all.
        within: names of the parts of the model to look through.
    Raises:
        ModelError: a target, an index or a position that matches nothing; the message lists what could match.
    """
    linears = {
        name: shape
        for name, shape in modules.linears.items()
        if any(not part or name == part or name.startswith(f"{part}.") for part in within)
    }
    selected: Shapes = {}
    for target in targets:
        refuse_output_layer(target)
        if not any(matches(name, target) for name in linears):
            raise ModelError(_no_such_layer(modules, target, list(linears)))
    selected |= {name: shape for name, shape in linears.items() if any(matches(name, target) for target in targets)}
    if layers is None:
        return selected
    if isinstance(layers, str):
        depths = _depths(linears)
        chosen = {
            name: shape
            for name, shape in selected.items()
            if (index := layer_index(name)) is not None and index in at_position(layers, depths[_tower(name)])
        }
    else:
        present = sorted({index for name in selected if (index := layer_index(name)) is not None})
        missing = sorted(set(layers) - set(present))
        if missing:
            raise ModelError(
                f"no layer {', '.join(map(str, missing))} holds {', '.join(targets)}: "
                + (f"the model has layers {present[0]} to {present[-1]}" if present else "they carry no index")
            )
        chosen = {name: shape for name, shape in selected.items() if layer_index(name) in set(layers)}
    where = layers if isinstance(layers, str) else ", ".join(map(str, sorted(layers)))
    for target in targets:
        if not any(matches(name, target) for name in chosen):
            raise ModelError(f"no {target!r} in layers {where}: name other layers or targets")
    return chosen


def _no_such_layer(modules: Modules, target: str, linears: Sequence[str]) -> str:
    """Why no adapter can go on ``target``: it is a layer of another kind, there are no linear layers, or a typo."""
    others = {name: kind for name, kind in modules.others.items() if matches(name, target)}
    endings = sorted({name.rsplit(".", 1)[-1] for name in linears} - set(OUTPUT_LAYERS))
    kind = next(iter(others.values()), None)
    if not linears:
        return (
            f"this {modules.model} has no linear layers (torch.nn.Linear), and adapters go on those alone: "
            "give another model, of BERT's kind, a decoder or a CLIP"
        )
    if kind:
        where = next(iter(others))
        return f"{where} is a {kind}, and adapters go on linear layers alone: choose among {', '.join(endings)}"
    return f"no linear layer of the model is called {target!r}: choose among {', '.join(endings)}"


def refuse_output_layer(target: str) -> None:
    """See that a target is not the output layer of a language model.

    Raises:
        ModelError: it is.
    """
    if target.rsplit(".", 1)[-1] in OUTPUT_LAYERS:
        raise ModelError(
            f"{target} is the output layer of a language model, and often the table that embeds its tokens as well: it "
            f"gets no adapter; leave it out of targets ({ALL_LINEAR} takes every other linear layer)"
        )


def at_position(position: str, depth: int) -> range:
    """Layer indices at a position of a tower of ``depth`` layers, by the names of CLIP-LoRA (Zanella & Ben Ayed 2024).

    ``top``, ``top2``, ``top3``, ...: the last ones; ``bottom``, ``mid``, ``up``: thirds, lowest first (of 12 layers
    0-3, 4-7, 8-11); ``half-bottom``, ``half-up``: halves.

    Raises:
        ModelError: no such position, or more layers than there are.
    """
    third, half = depth // 3, depth // 2
    parts = {
        "bottom": range(third),
        "mid": range(third, depth - third),
        "up": range(depth - third, depth),
        "half-bottom": range(half),
        "half-up": range(half, depth),
    }
    if position in parts:
        return parts[position]
    found = re.fullmatch(r"top(\d*)", position)
    if found is None:
        raise ModelError(
            f"no position {position!r}: give layer indices, all, top3 (or another number), {', '.join(parts)}"
        )
    count = int(found[1] or 1)
    if not 1 <= count <= depth:
        raise ModelError(f"{position}: the model has {depth} layers")
    return range(depth - count, depth)


def _tower(name: str) -> str:
    """What stands before the layer index: ``vision_model.encoder.layers``."""
    return name[: found.start()] if (found := re.search(r"(^|\.)\d+(\.|$)", name)) else ""


def _depths(names: Iterable[str]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in names:
        if (index := layer_index(name)) is not None:
            depths[_tower(name)] = max(depths.get(_tower(name), 0), index + 1)
    return depths


def layer_index(name: str) -> int | None:
    """The first all-digit part of a dotted module name, or None: ``encoder.layer.4.output`` -> 4."""
    found = _LAYER_INDEX.search(f".{name}.")
    return int(found.group(1)) if found else None


def matches(name: str, target: str) -> bool:
    """Whether a target means this module: PEFT's rule, by whole words; ``all-linear`` means all but heads."""
    if target == ALL_LINEAR:
        return not any(part in HEADS for part in name.split("."))
    return name == target or name.endswith("." + target)


def is_decoder(architecture: str) -> bool:
    """Whether a class of transformers is a causal language model with its output layer, by its name."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel"))
