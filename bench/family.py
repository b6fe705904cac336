"""Which adapters are best at equal numbers of trained entries: frozen factors of every kind, and usual LoRA.

    python bench/family.py [--recipe recipes/family.yaml] [--out family-out]      (make family; resumable)

For each budget q and each member of the family that rank is taken whose number of trained entries is nearest to q, if
it is within 30% of it. The learning rate is the best one of those given, found with a seed and test rows of its own on
a part of the training rows, so that the test rows are used once. All members share seeds, training rows and test rows:
differences are paired, seed by seed and row by row.

Prints for each training size every member at every budget, with its difference from the first member of the recipe,
and how the gap grows with q.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from study import Setting, count, rows

import lorabound as lb
from lorabound.adapters import check_rank
from lorabound.errors import LoraboundError
from lorabound.models.layers import adapted_layers, weight_outline
from lorabound.models.locate import local_folder
from lorabound.modes import MODES
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import fitted

MOST_OFF, TUNING_SEED, SIZE = 0.3, 100, "subspace_size"


@dataclass(frozen=True)
class Cell:
    """One member at one budget.

    Attributes:
        name: the member's name in the recipe.
        budget, q: trained entries that are wanted, and that it has.
        rank: rank of each link.
        given: its mode, and settings that only it has.
    """

    name: str
    budget: int
    q: int
    rank: int
    given: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What a sweep takes."""
        return {"modes": [self.given["mode"]], "ranks": [self.rank]} | {
            key: value for key, value in self.given.items() if key not in ("mode", "rank")
        }


def cells(recipe: dict[str, Any], shared: dict[str, Any], train: str) -> Iterator[Cell]:
    """Every member at every budget that it can meet."""
    config, kind = fitted(SweepConfig.model_validate(shared | {"data": train, "ranks": [1], "modes": list(MODES)[:1]}))
    modules = weight_outline(local_folder(config.model)).modules
    shapes = adapted_layers(modules, kind, config.targets, config.layers, config.encoder)
    largest = min(min(shape) for shape in shapes.values())
    for name, given in recipe["members"].items():
        facts, links = MODES[given["mode"]], given.get("links", 1)
        for budget in recipe["budgets"]:
            if SIZE in facts.settings:
                yield Cell(name, budget, budget, given["rank"], given | {SIZE: budget})
                continue
            counts = {
                rank: facts.n_params(rank * links, list(shapes.values())) for rank in range(1, largest // links + 1)
            }
            rank = min(counts, key=lambda one: abs(counts[one] - budget))
            if abs(counts[rank] - budget) <= MOST_OFF * budget:
                check_rank(shapes, rank * links)
                yield Cell(name, budget, counts[rank], rank, given)


def best_lr(cell: Cell, shared: dict[str, Any], train: str, lrs: list[float], share: float, folder: Path) -> float:
    """The learning rate with the lowest cross-entropy (less a matter of chance than the error is) on a quarter of
    the training rows that are used for finding it."""
    n = int(share * count(train))
    losses = {}
    for lr in lrs:
        done = lb.sweep(
            out=folder / f"lr-{lr:g}", data=train, n_train=[n - n // 4], n_test=n // 4, seeds=[TUNING_SEED], lr=lr,
            data_seed=TUNING_SEED, **(shared | cell.settings),
        )  # fmt: skip
        found = next(row.test_ce for row in done.rows() if row.rank)
        losses[lr] = np.inf if found is None else found
    return min(losses, key=lambda lr: (losses[lr], lr))


def main() -> None:
    """Tune, train what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/family.yaml"))
    parser.add_argument("--out", type=Path, default=Path("family-out"))
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text())
    for task, own in recipe["tasks"].items():
        shared = recipe["shared"] | own["shared"]
        for n_train in own["n_train"]:
            folder = options.out / f"{task}-{n_train}"
            train, test = rows(Setting(task, n_train, own["n_test"]), folder, data_seed=0)
            print(f"\n## {task}, N = {n_train:,}, {count(test):,} test rows, {recipe['seeds']} seeds\n", flush=True)
            found = []
            for cell in cells(recipe, shared, train):
                place = folder / f"{cell.name}-{cell.budget}"
                try:
                    lr = best_lr(cell, shared, train, recipe["lrs"], recipe["tuning_share"], place)
                    done = lb.sweep(
                        out=place / f"all-{lr:g}", data=train, test_data=test, n_train=[n_train], n_test=count(test),
                        seeds=recipe["seeds"], lr=lr, **(shared | cell.settings),
                    )  # fmt: skip
                except LoraboundError as error:
                    raise SystemExit(f"{cell.name}, {cell.budget}: {error}") from error
                found.append((cell, lr, [row for row in done.rows() if row.rank]))
            print(table(found))


def table(found: list[tuple[Cell, float, list[Any]]]) -> str:
    """Every cell, and the growth of the gap with q."""
    lines = [
        "| budget | member | rank | trained entries | lr | test error | minus the first | gap | seconds a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(cell.name for cell, _, _ in found))
    at = {(cell.name, cell.budget): runs for cell, _, runs in found}
    for cell, lr, runs in sorted(found, key=lambda one: (one[0].budget, names.index(one[0].name))):
        first = at.get((names[0], cell.budget))
        against = "" if first is None or cell.name == names[0] else interval(losses(runs) - losses(first))
        gap = interval(losses(runs), [row.train_error for row in sorted(runs, key=lambda row: row.seed)])
        seconds = np.median([row.seconds for row in runs])
        lines.append(
            f"| {cell.budget:,} | {cell.name} | {cell.rank} | {cell.q:,} | {lr:g} | {losses(runs).mean():.4f} | "
            f"{against} | {gap} | {seconds:.0f} |"
        )
    lines += ["", "| member | the gap grows as q to the |", "|---|---|"]
    for name in names:
        own = [(cell, runs) for cell, _, runs in found if cell.name == name]
        if len(own) > 1:
            grown = lb.stats.growth_exponent(
                [cell.q for cell, _ in own],
                [losses(runs) for _, runs in own],
                [[row.train_error for row in sorted(runs, key=lambda row: row.seed)] for _, runs in own],
            )
            lines.append(f"| {name} | {grown.value:.2f} ({grown.low:.2f} to {grown.high:.2f}) {grown.note} |")
    return "\n".join(lines)


def losses(runs: list[Any]) -> np.ndarray:
    """(seeds, test rows), 0-1."""
    return np.stack([np.asarray(row.test_errors, dtype=float) for row in sorted(runs, key=lambda row: row.seed)])


def interval(values: np.ndarray, offsets: Any = 0.0) -> str:
    """Mean with its 95% interval."""
    mean = lb.stats.crossed_mean(values, offsets)
    return f"{mean.mean:+.4f} ({mean.low:+.4f} to {mean.high:+.4f})"


if __name__ == "__main__":
    main()
