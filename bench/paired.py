"""Do runs that share the lengths of their batches end where those of a plain loop end?

    python bench/paired.py [--cells 0 1 2] [--out bench-out]

Nine cells (N = 512; ranks 2, 8, 32; the top two layers on two samples, all layers on one), six seeds each. The sweep
and a plain PEFT loop start from the same factors and see the same rows; the loop draws each epoch's order with NumPy
and pads its batches. Prints the mean difference sweep - loop of every cell with its standard error over seeds.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import polars as pl
from compare import N_TEST, N_TRAIN, WORK, loop

from lorabound.adapters import new_adapter, save_adapter
from lorabound.data import load_table
from lorabound.models import PromptClassifier
from lorabound.stack import select_linears
from lorabound.sweeps import Sweep

RANKS, SEEDS = [2, 8, 32], 6
CELLS = [("top two", [4, 5], 0), ("top two", [4, 5], 1), ("all", None, 2)]
LOSSES = ("train_ce", "test_ce", "test_error")


def write_sample(folder: Path, seed: int) -> tuple[Path, Path]:
    """512 words to train on and 2,000 to test on, drawn by a seed."""
    table = load_table("words")
    rows = pl.DataFrame({"text": table.examples, "label": table.labels}).sample(fraction=1.0, shuffle=True, seed=seed)
    train, test = folder / f"train{seed}.csv", folder / f"test{seed}.csv"
    rows[:N_TRAIN].write_csv(train)
    rows[N_TRAIN : N_TRAIN + N_TEST].write_csv(test)
    return train, test


def write_start(folder: Path, layers: list[int] | None) -> None:
    """The factors every run of the sweep starts from, as PEFT folders."""
    module = PromptClassifier.load(WORK["model"], ["a", "b"], WORK["prompt"], 20.0, WORK["max_length"]).module
    shapes = select_linears(module, WORK["targets"], layers)
    for rank in RANKS:
        for seed in range(SEEDS):
            adapter = new_adapter(shapes, rank, "freeze_a", seed, "kaiming_uniform", WORK["alpha_over_r"])
            save_adapter(adapter, folder / f"r{rank}-seed{seed}", WORK["model"])


def sweep(train: Path, test: Path, layers: list[int] | None, out: Path) -> list[dict]:
    """Runs of the sweep, float32."""
    shutil.rmtree(out, ignore_errors=True)
    options = {
        "data": train, "test-data": test, "out": out, "prompt": WORK["prompt"], "ranks": ",".join(map(str, RANKS)),
        "modes": "freeze_a", "seeds": SEEDS, "n-train": N_TRAIN, "n-test": N_TEST, "epochs": WORK["epochs"],
        "layers": ",".join(map(str, layers)) if layers else "all", "batch-size": WORK["batch_size"], "lr": WORK["lr"],
        "precision": "float32",
    }  # fmt: skip
    flags = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "lorabound", "sweep", *flags], capture_output=True, check=True)
    return [vars(row) for row in Sweep.open(out).rows() if row.rank]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--cells", nargs="+", type=int, default=list(range(len(CELLS))), help="which three of the nine")
    args = parser.parse_args()
    out = args.out / "paired"
    out.mkdir(parents=True, exist_ok=True)
    print(
        "| layers | sample | rank | train cross-entropy | test cross-entropy | test error |\n|---|---|---|---|---|---|"
    )
    means: list[list[float]] = []
    for title, layers, sample in (CELLS[cell] for cell in args.cells):
        train, test = write_sample(out, sample)
        start = out / f"start-{len(layers or [])}"
        shutil.rmtree(start, ignore_errors=True)
        write_start(start, layers)
        work = out / "workload.json"
        work.write_text(json.dumps(WORK | {"ranks": RANKS, "seeds": SEEDS, "layers": layers}))
        ours = {(run["rank"], run["seed"]): run for run in sweep(train, test, layers, out / "sweep")}
        _, plain = loop(work, train, test, "float32", start)
        for rank in RANKS:
            cell = []
            for loss in LOSSES:
                apart = [ours[rank, run["seed"]][loss] - run[loss] for run in plain if run["rank"] == rank]
                cell.append((statistics.mean(apart), statistics.stdev(apart) / SEEDS**0.5))
            means.append([mean for mean, _ in cell])
            print(
                f"| {title} | {sample} | {rank} | " + " | ".join(f"{m:+.4f} ± {e:.4f}" for m, e in cell) + " |",
                flush=True,
            )
    print("| mean | | | " + " | ".join(f"{statistics.mean(m):+.4f}" for m in zip(*means, strict=True)) + " |")


if __name__ == "__main__":
    main()
