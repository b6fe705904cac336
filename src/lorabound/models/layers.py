"""The linear layers of a model, and which of them get adapters; read from the headers of its files of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lorabound.adapters.targets import CONV1D_KINDS, HEADS, Modules, is_decoder, select_layers
from lorabound.errors import ModelError
from lorabound.models.kinds import Kind
from lorabound.models.model_folder import CONFIG, read_json, weight_files

# Parts of a checkpoint that hold a matrix and are no linear layer of the encoder: tables that are looked up; heads.
_TOKEN_TABLES = (
    "word_embeddings.weight",
    "token_embedding.weight",
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
)
_BUFFERS = (".attn.bias", ".attention.bias", ".masked_bias", ".inv_freq")  # masks and angles of old checkpoints
_NO_LAYER = ("embed", "wte", "wpe", "position", "relative_attention_bias", "shared")


def adapted_layers(
    modules: Modules,
    kind: Kind,
    targets: Sequence[str] | None = None,
    layers: Sequence[int] | str | None = None,
    encoder: str = "both",
) -> dict[str, tuple[int, int]]:
    """Module name -> (d_out, d_in) of the layers adapters go on: :func:`lorabound.adapters.targets.select_layers`.

    Args:
        targets: names of linear layers; None takes those of the kind.
        encoder: one of the kind's ``parts``.
    """
    return select_layers(modules, kind.layer_names(targets), layers, kind.parts[encoder])


@dataclass(frozen=True)
class Outline:
    """What the headers of a model's files of weights tell.

    Attributes:
        modules: linear layers of the model; among the others, what holds a matrix and is none.
        n_weights: numbers in all its tensors, heads left out.
        n_vectors: tokens that it has a vector for; None where no such table is recognized.
    """

    modules: Modules
    n_weights: int
    n_vectors: int | None


def weight_outline(folder: Path) -> Outline:
    """The outline of a model, without transformers, which takes seconds to import.

    Names and sizes of linear layers are those of the loaded model, and a prefix for the whole encoder ("bert.") stays.

    Raises:
        ModelError: weights are missing or cannot be read.
    """
    return _outline(folder, _shapes(folder))


def config_outline(folder: Path) -> Outline:
    """The outline of a model from its ``config.json`` alone; torch and transformers are imported, no weight is made.

    Raises:
        ModelError: transformers cannot read the configuration.
    """
    import torch
    import transformers

    from lorabound.models.pretrained import explained, quiet

    with explained(folder, "a model"), quiet(), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        decoder = any(map(is_decoder, config.architectures or ()))
        auto = transformers.AutoModelForCausalLM if decoder else transformers.AutoModel
        module = auto.from_config(config, trust_remote_code=False)
    return _outline(folder, ((name, tuple(weight.shape)) for name, weight in module.named_parameters()))


def _outline(folder: Path, shapes: Iterable[tuple[str, Sequence[int]]]) -> Outline:
    record = read_json(folder / CONFIG)
    model = str(next(iter(record.get("architectures") or ()), "model"))
    conv = record.get("model_type") in CONV1D_KINDS
    linears: dict[str, tuple[int, int]] = {}
    others: dict[str, str] = {}
    n_weights, n_vectors = 0, None
    for name, shape in shapes:
        parts = name.split(".")
        if any(part in HEADS for part in parts) or name.endswith(_BUFFERS):
            continue
        n_weights += math.prod(shape)
        if name.endswith(_TOKEN_TABLES):
            n_vectors = shape[0]
        if len(shape) != 2 or parts[-1] != "weight":
            continue
        layer = name.removesuffix(".weight")
        if any(word in name for word in _NO_LAYER):
            others[layer] = "Embedding"
        else:
            linears[layer] = (shape[1], shape[0]) if conv else (shape[0], shape[1])
    return Outline(Modules(model=model, linears=linears, others=others), n_weights, n_vectors)


# Files that hold the words of a tokenizer, of one kind or another.
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken")
NO_VOCABULARY = (
    "{folder} holds no vocabulary of a tokenizer, every word would be unknown: copy tokenizer.json (or vocab.txt, ..., "
    "as the model has it) into it"
)


def check_tokens(folder: Path, n_vectors: int | None) -> None:
    """See that a model has a vector for every token of its ``tokenizer.json``, where it has one.

    Raises:
        ModelError: there are no files of a tokenizer, or tokens were added and the embedding was not resized.
    """
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise ModelError(NO_VOCABULARY.format(folder=folder))
    path = folder / "tokenizer.json"
    if n_vectors is None or not path.is_file():
        return
    from tokenizers import Tokenizer

    try:
        vocabulary: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab()
    except Exception:  # the library raises plain Exceptions; loading the model will say what is wrong
        return
    refuse_tokens_beyond(folder, vocabulary, n_vectors)


def refuse_tokens_beyond(folder: Path, vocabulary: Mapping[str, int], n_vectors: int) -> None:
    """See that the numbers of all tokens are below the number of vectors.

    Raises:
        ModelError: they are not.
    """
    beyond = {token: index for token, index in vocabulary.items() if index >= n_vectors}
    if beyond:
        token, index = min(beyond.items(), key=lambda pair: pair[1])
        raise ModelError(
            f"{folder}: the tokenizer has {max(beyond.values()) + 1:,} tokens and the model vectors for {n_vectors:,} "
            f"of them ({token!r} is number {index}): tokens were added without "
            "model.resize_token_embeddings(len(tokenizer)); give the tokenizer and the weights that belong together"
        )


def _shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="numpy") as file:
                yield from [(name, file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read ({error}): the file is damaged or unfinished") from None
