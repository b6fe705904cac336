"""A linear classifier whose risk under a Gaussian posterior is known: two classes, scores 0 and w.x, w = B of rank 1.

    P(error | x, y) under w ~ N(mean, diag v) = Phi( -(2 y - 1) mean.x / sqrt(sum_i v_i x_i^2) )

Points lie on a finite set with known weights, so that the risk on new data is a finite sum.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from scipy import special
from torch import nn

from lorabound.adapters import new_adapter
from lorabound.certificates.subject import Subject
from lorabound.engine import Examples, Recipe
from lorabound.modes import MODES


class Points:
    """Rows of numbers as inputs: one token each."""

    n_cut = 0

    def __init__(self, values):
        self.values = torch.as_tensor(values, dtype=torch.float32)
        self.lengths = np.ones(len(values), dtype=np.int64)

    def __len__(self):
        return len(self.lengths)


class Linear:
    """A worker: scores (0, w.x). The adapter of rank 1 has B (dim, 1) = w, its A is frozen at what gives A 1 = 1."""

    towers = (("",),)
    answers = "classes"
    prompts = None
    interrupted = False

    def __init__(self, dim):
        self.module = nn.Sequential()
        self.module.add_module("fc", nn.Linear(4, dim, bias=False))
        self.module.fc.weight.data.zero_()
        self.module.requires_grad_(False)

    def class_embeddings(self):
        return torch.zeros(1, 2, 1)

    def replica(self):
        return copy.deepcopy(self)

    def logits(self, inputs, index, classes=None):
        x = inputs.values[torch.from_numpy(index)]
        weights = self.module(torch.ones(len(index), 4))
        score = (weights * x).sum(-1)
        return torch.stack([torch.zeros_like(score), score], -1)


class OnePool:
    """A pool of one worker, without threads."""

    def __init__(self, worker):
        self.workers = [worker]

    def run(self, jobs, do):
        for job in jobs:
            yield job, do(self.workers[0], job)


def subject_of_points(points, labels, recipe=None):
    """A subject of rank 1 on a linear classifier; A 1 = 1 exactly, so that B is the weight vector itself."""
    dim = points.shape[1]
    adapter = new_adapter({"fc": (dim, 4)}, 1, "freeze_a", 0, "gaussian", 1.0)
    adapter = copy.deepcopy(adapter)
    adapter.layers["fc"].a[:] = 0.25
    start = copy.deepcopy(adapter)
    return Subject(
        path=Path("toy"),
        adapter=adapter,
        start=start,
        paid=MODES["freeze_a"].trained,
        task=None,
        classifier=None,
        sample=Examples(Points(points), np.asarray(labels, dtype=np.int64)),
        recipe=recipe or Recipe(epochs=2, batch_size=16, lr=0.05),
        pool=OnePool(Linear(dim)),
    )


def error_probability(points, labels, posterior):
    """(n,) probability that each point is wrong under the posterior; a score of exactly 0 has probability 0."""
    mean, variance = posterior.mean["fc.lora_B"][:, 0], posterior.variance["fc.lora_B"][:, 0]
    margin = (2 * np.asarray(labels) - 1) * (points @ mean)
    return special.ndtr(-margin / np.sqrt(points**2 @ variance))
