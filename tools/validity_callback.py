"""Do the limits of GeneralizationCallback hold as often as they say? Real runs of the Trainer whose true risk is known.

    python tools/validity_callback.py --runs 300 --out validity-callback.csv

Each run draws rows afresh, trains a small model for one epoch through transformers' Trainer, and is looked at after
every step: the logged limit beside the mean true risk of the checkpoints of the window so far. A run counts as wrong
where any of its limits was below the truth at any step. Kinds of runs:

    classes        0-1 error of a net on 64 points; true errors are exact
    dropout        the same with dropout: true errors are means over 200 draws of it
    wrong_tokens   share of wrong tokens of a Llama of one layer on a Markov chain; true risks by 4,000 fresh texts
    probability    1 - p(token) of the same
    final          the final adapter after two epochs, by 400 unlabelled rows; one limit per run, at the end
    kept           error of the checkpoint that keep="random" stores: its mean over runs beside that of the window

Runs that stand in the file are not made again. Needs the tests beside it, for the small models.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from scipy.stats import binom

from lorabound.hf import GeneralizationCallback

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.trainer_tasks import (
    Truth,
    evaluated,
    language_model,
    net,
    points,
    stacked,
    texts,
    trainer,
    true_error,
    true_loss,
)  # fmt: skip

KINDS = ("classes", "dropout", "wrong_tokens", "probability", "final")
N, STEP = 160, 8


def one(kind: str, seed: int, delta: float, folder: Path) -> dict[str, Any]:
    """One run: how far the truth exceeded its limits at most, and at the end."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    options: dict[str, Any] = {"delta": delta, "repeats": "drawn", "keep": "random"}
    epochs, start = 1, N // 2 // STEP
    if kind in ("wrong_tokens", "probability"):
        model, rows, fresh = language_model(seed), texts(N, random), stacked(texts(4000, random))
        options["loss"] = kind
        truth = Truth(lambda model: evaluated(model, lambda: true_loss(model, fresh, kind)), start)
    else:
        model, rows = net(seed, dropout=0.5 if kind == "dropout" else 0.0), points(N, random)
        draws = 200 if kind == "dropout" else 1
        truth = Truth(lambda model: evaluated(model, lambda: true_error(model, draws), training=draws > 1), start)
    if kind == "final":
        epochs, options["keep"] = 2, None
        options["unlabelled"] = [{"points": row["points"]} for row in points(400, random)]
    callback = GeneralizationCallback(**options)
    made = trainer(model, rows, folder, callback, truth, num_train_epochs=epochs, seed=seed, learning_rate=0.03)
    made.train()
    assert callback.certificate is not None
    limit = callback.certificate.best.limit
    if kind == "final":
        found = evaluated(model, lambda: true_error(model))
        return {"worst": found - limit, "limit": limit, "truth": found, "kept": None}
    set_peft_model_state_dict(model, load_file(folder / "random-checkpoint/adapter_model.safetensors"))
    kept = evaluated(model, lambda: truth.risk(model))
    window = float(np.mean(truth.risks[start:]))
    return {"worst": max(truth.excess), "limit": limit, "truth": window, "kept": kept}


def main() -> None:
    """Run, append to the file, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--delta", type=float, default=0.2)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=Path("validity-callback.csv"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    gc.freeze()  # the Trainer collects garbage in each run: what was imported is none
    transformers.utils.logging.set_verbosity_error()
    done = pl.read_csv(asked.out) if asked.out.exists() else pl.DataFrame()
    made = {(row["kind"], row["seed"], row["delta"]) for row in done.iter_rows(named=True)}
    rows, begun = done.to_dicts(), time.monotonic()
    for seed in range(asked.runs):
        if time.monotonic() - begun > 60 * asked.minutes:
            break
        for kind in asked.kinds.split(","):
            if (kind, seed, asked.delta) in made:
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = one(kind, seed, asked.delta, Path(folder))
            rows.append({"kind": kind, "seed": seed, "delta": asked.delta, **found})
        if seed % 10 == 9:
            pl.DataFrame(rows, infer_schema_length=None).write_csv(asked.out)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame.write_csv(asked.out)
    for (kind, delta), group in frame.group_by("kind", "delta", maintain_order=True):
        wrong = int((group["worst"] > 0).sum())
        chance = binom.sf(wrong - 1, len(group), delta)
        said = f"{kind}: {wrong} of {len(group)} runs had a limit below the truth, {delta:.3g} allowed"
        said += f" (so many or more have probability {chance:.3g} at that rate); limit {group['limit'].mean():.3f}, "
        said += f"truth {group['truth'].mean():.3f}"
        if group["kept"].null_count() < len(group):
            gap = (group["kept"] - group["truth"]).drop_nulls()
            said += f"; stored checkpoint {gap.mean():+.4f} from it (+- {2 * gap.std() / len(gap) ** 0.5:.4f})"
        print(said)


if __name__ == "__main__":
    main()
