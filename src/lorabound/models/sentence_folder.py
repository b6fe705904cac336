"""What sentence-transformers does around an encoder, as its folder records it: followed exactly, or refused.

    modules.json                       the steps in order, and where the settings of each lie
    sentence_bert_config.json          lower case, largest number of tokens
    config_sentence_transformers.json  a prompt that goes before every text
    1_Pooling/config.json              how token vectors become one vector

Embeddings are those of ``SentenceTransformer.encode`` of the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lorabound.errors import ModelError
from lorabound.models.model_folder import module_kind, read_json, sentence_modules
from lorabound.models.pooling import MODES, Pooling

# The file of the Transformer module; older versions named it after the model's kind.
_TRANSFORMER = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Settings of the Transformer module that are followed, or change nothing for texts; value None: any.
_HARMLESS: dict[str, tuple[Any, ...] | None] = {
    "max_seq_length": None,
    "do_lower_case": None,
    "unpad_inputs": None,
    "query_length": None,  # of searches, which encode() does not make
    "document_length": None,
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
}
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": torch.nn.Identity(),
    "torch.nn.modules.activation.Tanh": torch.nn.Tanh(),
    "torch.nn.modules.activation.ReLU": torch.nn.ReLU(),
    "torch.nn.modules.activation.GELU": torch.nn.GELU(),
    "torch.nn.modules.activation.Sigmoid": torch.nn.Sigmoid(),
    "torch.nn.modules.activation.SiLU": torch.nn.SiLU(),
}


@dataclass(frozen=True)
class Dense:
    """A frozen layer after pooling: ``activation(W x + b)``."""

    weight: Float[Tensor, "d_out d_in"]
    bias: Float[Tensor, " d_out"] | None
    activation: torch.nn.Module

    def __call__(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
        bias = None if self.bias is None else self.bias.to(x.device)
        made: Tensor = self.activation(torch.nn.functional.linear(x, self.weight.to(x.device), bias))
        return made


def _normalized(x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    return torch.nn.functional.normalize(x, dim=-1)


@dataclass(frozen=True)
class SentenceFolder:
    """What goes before and after the encoder.

    Attributes:
        pooling: rule by which token vectors become one vector.
        after: steps on that vector, in their order.
        prompt: text that goes before every text and class prompt, "" for none.
        lower_case: whether texts are put in lower case before the tokenizer.
        max_tokens: largest number of tokens that the folder allows, None where it sets none.
        notes: sentences on what is done that the command did not ask for.
    """

    pooling: Pooling = field(default_factory=Pooling)
    after: tuple[Any, ...] = ()
    prompt: str = ""
    lower_case: bool = False
    max_tokens: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_mean(self) -> bool:
        """Whether an embedding is the mean of the token vectors of the text alone, whatever its length becomes."""
        as_is = not self.prompt and not self.lower_case
        return as_is and self.pooling.modes == ("mean",) and all(step is _normalized for step in self.after)

    def embed(
        self, hidden: Float[Tensor, "rows t width"], mask: Int[Tensor, "rows t"]
    ) -> Float[Tensor, "rows embedding"]:
        """One vector per row of token vectors."""
        pooled = self.pooling(hidden, mask)
        for step in self.after:
            pooled = step(pooled)
        return pooled


def read_sentence_folder(folder: Path) -> SentenceFolder:
    """The settings of a folder; plain transformers folders have none: the mean of all token vectors.

    Raises:
        ModelError: a module or a setting that changes the embedding and is not followed here.
    """
    steps = sentence_modules(folder)
    if not steps:
        return _without_modules(folder)
    kinds = [module_kind(step) for step in steps]
    if kinds[0] != "Transformer" or kinds[1:2] != ["Pooling"] or steps[0].get("path"):
        raise ModelError(
            f"{folder / 'modules.json'}: the modules {', '.join(kinds)} are not supported, only a Transformer in the "
            "folder itself, then Pooling, then Dense and Normalize"
        )
    after: list[Any] = []
    for step, kind in zip(steps[2:], kinds[2:], strict=True):
        place = folder / str(step.get("path", ""))
        if kind == "Dense":
            after.append(_dense(place))
        elif kind == "Normalize" and not _names_other_vectors(place):
            after.append(_normalized)
        elif kind != "Dropout":  # which does nothing outside training
            raise ModelError(
                f"{folder / 'modules.json'}: a {kind} module is not supported, only Transformer, Pooling, Dense and "
                "Normalize"
            )
    lower_case, max_tokens = _transformer_settings(folder)
    prompt, notes = _default_prompt(folder)
    pooling = _pooling(folder / str(steps[1].get("path", "")) / "config.json")
    return SentenceFolder(pooling, tuple(after), prompt, lower_case, max_tokens, tuple(notes))


def _without_modules(folder: Path) -> SentenceFolder:
    """sentence-transformers takes the mean for such a folder; one whose pooling says otherwise has lost its list."""
    for path in sorted(folder.glob("*_Pooling/config.json")):
        if _pooling(path).modes != ("mean",):
            raise ModelError(
                f"{folder} holds {path.parent.name} without the modules.json that says when it is used: copy it too"
            )
    return SentenceFolder()


def _transformer_settings(folder: Path) -> tuple[bool, int | None]:
    path = next((folder / name for name in _TRANSFORMER if (folder / name).is_file()), None)
    if path is None:
        return False, None
    record = read_json(path)
    for name, value in record.items():
        allowed = _HARMLESS.get(name, ({}, None, [], False))
        text = value.get("text") if name == "modality_config" and isinstance(value, dict) else None
        if name == "modality_config" and text == _TEXT:
            continue
        if allowed is not None and value not in allowed:
            raise ModelError(f"{path}: {name} = {value!r} changes the embedding and is not supported")
    max_tokens = record.get("max_seq_length")
    if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
        raise ModelError(f"{path}: max_seq_length = {max_tokens!r} is no number of tokens")
    return bool(record.get("do_lower_case")), max_tokens


def _default_prompt(folder: Path) -> tuple[str, list[str]]:
    path = folder / "config_sentence_transformers.json"
    record = read_json(path) if path.is_file() else {}
    name = record.get("default_prompt_name")
    if name is None:
        return "", []
    prompts = record.get("prompts") or {}
    # query and document exist in every model, empty where the file does not say more.
    prompt = prompts.get(name, "" if name in ("query", "document") else None) if isinstance(prompts, dict) else None
    if not isinstance(prompt, str):
        raise ModelError(f"{path}: default_prompt_name is {name!r}, and prompts holds no text of that name")
    if not prompt:
        return "", []
    return prompt, [f"Every text and class prompt begins with {prompt!r}: {path.name} of the model asks for it."]


def _pooling(path: Path) -> Pooling:
    record = read_json(path) if path.is_file() else {}
    recorded = record.get("pooling_mode")  # newer folders hold a name or a list, older ones a flag for each mode
    if recorded:
        chosen = (recorded,) if isinstance(recorded, str) else tuple(map(str, recorded))
    else:
        chosen = tuple(mode for mode, flag in MODES.items() if record.get(flag) is True)
        unknown = sorted(
            {key for key, on in record.items() if key.startswith("pooling_mode_") and on is True} - set(MODES.values())
        )
        chosen = (*chosen, *unknown) or ("mean",)
    wrong = [mode for mode in chosen if mode not in MODES]
    if wrong:
        raise ModelError(f"{path}: pooling {', '.join(wrong)} is not supported, only {', '.join(MODES)}")
    return Pooling(chosen, bool(record.get("include_prompt", True)))


def _names_other_vectors(place: Path) -> bool:
    record = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    names = record.get("module_input_name"), record.get("module_output_name")
    return any(name not in (None, "sentence_embedding") for name in names)


def _dense(place: Path) -> Dense:
    record = read_json(place / "config.json")
    activation = _ACTIVATIONS.get(str(record.get("activation_function", "torch.nn.modules.activation.Tanh")))
    if activation is None or record.get("use_residual") or _names_other_vectors(place):
        raise ModelError(
            f"{place / 'config.json'}: this Dense module is not supported (activation "
            f"{record.get('activation_function')}, use_residual {record.get('use_residual', False)})"
        )
    path = place / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"{place} holds no model.safetensors: convert the weights of this module to safetensors")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): the file is damaged or unfinished") from None
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or (bias is None) != (not record.get("bias", True)):
        raise ModelError(f"{path} lacks linear.weight or linear.bias of its module")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ModelError(f"{path} holds values that are not finite numbers")
    return Dense(weight.float(), None if bias is None else bias.float(), activation)
