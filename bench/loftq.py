"""What LoftQ's start gives back of a model rounded to few bits, before anything is trained.

    python bench/loftq.py [--base nf4] [--ranks 4,16,64] [--steps 1,2,5] [--layers top2] [--targets query,key,value]

A start of T steps (Li et al. 2024) is Q_1 = round(W), (B A)_t = SVD_r(W - Q_t), Q_t+1 = round(W - (B A)_t), and the
model computes with Q_T + (B A)_T in the adapted layers, with round(W) in the others. ``--law loftq`` has T = 1. Prints
what is left of the weights of the adapted layers, ||W - Q - B A||_F / ||W||_F over all of them, and the error on test
words, with its difference from the model that is not rounded (paired, 95%).
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from lorabound.adapters.residual import balanced_product
from lorabound.engine import evaluate
from lorabound.models.quantized import rounded
from lorabound.notation import Base
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.task import Task, load_task


def start(weight: Tensor, base: Base, rank: int, steps: int) -> Tensor:
    """Q + B A after so many steps; rank 0 is Q = round(W) alone."""
    product = torch.zeros_like(weight)
    for _ in range(steps):
        near = rounded(weight - product, base)
        b, a = balanced_product((weight - near).numpy(), rank) if rank else (np.zeros((len(weight), 0)), weight[:0])
        product = torch.from_numpy(b @ np.asarray(a)).to(weight)
    return near + product


def test_errors(task: Task) -> np.ndarray:
    """Which test words are wrong, (words,) 0-1."""
    return evaluate(task.classifier, task.test_set.inputs, task.test_set.labels)[0].errors.astype(float)


def main() -> None:
    """Print one row per start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nf4")
    parser.add_argument("--ranks", default="4,16,64")
    parser.add_argument("--steps", default="1,2,5")
    parser.add_argument("--layers", default="top2")
    parser.add_argument("--targets", default="query,key,value")
    parser.add_argument("--n-test", type=int, default=5000)
    given = parser.parse_args()
    shared = {"data": "words", "n_train": [10], "n_test": given.n_test, "precision": "float32"}
    shared |= {"layers": given.layers, "targets": given.targets}
    exact, task = load_task(SweepConfig(**shared)), load_task(SweepConfig(**shared, base=given.base))
    weights = {name: exact.classifier.module.get_submodule(name).weight.detach() for name in task.shapes}
    size = np.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))
    print(f"{len(weights)} adapted layers, {given.n_test:,} test words")
    print("| base | start | steps | left of the weights | test error | minus not rounded |\n|---|---|---|---|---|---|")
    before = test_errors(exact)
    print(f"| none | | | 0 | {before.mean():.4f} | |", flush=True)
    for rank in [0, *map(int, given.ranks.split(","))]:
        for steps in map(int, given.steps.split(",")) if rank else [1]:
            left = 0.0
            for name, weight in weights.items():
                now = start(weight, given.base, rank, steps)
                left += float((weight - now).double().square().sum())
                task.classifier.module.get_submodule(name).weight.data.copy_(now)
            said = f"LoftQ, rank {rank} | {steps}" if rank else "plain |"
            errors = test_errors(task)
            worse, half = (errors - before).mean(), 1.96 * (errors - before).std(ddof=1) / len(errors) ** 0.5
            print(
                f"| {given.base} | {said} | {left**0.5 / size:.4f} | {errors.mean():.4f} | "
                f"{worse:+.4f} ({worse - half:+.4f} to {worse + half:+.4f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
