"""The table of docs/certificates.md: certificates against training size, rank, mode and method, on words.

    python bench/certificates.py --out certificates-out                  # everything: about two hours on two cores
    python bench/certificates.py --out certificates-out --sizes 5000 --methods ""     # what training certifies: minutes

One epoch, top two layers, cosine. Each size is one sweep of three ranks and two modes. *certified* is the limit of each
run by what training kept; beside it stands what 5,000 rows spared for testing would prove of its final adapter. Other
methods certify the runs of ``--rank``. It goes on where it stopped: what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lorabound as lb
from lorabound.bounds import holdout

# Training size -> step size.
RATES = {500: 5e-3, 1000: 6e-3, 5000: 6e-3, 20_000: 4e-3, 50_000: 3e-3}
RANKS, MODES = [4, 16, 64], ["freeze_a", "train_both"]
METHODS = "compressed,pac-bayes,pac-bayes-half,pac-bayes-recursive"
SPARED, TESTED, DELTA = 5000, 6000, 0.05


def swept(out: Path, n_train: int) -> lb.Sweep:
    """The sweep of one training size."""
    return lb.sweep(
        data="words", layers="top2", n_train=[n_train], n_test=TESTED, ranks=RANKS, modes=MODES, seeds=1, epochs=1,
        schedule="cosine", lr=RATES[n_train], out=out / f"n{n_train}",
    )  # fmt: skip


def of_training(sweep: lb.Sweep, n_train: int) -> list[dict[str, Any]]:
    """One line per run, and one for the best of them."""
    lines = []
    frame = sweep.frame()
    tested = {row.key: row for row in sweep.rows()}
    by_name = {(row.mode, row.rank): row for row in tested.values()}
    for run in frame.iter_rows(named=True):
        row = by_name[run["mode"], run["rank"]]
        spared = holdout(int(row.test_errors[:SPARED].sum()), len(row.test_errors[:SPARED]), DELTA)
        method = "progressive" if run["rank"] else "all rows"
        lines.append(
            {
                "n": n_train,
                "mode": run["mode"],
                "rank": run["rank"],
                "method": method,
                "error": run["progressive_error"],
                "at_most": run["progressive_at_most"],
                "gain": run["gain_at_least"],
                "test_error": run["test_error"],
                "spared": float(spared.value),
            }
        )
    best = lb.certify(sweep.folder)
    lines.append(
        {
            "n": n_train,
            "mode": f"best of {len(RANKS) * len(MODES)}",
            "rank": int(best.name.split("-r")[1].split("-")[0]),
            "method": "progressive",
            "error": best.best.error,
            "at_most": best.best.limit,
            "gain": float(best.gain.value) if best.gain else None,
        }
    )
    return lines


def by_method(sweep: lb.Sweep, n_train: int, mode: str, rank: int, method: str) -> dict[str, Any]:
    """One method on one run."""
    name = f"{mode}-r{rank}-n{n_train}-seed0"
    made = lb.certify(
        sweep.folder / "adapters" / name, methods=[method], out=sweep.folder / "certificates" / method / name
    )
    best = made.best
    return {
        "n": n_train,
        "mode": mode,
        "rank": rank,
        "method": method,
        "error": best.error,
        "at_most": best.limit,
        "seconds": best.seconds,
        "bytes": sum(map(len, best.files.values())),
        "speaks_of": best.speaks_of,
    }


def markdown(lines: list[dict[str, Any]]) -> str:
    """The lines as a table."""
    heads = ["N", "mode", "rank", "method", "error on its rows", "certified", "gain", "test error", "5,000 spared"]
    keys = ["error", "at_most", "gain", "test_error", "spared"]
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for line in lines:
        shown = ["" if line.get(key) is None else f"{line[key]:.3f}" for key in keys]
        rows.append(
            f"| {line['n']:,} | {line['mode']} | {line['rank'] or ''} | {line['method']} | " + " | ".join(shown) + " |"
        )
    return "\n".join(rows)


def main() -> None:
    """Make what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", default=",".join(map(str, RATES)))
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--rank", type=int, default=RANKS[0], help="rank of the runs that other methods certify")
    parser.add_argument("--modes", default=",".join(MODES), help="modes that other methods certify")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "lines.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def keep(key: str, lines: list[dict[str, Any]]) -> None:
        done[key] = lines
        path.write_text(json.dumps(done, indent=1))
        print(markdown(lines), flush=True)

    for n_train in map(int, asked.sizes.split(",")):
        sweep = swept(asked.out, n_train)
        if f"{n_train}" not in done:
            keep(f"{n_train}", of_training(sweep, n_train))
        for method in filter(None, asked.methods.split(",")):
            for mode in asked.modes.split(","):
                if (key := f"{n_train} {mode} {asked.rank} {method}") not in done:
                    keep(key, [by_method(sweep, n_train, mode, asked.rank, method)])
    print("\n" + markdown([line for lines in done.values() for line in lines]))


if __name__ == "__main__":
    main()
