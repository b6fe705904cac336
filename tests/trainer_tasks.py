"""Small tasks for transformers' Trainer whose true risks are known: 64 points of three classes, texts of a Markov chain."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from lorabound.hf.losses import row_losses

_POINTS = np.random.default_rng(7).normal(size=(64, 6)).astype(np.float32)
_TEACHER = np.random.default_rng(8).normal(size=(6, 3))
# P(class | point): 0.85 for the class that the teacher names.
CHANCES = np.full((64, 3), 0.075)
CHANCES[np.arange(64), (_POINTS @ _TEACHER).argmax(1)] = 0.85
LETTERS, LENGTH = 6, 5
# P(next letter | letter): 0.7 for one of them.
CHAIN = np.full((LETTERS, LETTERS), 0.06)
CHAIN[np.arange(LETTERS), np.roll(np.arange(LETTERS), 2)] = 0.7


class Net(nn.Module):
    """A layer that is adapted, between random ones that stay."""

    def __init__(self, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.inner, self.dropout = nn.Linear(6, 24), nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(24) if norm else nn.Identity()
        self.head = nn.Linear(24, 3)

    def forward(self, points=None, labels=None):
        logits = self.head(self.dropout(torch.tanh(self.norm(self.inner(points)))))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def net(seed: int = 0, dropout: float = 0.0, norm: bool = False, rank: int = 3, lora_dropout: float = 0.0):
    """The net with a LoRA adapter on both layers."""
    torch.manual_seed(seed)
    asked = LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=["inner", "head"], lora_dropout=lora_dropout)
    return get_peft_model(Net(dropout, norm), asked)


def language_model(seed: int = 0):
    """A Llama of one layer with an adapter on every linear layer but the last."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=LETTERS + 1, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, pad_token_id=LETTERS, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules="all-linear"))


def points(n: int, random: np.random.Generator) -> list[dict]:
    """n independent rows of points and classes."""
    places = random.integers(64, size=n)
    labels = [int(random.choice(3, p=CHANCES[place])) for place in places]
    return [
        {"points": torch.from_numpy(_POINTS[place]), "labels": label}
        for place, label in zip(places, labels, strict=True)
    ]


def texts(n: int, random: np.random.Generator) -> list[dict]:
    """n independent texts of the chain; the first two letters are the prompt."""
    found = random.integers(LETTERS, size=(n, 1))
    steps = CHAIN.cumsum(1)
    for _ in range(LENGTH - 1):
        following = (random.random((n, 1)) > steps[found[:, -1]]).sum(1).clip(max=LETTERS - 1)
        found = np.concatenate([found, following[:, None]], 1)
    labels = found.copy()
    labels[:, :2] = -100
    return [
        {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.ones(LENGTH, dtype=torch.int64),
            "labels": torch.tensor(them),
        }
        for ids, them in zip(found, labels, strict=True)
    ]


def stacked(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Rows as one batch."""
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}


def true_error(model, draws: int = 1) -> float:
    """Exact error on new data of the net as it stands; in training mode the mean of some draws of its dropout."""
    with torch.no_grad():
        found = [model(points=torch.from_numpy(_POINTS)).logits.argmax(1).numpy() for _ in range(draws)]
    return float(np.mean([1 - CHANCES[np.arange(64), one].mean() for one in found]))


def true_loss(model, batch: dict, loss: str) -> float:
    """Mean loss of a language model on fresh texts."""
    with torch.no_grad():
        return float(row_losses(batch["labels"], model(**batch), "tokens", loss).mean())


def arguments(folder, **changes) -> transformers.TrainingArguments:
    """One epoch, steps of 8 rows in two batches, a log after each."""
    return transformers.TrainingArguments(**{
        "output_dir": str(folder), "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
        "num_train_epochs": 1, "learning_rate": 0.05, "logging_steps": 1, "save_strategy": "no", "report_to": [],
        "disable_tqdm": True, "remove_unused_columns": False, "use_cpu": True, "seed": 0, "dataloader_pin_memory": False,
    } | changes)  # fmt: skip


def trainer(model, rows, folder, *callbacks, fresh=None, **changes) -> transformers.Trainer:
    """A Trainer that prints nothing."""
    made = transformers.Trainer(
        model=model,
        args=arguments(folder, **changes),
        train_dataset=rows,
        eval_dataset=fresh,
        callbacks=list(callbacks),
    )
    made.pop_callback(transformers.PrinterCallback)
    return made


class Truth(transformers.TrainerCallback):
    """The true risk of the weights before each step; after it the logged limit beside their mean over the window."""

    def __init__(self, risk, start):
        self.risk, self.start = risk, start
        self.risks = []
        self.excess = []

    def on_step_begin(self, args, state, control, model=None, **_):
        """Before the step."""
        self.risks.append(self.risk(model))

    def on_log(self, args, state, control, logs=None, **_):
        """After the step: how far the truth exceeds the limit."""
        if "loss" in logs and (limit := logs.get("lorabound/true_error_upper")) is not None:
            self.excess.append(float(np.mean(self.risks[self.start :])) - limit)


def evaluated(model, measure, training=False) -> float:
    """A measurement that leaves the random numbers and the mode of the training as they were."""
    was, state = model.training, torch.get_rng_state()
    model.train(training)
    found = float(measure())
    model.train(was)
    torch.set_rng_state(state)
    return found
