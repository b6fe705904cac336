"""Small decoders with random weights and a byte-level tokenizer, saved as transformers saves them.

Four layers of width 32; tokens begin with the blank before their word, as those of GPT-2, Llama 3 and Qwen do.
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END, START, STOP, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"
_SENTENCES = [
    "system user assistant",
    "You are a helpful model.",
    "the room was lovely, the seat is broken",
    "a good room and a bad seat: a cold meal, a kind word",
    "house cat dog water bread maison chat chien eau pain",
]  # fmt: skip
# ChatML as SmolLM2 writes it: a system turn where the conversation brings none, a newline after every turn.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful model.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_decoder_tokenizer(
    folder: Path,
    pad: str | None = None,
    eos: str = END,
    bos: bool = False,
    chat: bool = False,
    limit: int | None = None,
) -> int:
    """A byte-level tokenizer of printable ASCII and some words; returns how many tokens it has.

    Args:
        pad: pad token, PAD or one that has another use as well; None: there is none.
        eos: token that ends a text or a turn.
        bos: whether END is put before every text, as Llama's tokenizers do with their own.
        chat: whether there is a chat template.
        limit: tokens of a text at most, as the tokenizer states them.
    """
    alphabet = sorted({mark for mark, _ in _bytes([*map(chr, range(32, 127)), "\n"])})
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [END, START, STOP, PAD]
    trainer = trainers.BpeTrainer(
        vocab_size=200, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator(_SENTENCES, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    options = {"pad_token": pad} if pad else {}
    options |= {"model_max_length": limit} if limit else {}
    options |= {"chat_template": CHAT_TEMPLATE} if chat else {}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=END, eos_token=eos, **options)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_llama(folder: Path, **options) -> Path:
    """Llama, built as SmolLM2 is: grouped-query attention, tied embeddings, a chat template, pad = eos = STOP."""
    tokenizer = {"pad": STOP, "eos": STOP, "chat": True}
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return save_decoder(folder, transformers.LlamaConfig, tokenizer, _SIZES | sizes | options)


def save_qwen2(folder: Path, **options) -> Path:
    """Qwen2: biases in q, k and v, an output layer of its own, a chat template, a pad token of its own."""
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    return save_decoder(
        folder, transformers.Qwen2Config, {"pad": PAD, "eos": STOP, "chat": True}, _SIZES | sizes | options
    )


def save_gpt2(folder: Path, **options) -> Path:
    """GPT-2: layers that are transformers' Conv1D, positions in a table, tied embeddings, no pad token."""
    sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 128}
    return save_decoder(folder, transformers.GPT2Config, {}, sizes | options)


def save_neox(folder: Path, **options) -> Path:
    """GPT-NeoX (Pythia): query, key and value in one layer, an output layer ``embed_out``, no pad token."""
    sizes = {"num_attention_heads": 4, "tie_word_embeddings": False}
    return save_decoder(folder, transformers.GPTNeoXConfig, {}, _SIZES | sizes | options)


SAVE = {"llama": save_llama, "qwen2": save_qwen2, "gpt2": save_gpt2, "neox": save_neox}

_SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48, "max_position_embeddings": 128}


def save_decoder(folder: Path, config, tokenizer: dict, options: dict) -> Path:
    """Save a model; ``options["tokenizer"]`` changes options of :func:`save_decoder_tokenizer`."""
    torch.manual_seed(0)
    tokenizer = tokenizer | options.pop("tokenizer", {})
    size = save_decoder_tokenizer(folder, **tokenizer)
    # ids in the order of ``special`` above
    ids = {END: 0, START: 1, STOP: 2, PAD: 3, None: None}
    made = config(
        vocab_size=size, bos_token_id=0, eos_token_id=ids[tokenizer.get("eos", END)],
        pad_token_id=ids[tokenizer.get("pad")], **options,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(made)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "wpe" not in name:
            torch.nn.init.normal_(weight, std=0.3)  # far from the tiny start: outputs depend on everything
        elif "bias" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


def save_gguf(path: Path, decoder: Path, **changes) -> Path:
    """A Llama in safetensors written as GGUF in float32, the way llama.cpp's converter writes it.

    Args:
        decoder: folder of :func:`save_llama`.
        changes: entries of the header, dots written as two underscores; None leaves one out.
    """
    import gguf

    config = json.loads((decoder / "config.json").read_text())
    tokenizer = json.loads((decoder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    header = {
        "general.architecture": "llama", "general.name": "tiny", "general.file_type": 0,
        "llama.block_count": config["num_hidden_layers"], "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"], "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "llama.rope.freq_base": config["rope_parameters"]["rope_theta"],
        "llama.rope.dimension_count": config["head_dim"], "llama.vocab_size": config["vocab_size"],
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": sorted(vocabulary, key=vocabulary.get),
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in sorted(vocabulary, key=vocabulary.get)],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": config["bos_token_id"], "tokenizer.ggml.eos_token_id": config["eos_token_id"],
        "tokenizer.ggml.padding_token_id": config["pad_token_id"], "tokenizer.chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    header |= {name.replace("__", "."): value for name, value in changes.items()}
    writer = gguf.GGUFWriter(path, header.pop("general.architecture"))
    adders = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
    for name, value in header.items():
        if value is not None:
            adders[type(value)](name, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in load_file(decoder / "model.safetensors").items():
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        for part, count in heads.items():
            if part in name:  # GGUF keeps the two halves of a rotated head interleaved
                weight = weight.reshape(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.contiguous().numpy())
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return path


def _bytes(texts: list[str]) -> list[tuple[str, tuple[int, int]]]:
    """How the tokenizer writes the bytes of these texts."""
    return [mark for text in texts for mark in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]
