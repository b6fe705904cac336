"""Does the limit of `lorabound recommend` hold as often as it says? Whole runs on rows whose true error is known.

    python tools/validity_recommend.py --runs 200 --out validity-recommend.csv

Each run draws 70 rows afresh, asks for a recommendation, and measures the pilot that the limit speaks of on 4,000 rows
of the same population. Kinds of runs:

    one       one candidate, so that nothing is paid for a choice: the limit at delta 0.3 is wrong nearly that often
    chosen    two modes and three ranks, delta 0.5: the one with the fewest errors on the very rows that limit it
    own       the same runs: certificate.json, against the final adapter's error (which is lower than that of the late
              checkpoints it speaks of, so that this can only find gross faults)

Runs that stand in the file are not made again. Needs the tests beside it, for the small model.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import binom

import lorabound as lb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.text_models import save_letters_bert

KINDS = {"one": (0.3, {"ranks": [2], "modes": ["freeze_a"]}), "chosen": (0.5, {"ranks": [1, 2, 4]})}
N, N_FRESH = 70, 4000


def rows(count: int, random: np.random.Generator, path: Path) -> str:
    """Strings of a, b and c with a colour: that of the first letter, for one in five any colour."""
    texts = ["".join(random.choice(list("abc"), random.integers(8, 11))) for _ in range(count)]
    labels = [
        str(random.choice(["red", "green", "blue"]))
        if random.random() < 0.2
        else {"a": "red", "b": "green", "c": "blue"}[text[0]]
        for text in texts
    ]
    pl.DataFrame({"text": texts, "label": labels}).write_csv(path)
    return str(path)


def one(kind: str, seed: int, model: str, folder: Path) -> dict[str, Any]:
    """One run: its limits, and the errors that they limit."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    delta, given = KINDS[kind]
    found = lb.recommend(
        rows(N, random, folder / "rows.csv"), model=model, out=folder / "out", delta=delta, head="trained",
        lrs=[0.02], epochs=3, batch_size=16, max_length=12, targets=["query", "value"], seeds=[0], **given,
    )  # fmt: skip
    fresh = rows(N_FRESH, random, folder / "fresh.csv")
    [pilot] = (folder / "out/pilots").glob(f"lr-*/adapters/{found.mode}-r{found.rank}-n{found.n_pilot}-seed0")
    errors = [lb.certify(str(path), holdout=fresh).best.error for path in (pilot, found.adapter)]
    return {
        "kind": kind, "seed": seed, "choices": found.n_choices, "limit": float(found.limit.value), "error": errors[0],
        "own_limit": found.own_limit, "final_error": errors[1],
    }  # fmt: skip


def main() -> None:
    """Make the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("validity-recommend.csv"))
    asked = parser.parse_args()
    made = pl.read_csv(asked.out).to_dicts() if asked.out.exists() else []
    there = {(run["kind"], run["seed"]) for run in made}
    with tempfile.TemporaryDirectory() as place:
        model = str(save_letters_bert(Path(place) / "bert"))
        for seed in range(asked.runs):
            for kind in KINDS:
                if (kind, seed) not in there:
                    with tempfile.TemporaryDirectory() as folder:
                        made.append(one(kind, seed, model, Path(folder)))
                    pl.DataFrame(made).write_csv(asked.out)
    heads = ("kind", "choices", "delta", "runs", "limits below the truth", "at most", "mean limit", "mean error")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    table = pl.DataFrame(made)
    for kind, (delta, _) in KINDS.items():
        own = table.filter(pl.col("kind") == kind)
        for name, limit, error in ((kind, "limit", "error"), (f"{kind}, own", "own_limit", "final_error")):
            wrong = int((own[limit] < own[error]).sum())
            print(
                f"| {name} | {own['choices'].max()} | {delta} | {own.height} | {wrong} | "
                f"{int(binom.ppf(0.975, own.height, delta))} | {own[limit].mean():.3f} | {own[error].mean():.3f} |"
            )


if __name__ == "__main__":
    main()
