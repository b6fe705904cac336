"""What a sweep of many runs takes beside training: its store, its table and page, its export.

    python bench/store.py [--runs 10000] [--rows 1000000] [--ranks 10]

Writes a store of so many runs in stacks of 12, as a sweep does, with drawn losses: 2,000 test examples, 100 to 500
training examples, a grid of so many ranks, 2 modes, 5 sizes and as many seeds as it takes. Then, each in a process of
its own: what a resumed sweep reads, the table and the page, the export; at last a Parquet and a CSV file of so many
rows. Prints seconds, peak memory (GiB) and sizes of files.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import lorabound as lb
from lorabound.adapters import new_adapter, save_adapter
from lorabound.files import write_table
from lorabound.modes import PAPER_MODE
from lorabound.reports.export import export_runs
from lorabound.reports.page import write_page
from lorabound.sweeps import Sweep, SweepConfig, runs_of
from lorabound.sweeps.grid import Run, run_key
from lorabound.sweeps.row import Row
from lorabound.sweeps.store import FILE
from lorabound.sweeps.summary import summarize

N_TEST, SIZES, STACK, FIXED = 2_000, [100, 200, 300, 400, 500], 12, {"bench": "store"}


def drawn(run: Run, random: np.random.Generator) -> Row:
    """A run whose losses look like those of a trained adapter."""
    error = 0.5 * run.n_train**-0.2 + 0.02 * random.standard_normal()
    test, first = random.random(N_TEST) < error, random.random(run.n_train) < error + 0.1
    share = float(test.mean())
    return Row(
        key=run_key(run, FIXED), rank=run.rank, mode=run.mode, n_train=run.n_train, seed=run.seed, sample=run.sample,
        n_params=2304 * run.rank, seconds=1.0, status="done", train_error=share / 2, test_error=share,
        train_risk=share / 2, test_risk=share, train_ce=share, test_ce=2 * share, test_errors=test,
        test_log_losses=random.exponential(share, N_TEST).astype(np.float32),
        first_order=random.permutation(run.n_train), first_errors=first,
        first_log_losses=random.exponential(share, run.n_train).astype(np.float32), adapter_sha256="0" * 64,
    )  # fmt: skip


def fill(folder: Path, n_runs: int, n_ranks: int) -> None:
    """A store of at least so many runs."""
    seeds = -(-n_runs // (n_ranks * 2 * len(SIZES)))
    config = SweepConfig(
        n_train=SIZES, n_test=N_TEST, ranks=list(range(1, n_ranks + 1)), seeds=seeds, epochs=1, prompt="A {}."
    )
    classes = [f"class {number}" for number in range(4)]
    about = {
        "config": config.model_dump(mode="json"), "takes": "texts", "data_sha256": "0", "model_sha256": "0",
        "engine": 0,
        "classes": classes, "n_pool": SIZES[-1], "n_test": N_TEST, "n_removed": 0, "n_unlabelled": 0,
        "n_unlabelled_removed": 0, "n_skipped": 0, "n_long": 0, "own_test_set": False, "majority_error": 0.75,
        "n_cut": 0,
        "class_counts": dict.fromkeys(classes, 1000), "notes": [], "cut": None, "model_notes": [],
    }  # fmt: skip
    store, random = Sweep.open_or_create(folder, about), np.random.default_rng(0)
    planned = runs_of(config)
    rows = [drawn(run, random) for run in planned]
    start = time.perf_counter()
    for place in range(0, len(rows), STACK):
        store.add(rows[place : place + STACK])
    seconds = time.perf_counter() - start
    told = {"runs": len(rows), "seconds": seconds, "ms_per_run": 1000 * seconds / len(rows)}
    print(json.dumps(told | {"MiB": (folder / FILE).stat().st_size / 2**20}))


def resumed(folder: Path) -> None:
    """Which runs are there: what a sweep asks before it goes on."""
    keys = lb.open_sweep(folder).keys()
    assert all(run_key(run, FIXED) in keys for run in runs_of(lb.open_sweep(folder).config))


def page(folder: Path) -> None:
    """The table and the page."""
    made = write_page(summarize(lb.open_sweep(folder)), folder / "report.html")
    print(json.dumps({"page_MiB": made.stat().st_size / 2**20}))


def export(folder: Path) -> None:
    """All runs as Parquet."""
    export_runs(lb.open_sweep(folder), folder / "runs.parquet")


def many(folder: Path, n_rows: int) -> None:
    """So many rows in the columns of an export, as Parquet and as CSV."""
    frame = lb.open_sweep(folder).frame()
    frame = pl.concat([frame] * -(-n_rows // len(frame))).head(n_rows)
    for ending in ("parquet", "csv"):
        start = time.perf_counter()
        write_table(folder / f"many.{ending}", frame)
        size = (folder / f"many.{ending}").stat().st_size / 2**20
        print(json.dumps({f"{ending}_seconds": time.perf_counter() - start, f"{ending}_MiB": size}))


def adapter(folder: Path) -> None:
    """The folder of one adapter, as a sweep writes it for each run: rank 8, query, key and value of two layers."""
    shapes = {f"layer.{at}.{part}": (384, 384) for at in (4, 5) for part in ("query", "key", "value")}
    made = new_adapter(shapes, 8, PAPER_MODE, 0, "kaiming_uniform", 2.0)
    start = time.perf_counter()
    for number in range(200):
        save_adapter(made, folder / "adapters" / str(number), "model")
    print(json.dumps({"adapter_ms": 1000 * (time.perf_counter() - start) / 200}))


def main() -> None:
    """All of it, or one part in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=int, default=10)
    parser.add_argument("--part")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    parts = {
        "fill": lambda: fill(asked.folder, asked.runs, asked.ranks), "resumed": lambda: resumed(asked.folder),
        "page": lambda: page(asked.folder), "export": lambda: export(asked.folder),
        "many": lambda: many(asked.folder, asked.rows), "adapter": lambda: adapter(asked.folder),
    }  # fmt: skip
    if asked.part:
        start = time.perf_counter()
        parts[asked.part]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"part_seconds": time.perf_counter() - start, "peak_GiB": peak}))
        return
    with tempfile.TemporaryDirectory() as place:
        for part in parts:
            command = [sys.executable, __file__, "--part", part, "--folder", place]
            command += ["--runs", str(asked.runs), "--rows", str(asked.rows), "--ranks", str(asked.ranks)]
            done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(part, *({name: round(n, 3) for name, n in json.loads(line).items()} for line in done.splitlines()))


if __name__ == "__main__":
    main()
