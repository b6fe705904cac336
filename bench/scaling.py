"""How the time of a sweep grows: with the number of adapters, with N, with the rank.

    python bench/scaling.py [--out bench-out]

Seconds of training and measuring (loading and reports left out), top two layers, one process a point.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from lorabound.sweeps import Sweep


def busy(out: Path, **options: object) -> float:
    """Seconds of training and measuring of a sweep with these options."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {
        "ranks": 8,
        "seeds": 12,
        "n_train": 512,
        "n_test": 1000,
        "epochs": 3,
        "modes": "freeze_a",
        "layers": "4,5",
    }
    flags = [
        str(part) for name, value in (settings | options).items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    command = [sys.executable, "-m", "lorabound", "sweep", "--out", str(out), *flags]
    subprocess.run(command, capture_output=True, check=True)
    return sum(row.seconds for row in Sweep.open(out).rows() if row.rank)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    out = parser.parse_args().out / "sweep-scaling"
    for title, option, values in (
        ("adapters", "seeds", [3, 6, 12, 24, 48]),
        ("N", "n_train", [256, 512, 1024, 2048, 4096]),
        ("rank", "ranks", [1, 2, 4, 8, 16, 32]),
    ):
        extra = {"n_test": 100} if option == "n_train" else {}
        seconds = {value: busy(out, **{option: value}, **extra) for value in values}
        first = values[0]
        print(f"| {title} | seconds | per unit, against the first |\n|---|---|---|")
        for value, spent in seconds.items():
            unit = 1 if option == "ranks" else value / first
            print(f"| {value} | {spent:.1f} | {spent / unit / seconds[first]:.2f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
