"""What people do today: one PEFT adapter after another. Prints one JSON object; see compare.py."""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoTokenizer

from lorabound.models import locate_model

transformers.logging.set_verbosity_error()
parser = argparse.ArgumentParser()
parser.add_argument("workload", type=Path)
parser.add_argument("train", type=Path)
parser.add_argument("test", type=Path)
parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
parser.add_argument("--start", type=Path, help="start from the PEFT folders r{rank}-seed{seed} in here")
args = parser.parse_args()
work = json.loads(args.workload.read_text())

folder = locate_model(work["model"])
tokenizer = AutoTokenizer.from_pretrained(folder)
amp = torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bfloat16")


def tokens(texts):
    return tokenizer(texts, truncation=True, max_length=work["max_length"])["input_ids"]


def pad(token_ids):
    width = max(map(len, token_ids))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in token_ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in token_ids])
    return {"input_ids": ids, "attention_mask": mask}


def embed(model, batch):
    with amp:
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return F.normalize((hidden.float() * mask).sum(1) / mask.sum(1), dim=-1)


def read(path):
    table = pl.read_csv(path)
    return tokens(table["text"].to_list()), table["label"].to_list()


(train_rows, train_labels), (test_rows, test_labels) = read(args.train), read(args.test)
classes = sorted(set(train_labels))
train_classes, test_classes = (torch.tensor([classes.index(y) for y in ys]) for ys in (train_labels, test_labels))
with torch.no_grad():
    prototypes = embed(
        AutoModel.from_pretrained(folder).eval(), pad(tokens([work["prompt"].format(c) for c in classes]))
    )


def logits(model, rows):
    return work["logit_scale"] * embed(model, pad(rows)) @ prototypes.T


@torch.no_grad()
def measure(model, rows, labels):
    """Mean 0-1 loss and cross-entropy, in batches of similar length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    error = loss = 0.0
    for start in range(0, len(order), 256):
        part = order[start : start + 256]
        out = logits(model, [rows[i] for i in part])
        error += (out.argmax(1) != labels[part]).sum().item()
        loss += F.cross_entropy(out, labels[part], reduction="sum").item()
    return error / len(rows), loss / len(rows)


runs, started = [], time.perf_counter()
for rank, seed in product(work["ranks"], range(work["seeds"])):
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=rank, lora_alpha=work["alpha_over_r"] * rank, target_modules=work["targets"],
        layers_to_transform=work["layers"],
    )  # fmt: skip
    base = AutoModel.from_pretrained(folder)
    if args.start:
        start = args.start / f"r{rank}-seed{seed}"
        model = PeftModel.from_pretrained(base, start, is_trainable=True).eval()
    else:
        model = get_peft_model(base, lora).eval()
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=work["lr"], weight_decay=0.0)
    for epoch in range(work["epochs"]):
        order = np.random.default_rng([seed, epoch]).permutation(len(train_rows))
        for start in range(0, len(order), work["batch_size"]):
            part = order[start : start + work["batch_size"]]
            optimizer.zero_grad()
            F.cross_entropy(logits(model, [train_rows[i] for i in part]), train_classes[part]).backward()
            optimizer.step()
    train_error, train_ce = measure(model, train_rows, train_classes)
    test_error, test_ce = measure(model, test_rows, test_classes)
    losses = {"train_error": train_error, "train_ce": train_ce, "test_error": test_error, "test_ce": test_ce}
    runs.append({"rank": rank, "seed": seed, **losses})
print(json.dumps({"seconds": time.perf_counter() - started, "runs": runs}))
