"""One run of the Trainer, alone or as one of several processes: torchrun starts it, test_processes.py reads what it writes."""

import sys

import numpy as np
import torch

from lorabound.hf import GeneralizationCallback
from tests.trainer_tasks import language_model, net, points, texts, trainer

KINDS = {"classes": (net, points), "tokens": (language_model, texts)}


def main(folder: str, batch_rows: int) -> None:
    """107 rows in steps of 16, the last one short; each kind of model."""
    torch.set_num_threads(1)
    for kind, (model, rows) in KINDS.items():
        random = np.random.default_rng(1)
        options = {"keep": "random", "repeats": "drawn"}
        if kind == "classes":
            options["unlabelled"] = [{"points": row["points"]} for row in points(50, random)]
        callback = GeneralizationCallback(**options)
        made = trainer(
            model(), rows(107, random), f"{folder}/{kind}", callback, per_device_train_batch_size=batch_rows,
            gradient_accumulation_steps=2, learning_rate=0.02, ddp_find_unused_parameters=False,
        )  # fmt: skip
        made.train()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
