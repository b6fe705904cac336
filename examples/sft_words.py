"""A small chat model learns to name the language of a word, in TRL's SFTTrainer, and how bad it can be on new words.

python examples/sft_words.py               # needs pip install 'lorabound[llm,demo,trainer]' trl; a few minutes
lorabound verify sft-out                   # anyone: the limit, computed again from its file of losses
"""

import argparse

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from lorabound.data.words import words
from lorabound.hf import GeneralizationCallback
from lorabound.models import locate_model

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=600)
parser.add_argument("--model", default=None, help="folder or hub name; the small model that is installed, if none")
parser.add_argument("--out", default="sft-out")
asked = parser.parse_args()

# A random sample of all words: their list is sorted by language.
table = words()
sample = table.rows(torch.randperm(len(table), generator=torch.Generator().manual_seed(1)).tolist()[: asked.rows])
rows = Dataset.from_list(
    [
        {"prompt": f"Which language is the word {text} of?", "completion": f" {label}"}
        for text, label in zip(sample.examples, sample.labels, strict=True)
    ]
)
folder = asked.model or locate_model("smollm2-135m-instruct")
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(folder),
    args=SFTConfig(
        output_dir=asked.out,
        num_train_epochs=1,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        bf16=False,
    ),
    train_dataset=rows,
    processing_class=AutoTokenizer.from_pretrained(folder),
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    callbacks=[GeneralizationCallback(loss="error")],  # the one line: an answer is wrong where any token is
)
trainer.train()
trainer.save_model(asked.out)
