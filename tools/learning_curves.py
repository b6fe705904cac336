"""Are forecasts of learning curves right on adapters that are really trained?

    python tools/learning_curves.py [--tasks 13,14,15,16,17,18] [--out curves-out]

A task is a small frozen network and a teacher that differs from it; LoRA adapters (7 ranks, 2 modes, 3 seeds) learn
from the teacher's noisy labels on nested training sets of 60 to 3,840 examples and are tested on 6,000 fresh ones.
Pilots see 600 of the test rows and two seeds, and half of the candidates drops out at each size; the other rows and
all seeds are the truth. The priors of `lorabound.stats.curves` were fixed on tasks 1 to 12 (and on `words`, see there):
ask for others. Half a minute of one core per task, kept in --out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lorabound.stats import fit_curves, pick
from lorabound.stats.cells import scaled

RANKS, MODES, SIZES = (1, 2, 4, 8, 16, 32, 64), ("freeze_a", "train_both"), (60, 240, 960, 1920, 3840)
SEEDS, N_TEST, N_PILOT, WIDTH, D_IN = 3, 6000, 600, 96, 32
CANDIDATES = [(mode, rank) for mode in MODES for rank in RANKS]
RUNS = [(mode, rank, seed) for mode, rank in CANDIDATES for seed in range(SEEDS)]


class Task:
    """A frozen network of two adapted layers, its teacher's data, and how it is trained, all drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self._draws = np.random.default_rng(seed)
        classes = int(self._draws.choice([2, 4, 10]))
        shapes = [(WIDTH, D_IN), (WIDTH, WIDTH), (classes, WIDTH)]
        self.weights = [self._draws.normal(size=s) * np.sqrt(2 / s[1]) for s in shapes]
        decay, size = self._draws.uniform(0.3, 2.0), self._draws.uniform(0.3, 1.2)
        self._teacher = [*self.weights]
        for layer, shape in enumerate(shapes[:2]):
            u, _, v = np.linalg.svd(self._draws.normal(size=shape), full_matrices=False)
            spectrum = np.arange(1, min(shape) + 1.0) ** -decay
            spectrum *= size * np.linalg.norm(self.weights[layer]) / np.linalg.norm(spectrum)
            self._teacher[layer] = self.weights[layer] + (u * spectrum) @ v
        self._noise = float(self._draws.choice([0, 0.05, 0.2]))
        self.lr = float(self._draws.choice([1e-3, 3e-3, 1e-2]))
        self.epochs = int(self._draws.choice([3, 6, 15]))

    def examples(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """n fresh inputs and labels."""
        x = self._draws.normal(size=(n, D_IN))
        h = np.maximum(x @ self._teacher[0].T, 0)
        y = (np.maximum(h @ self._teacher[1].T, 0) @ self._teacher[2].T).argmax(1)
        wrong = self._draws.random(n) < self._noise
        y[wrong] = self._draws.integers(0, len(self._teacher[2]), wrong.sum())
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


class Adapters:
    """All runs side by side: a (run, rank, d_in) and b (run, d_out, rank) of each layer, unused ranks masked."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        self._weights = weights
        self._mask = torch.tensor([[float(j < rank) for j in range(max(RANKS))] for _, rank, _ in RUNS])
        self._both = torch.tensor([mode == "train_both" for mode, _, _ in RUNS])[:, None, None]
        self.a, self.b = [], []
        for layer, w in enumerate(weights[:2]):
            generators = [torch.Generator().manual_seed(1000 * seed + layer) for seed in range(SEEDS)]
            drawn = [torch.rand((max(RANKS), w.shape[1]), generator=g) * 2 - 1 for g in generators]
            self.a.append(torch.stack([drawn[seed] / w.shape[1] ** 0.5 for _, _, seed in RUNS]).requires_grad_())
            self.b.append(torch.zeros(len(RUNS), w.shape[0], max(RANKS)).requires_grad_())
        self._frozen = [a.detach().clone() for a in self.a]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (run, batch, class) of inputs (run, batch, d_in)."""
        for w, a, frozen, b in zip(self._weights, self.a, self._frozen, self.b, strict=False):
            used = torch.where(self._both, a, frozen) * self._mask[:, :, None]
            down = torch.bmm(x, used.transpose(1, 2))
            x = torch.relu(x @ w.T + 2 * torch.bmm(down, (b * self._mask[:, None, :]).transpose(1, 2)))
        return x @ self._weights[2].T


def errors(seed: int) -> np.ndarray:
    """(size, run, test example) bool."""
    task = Task(seed)
    (x, y), (x_test, y_test) = task.examples(SIZES[-1]), task.examples(N_TEST)
    weights = [torch.tensor(w, dtype=torch.float32) for w in task.weights]
    found = []
    for n in SIZES:
        adapters = Adapters(weights)
        optimizer = torch.optim.Adam([*adapters.a, *adapters.b], lr=task.lr)
        order = [np.random.default_rng(77 + s) for s in range(SEEDS)]
        for _ in range(task.epochs):
            orders = [draws.permutation(n) for draws in order]
            for start in range(0, n, 32):
                rows = torch.tensor(np.stack([orders[s][start : start + 32] for _, _, s in RUNS]))
                loss = torch.nn.functional.cross_entropy(
                    adapters(x[rows]).flatten(0, 1), y[rows].flatten(), reduction="sum"
                )
                optimizer.zero_grad()
                (loss / rows.shape[1]).backward()
                optimizer.step()
        with torch.no_grad():
            parts = [
                adapters(x_test[start : start + 500].expand(len(RUNS), -1, -1)).argmax(-1)
                != y_test[start : start + 500]
                for start in range(0, N_TEST, 500)
            ]
        found.append(torch.cat(parts, 1).numpy())
    return np.array(found)


def looked_at(all_errors: np.ndarray, draws: np.random.Generator) -> Iterator[dict[str, float]]:
    """One record per forecast, from pilots of one, two and three sizes to sizes up to four times the largest."""
    losses = all_errors.reshape(len(SIZES), len(CANDIDATES), SEEDS, N_TEST).astype(float)
    rows = draws.permutation(N_TEST)
    pilot, fresh = losses[..., rows[:N_PILOT]][:, :, :2], losses[..., rows[N_PILOT:]]
    for last in range(len(SIZES) - 1):
        left, cells = list(range(len(CANDIDATES))), []
        for place in range(max(last - 2, 0), last + 1):
            cells += [(place, c) for c in left]
            best = sorted(left, key=lambda c, place=place: pilot[place, c].mean())
            left = best[: (len(left) + 1) // 2] if place < last else left
        names = [(*CANDIDATES[c], SIZES[place]) for place, c in cells]
        modes, ranks, sizes = zip(*names, strict=True)
        curves = fit_curves(modes, ranks, sizes, [pilot[cell] for cell in cells])
        for place in range(last + 1, len(SIZES)):
            if SIZES[place] > 4 * SIZES[last]:
                continue
            forecast, truth = curves.forecast(CANDIDATES, SIZES[place]), fresh[place].mean(axis=(1, 2))
            low, high = forecast.measured(fresh.shape[-1], SEEDS)
            slack = 0.5 / np.sqrt(fresh.shape[-1])  # one standard error of a measured difference, at most
            ends = np.array([forecast.difference(c, left[0]) for c in range(len(CANDIDATES)) if c != left[0]])
            apart = np.delete(truth - truth[left[0]], left[0])
            chosen = pick(forecast, [r * (1 if mode == "freeze_a" else 2) for mode, r in CANDIDATES])
            measured_best = min(left, key=lambda c, last=last: pilot[last, c].mean())
            yield {
                "sizes": float(min(last + 1, 3)),
                "step": SIZES[place] / SIZES[last],
                "inside": np.mean((low <= truth) & (truth <= high)),
                "above": np.mean(truth > high),
                "differences inside": np.mean((ends[:, 0] - slack <= apart) & (apart <= ends[:, 1] + slack)),
                "off, in f": np.mean(np.abs(scaled(truth) - scaled(forecast.means))),
                "regret": truth[chosen.index] - truth.min(),
                "expected": chosen.expected_loss,
                "regret of measured best": truth[measured_best] - truth.min(),
                "said close": chosen.chance_close,
                "was close": float(truth[chosen.index] <= truth.min() + 0.005),
            }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="13,14,15,16,17,18")
    parser.add_argument("--out", type=Path, default=Path("curves-out"))
    asked = parser.parse_args()
    asked.out.mkdir(exist_ok=True)
    records = []
    for seed in map(int, asked.tasks.split(",")):
        file = asked.out / f"task{seed}.npz"
        if not file.exists():
            np.savez_compressed(file, errors=np.packbits(errors(seed), axis=-1))
        found = np.unpackbits(np.load(file)["errors"], axis=-1, count=N_TEST).astype(bool)
        for split in range(4):
            records += looked_at(found, np.random.default_rng([seed, split]))
    names = [name for name in records[0] if name not in ("sizes", "step")]
    print("| sizes of pilots | N / largest pilot | forecasts |", " | ".join(names), "|")
    print("|---" * (len(names) + 3) + "|")
    for sizes, step in sorted({(record["sizes"], record["step"]) for record in records}):
        rows = [record for record in records if (record["sizes"], record["step"]) == (sizes, step)]
        means = [f"{np.mean([row[name] for row in rows]):.3f}" for name in names]
        print(f"| {sizes:g} | {step:g} | {len(rows)} |", " | ".join(means), "|")


if __name__ == "__main__":
    main()
