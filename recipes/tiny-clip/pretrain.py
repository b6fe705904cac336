"""Pre-train a small CLIP on Fashion-MNIST with captions, from nothing, in minutes on two cores.

    python recipes/tiny-clip/pretrain.py --out tiny-clip-out/model

A caption says how bright a piece of clothing is, and what it is: "a photo of a dark ankle boot." Images whose captions
are equal are all right answers for one another:

    loss = (H(P, softmax(S)) + H(P, softmax(S^T))) / 2,   S = tau v(x_i) . t(c_j),   P_ij proportional to [c_i = c_j].

Seeded. The folder records what made it and the SHA-256 of its weights; a second call with the same settings finds both
and trains nothing.
"""

import argparse
import hashlib
import json
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

from lorabound.data.named import fashion_mnist
from lorabound.engine import keep_freed_memory

SETTINGS = {
    "seed": 0, "epochs": 4, "batch_size": 250, "lr": 1e-3, "weight_decay": 0.05, "width": 128, "layers": 4, "heads": 4,
    "patch": 7, "image": 28, "tokens": 32,
}  # fmt: skip
START, END = "<|startoftext|>", "<|endoftext|>"
RECORD = "pretraining.json"


def captions(pixels: np.ndarray, labels: list[str]) -> list[str]:
    """Thirds of mean brightness are dark, plain and bright; plain goes without saying."""
    brightness = pixels.reshape(len(pixels), -1).mean(1)
    low, high = np.quantile(brightness, [1 / 3, 2 / 3])
    shades = np.where(brightness < low, "dark ", np.where(brightness < high, "", "bright "))
    return [f"a photo of a {shade}{label}." for shade, label in zip(shades, labels, strict=True)]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the captions: words never seen become pieces, down to letters."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        sorted(set(texts)),
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=[START, END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    ends = [(token, made.token_to_id(token)) for token in (START, END)]
    made.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=START, eos_token=END, pad_token=END, model_max_length=SETTINGS["tokens"]
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """Both towers of one size."""
    tower = {
        "hidden_size": SETTINGS["width"], "intermediate_size": 4 * SETTINGS["width"],
        "num_hidden_layers": SETTINGS["layers"], "num_attention_heads": SETTINGS["heads"],
    }  # fmt: skip
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": SETTINGS["tokens"],
        "pad_token_id": ends["eos_token_id"],
    }
    vision = {"image_size": SETTINGS["image"], "patch_size": SETTINGS["patch"]}
    return CLIPModel(
        CLIPConfig(text_config=tower | text | ends, vision_config=tower | vision, projection_dim=SETTINGS["width"])
    )


def pretrain(out: Path) -> None:
    keep_freed_memory()
    torch.manual_seed(SETTINGS["seed"])
    table = fashion_mnist("train")
    pixels = np.stack([picture.content() for picture in table.examples])
    texts = captions(pixels, table.labels)
    tokenizer = train_tokenizer(texts)
    distinct = sorted(set(texts))
    encoded = tokenizer(distinct, padding=True, return_tensors="pt")
    caption = torch.tensor([distinct.index(text) for text in texts])
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": SETTINGS["image"]}, crop_size={"height": SETTINGS["image"], "width": SETTINGS["image"]},
        image_mean=[0.3] * 3, image_std=[0.35] * 3,
    )  # fmt: skip
    images = (torch.from_numpy(pixels).float() / 255 - 0.3) / 0.35
    model = new_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS["lr"], weight_decay=SETTINGS["weight_decay"])
    size = SETTINGS["batch_size"]
    steps = SETTINGS["epochs"] * (len(images) // size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done / steps))
    )
    begun = time.perf_counter()
    for epoch in range(SETTINGS["epochs"]):
        total, order = 0.0, torch.randperm(len(images))
        for index in order[: len(order) // size * size].split(size):
            here, of = torch.unique(caption[index], return_inverse=True)
            seen = model.get_image_features(pixel_values=images[index, None].expand(-1, 3, -1, -1)).pooler_output
            read = model.get_text_features(**{name: rows[here] for name, rows in encoded.items()}).pooler_output[of]
            scores = model.logit_scale.exp() * F.normalize(seen, dim=-1) @ F.normalize(read, dim=-1).T
            right = (of[:, None] == of).float()
            right = right / right.sum(1, keepdim=True)
            loss = (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            model.logit_scale.data.clamp_(max=math.log(100))
            total += loss.item()
        spent = time.perf_counter() - begun
        print(f"epoch {epoch + 1} of {SETTINGS['epochs']}: loss {total / (len(images) // size):.3f}, {spent:.0f} s")
    draft = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    for part in (model, tokenizer, processor):
        part.save_pretrained(draft)
    (draft / RECORD).write_text(json.dumps({"settings": SETTINGS, "weights_sha256": weights_sha256(draft)}, indent=2))
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)


def weights_sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def already_there(out: Path) -> bool:
    """Whether these settings made the folder and nothing has changed its weights since."""
    try:
        record = json.loads((out / RECORD).read_text())
        return record == {"settings": SETTINGS, "weights_sha256": weights_sha256(out)}
    except (OSError, ValueError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    if already_there(out):
        print(f"{out} is there, trained with these settings")
    else:
        pretrain(out)
    print(f"weights SHA-256 {weights_sha256(out)}")


if __name__ == "__main__":
    sys.exit(main())
