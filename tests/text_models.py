"""Small text models with random weights and a tokenizer of words, saved as transformers saves them."""

import json
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lorabound.sweeps import SweepConfig

WORDS = [
    "the",
    "room",
    "was",
    "lovely",
    "my",
    "seat",
    "is",
    "broken",
    "a",
    "bad",
    "good",
    "Lovely",
    "Room",
    "THE",
    "very",
    "long",
    "text",
    "that",
    "cut",
    "query",
    "this",
    "word",
]
TEXTS = ["Lovely Room", "THE room WAS lovely", "my seat is broken", "a"]
_SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
_KINDS = {
    "bert": transformers.BertConfig, "roberta": transformers.RobertaConfig, "mpnet": transformers.MPNetConfig,
    "distilbert": transformers.DistilBertConfig, "gpt2": transformers.GPT2Config, "opt": transformers.OPTConfig,
}  # fmt: skip


def save_tokenizer(folder: Path, pad: int = 0, limit: int | None = 64, added=(), pad_token=True, **options) -> int:
    """A tokenizer of words that keeps their case, with [CLS] and [SEP]; returns how many tokens it has."""
    special = [*_SPECIAL[1 : 1 + pad], "[PAD]", *_SPECIAL[1 + pad :]]
    vocabulary = {token: index for index, token in enumerate([*special, *dict.fromkeys(WORDS)])}
    made = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"} | (
        {"pad_token": "[PAD]"} if pad_token else {}
    )
    if limit:
        names["model_max_length"] = limit
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names, **options)
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def save_text_model(
    folder: Path, kind: str = "bert", labels: int = 0, positions: int = 64, tokenizer=None, **options
) -> Path:
    """Two layers of width 16; with ``labels`` a sequence classifier."""
    torch.manual_seed(0)
    pad = 1 if kind in ("roberta", "mpnet", "opt") else 0
    size = save_tokenizer(folder, pad, **(tokenizer or {}))
    sizes = {
        "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
        "opt": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 16},
    }.get(kind, {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32})  # fmt: skip
    head = {"num_labels": labels} if labels else {}
    config = _KINDS[kind](
        vocab_size=size, max_position_embeddings=positions, pad_token_id=pad, **(sizes | head | options)
    )
    auto = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModel
    model = auto.from_config(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "position" not in name:
            torch.nn.init.normal_(weight, std=0.3)  # far from the tiny start: outputs depend on everything
    model.save_pretrained(folder)
    return folder


def save_letters_bert(where: Path) -> Path:
    """A BERT of two layers with a head of three labels, and a tokenizer of the letters a, b and c."""
    torch.manual_seed(0)
    made = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5, "c": 6}, "[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=20
    ).save_pretrained(where)
    config = transformers.BertConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, id2label={0: "Red", 1: "green", 2: "blue"}, label2id={"Red": 0, "green": 1, "blue": 2},
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(where)
    return where


def config_of(folder: Path, data: str, **changes) -> SweepConfig:
    """One run of one rank on a small model, with settings changed."""
    return SweepConfig(**{
        "data": data, "model": str(folder), "prompt": "{}", "n_test": 20, "n_train": [20], "ranks": [1],
        "modes": ["freeze_a"], "seeds": 1, "epochs": 1, "batch_size": 10, "precision": "float32", **changes,
    })  # fmt: skip


def put_adapter_into(folder: Path, model, targets) -> None:
    """A LoRA adapter of some size, saved into the folder of its own model."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=32, target_modules=targets, init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)


def edit_json(path: Path, **changes) -> None:
    """Change entries of a JSON object on disk."""
    record = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(record | changes))
