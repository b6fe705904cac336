"""Causal language models: texts, and class names that the model would go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorabound.adapters.targets import is_decoder
from lorabound.models.kinds.encoder import hidden_width
from lorabound.models.kinds.kind import Kind

if TYPE_CHECKING:
    from lorabound.models.classifier import LoadedClassifier

# Kinds of models that see both ways unless their configuration says that they are decoders.
_ENCODERS = ("bert", "roberta")  # endings: camembert, xlm-roberta, ...
_OTHER_ENCODERS = ("electra", "xlm", "xlnet", "roformer", "ernie", "big_bird", "data2vec-text", "mpnet")


# Kinds of models with one layer for query, key and value -> its name.
_FUSED = {
    "gpt2": "c_attn",
    "openai-gpt": "c_attn",
    "gpt_bigcode": "c_attn",
    "gpt_neox": "query_key_value",
    "bloom": "query_key_value",
    "falcon": "query_key_value",
    "phi3": "qkv_proj",
    "codegen": "qkv_proj",
    "mpt": "Wqkv",
    "dbrx": "Wqkv",
}


def _load(
    model: str,
    classes: Sequence[str],
    *,
    prompt: str,
    max_length: int,
    device: Any,
    precision: Any,
    base: Any = None,
    **_: Any,
) -> LoadedClassifier:
    from lorabound.models.causal import load_causal  # imports torch

    return load_causal(model, classes, prompt, max_length, device, precision, base)


def _knows(configuration: Mapping[str, Any]) -> bool:
    model_type = str(configuration.get("model_type"))
    sees_both_ways = model_type.endswith(_ENCODERS) or model_type in _OTHER_ENCODERS
    named = any(is_decoder(str(name)) for name in configuration.get("architectures") or ())
    return named and (bool(configuration.get("is_decoder")) or not sees_both_ways)


def _targets_of(configuration: Mapping[str, Any]) -> tuple[str, ...] | None:
    fused = _FUSED.get(str(configuration.get("model_type")))
    return (fused,) if fused else None


CAUSAL = Kind(
    name="a causal language model",
    reads="texts",
    knows=_knows,
    load=_load,
    prompt="Choose the label that fits the text, out of: {labels}.\nText: {}\nLabel:",
    targets=("q_proj", "k_proj", "v_proj"),
    targets_of=_targets_of,
    target_names={
        "q": ("q_proj",),
        "k": ("k_proj",),
        "v": ("v_proj",),
        "query": ("q_proj",),
        "key": ("k_proj",),
        "value": ("v_proj",),
    },
    yields_to_sentences=True,
    writes=True,
    settings={
        "task": "says what a language model learns",
        "template": "asks a language model for a label",
        "form": "says how data hold dialogues, which language models read",
        "columns": "names columns of dialogues, which language models read",
        "metric": "says what counts as an error of a completion",
        "drop_long": "leaves out examples that a language model cannot read whole",
    },
    max_length=1024,
    width=hidden_width,
)
