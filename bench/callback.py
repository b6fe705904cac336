"""What GeneralizationCallback adds to a step of the Trainer: the same run with it and without, in alternation.

    python bench/callback.py                    # SmolLM2, 128 tokens a row; wants a quiet machine
    python bench/callback.py --model FOLDER --rows 400 --rounds 9

Prints the median seconds per step of both, and the ratio of each round's two runs, smallest to largest.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model

from lorabound.hf import GeneralizationCallback
from lorabound.models import locate_model


class Clock(transformers.TrainerCallback):
    """Seconds of each step but the first two."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step begins."""
        self._begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """It ends."""
        if state.global_step > 2:
            self.seconds.append(time.perf_counter() - self._begun)


def steps(model: Any, rows: list[dict[str, Any]], batch: int, *callbacks: Any) -> list[float]:
    """Seconds per step of one run."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        asked = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=1e-4,
            logging_steps=10, save_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(model=model, args=asked, train_dataset=rows, callbacks=[clock, *callbacks])
        trainer.pop_callback(transformers.PrinterCallback)
        trainer.train()
    return clock.seconds


def main() -> None:
    """Alternate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loss", default=None, choices=["error", "wrong_tokens", "probability"])
    asked = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    base = transformers.AutoModelForCausalLM.from_pretrained(asked.model or locate_model("smollm2-135m-instruct"))
    lora = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear")
    model = get_peft_model(base, lora)
    drawn = torch.Generator().manual_seed(0)
    shape = (asked.rows, asked.tokens)
    ids = torch.randint(base.config.vocab_size, shape, generator=drawn)
    rows = [{"input_ids": one, "attention_mask": torch.ones_like(one), "labels": one} for one in ids]
    ratios, found = [], {"without": [], "with": []}
    for turn in range(asked.rounds):
        kinds = ("without", "with") if turn % 2 == 0 else ("with", "without")
        medians = {}
        for kind in kinds:
            callbacks = [GeneralizationCallback(loss=asked.loss)] if kind == "with" else []
            medians[kind] = float(torch.tensor(steps(model, rows, asked.batch, *callbacks)).median())
            found[kind].append(medians[kind])
        ratios.append(medians["with"] / medians["without"])
        print(
            f"round {turn + 1}: {medians['without']:.4f} s per step, with the callback {ratios[-1]:.4f} times",
            flush=True,
        )
    for kind, seconds in found.items():
        print(f"{kind:8s} {sorted(seconds)[len(seconds) // 2]:.4f} s per step (median of {len(seconds)} runs)")
    print("with / without, per round: " + ", ".join(f"{ratio:.4f}" for ratio in sorted(ratios)))


if __name__ == "__main__":
    main()
