"""The family ``digits``: handwritten digits on the unit sphere, a small network pre-trained on others.

A 64-32-10 ReLU network that has not seen the images of the sample, loss 1 - p(label), every layer adapted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from lorabound.bounds import rademacher_upper
from lorabound.errors import DataError
from lorabound.worst_case.measured.family import About, Family, Problem, gaussian, twice
from lorabound.worst_case.measured.lora_mlp import MISS, FrozenMlp, LoraMlpClass
from lorabound.worst_case.options import POOL, ComplexityConfig

WIDTHS = (64, 32, 10)
_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The images that samples are drawn from, and the network that has not seen them.

    Attributes:
        images: images of norm 1, (POOL, 64).
        labels: digit on each image, (POOL,).
        mlp: pre-trained network.
        accuracy: accuracy of the network on the images, without an adapter.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    mlp: FrozenMlp
    accuracy: float


def pretrained_digits(seed: int) -> Digits:
    """Shuffle, split, and train a 64-32-10 ReLU network with Adam on the cross-entropy; under a second.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install -c constraints.txt '.[demo]'") from None
    random = np.random.default_rng([seed, 0])
    images, labels = load_digits(return_X_y=True)
    order = random.permutation(len(images))
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)[order]
    labels = labels.astype(np.int64)[order]

    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    parameters = []
    for d_in, d_out in pairwise(WIDTHS):
        weight = random.normal(size=(d_out, d_in)).astype(np.float32) / np.float32(math.sqrt(d_in))
        parameters += [torch.from_numpy(weight).requires_grad_(), torch.zeros(d_out, requires_grad=True)]

    def logits(rows: slice) -> torch.Tensor:
        first, first_bias, second, second_bias = parameters
        return torch.relu(x[rows] @ first.T + first_bias) @ second.T + second_bias

    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits(slice(POOL, None)), y[POOL:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        accuracy = (logits(slice(POOL)).argmax(dim=1) == y[:POOL]).float().mean().item()
    arrays = [parameter.detach().numpy() for parameter in parameters]
    return Digits(
        images=images[:POOL],
        labels=labels[:POOL],
        mlp=FrozenMlp(weights=arrays[::2], biases=arrays[1::2]),
        accuracy=accuracy,
    )


def digits(settings: ComplexityConfig) -> Family:
    """Every layer of the network adapted, in balls of one radius; samples are prefixes of the pool.

    Raises:
        DataError: scikit-learn is not installed.
    """
    pool = pretrained_digits(settings.seed)
    radii = [settings.radius] * (len(WIDTHS) - 1)

    def problem(rank: int, n: int) -> Problem:
        x, y = torch.from_numpy(pool.images[None, :n]), torch.from_numpy(pool.labels[None, :n])
        a = [gaussian(settings, layer, rank, width) for layer, width in enumerate(WIDTHS[:-1])]
        network = pool.mlp.lora_class(rank, a, radii, settings.scale, input_radius=1.0)
        return Problem(
            members=LoraMlpClass(pool.mlp, [twice(f) for f in a], radii, settings.scale, x, y, MISS),
            n_params=int(network.n_params),
            upper=float(np.mean(rademacher_upper(network.blocks(MISS.lipschitz), n))),
        )

    about = About(
        name="digits",
        title="A 64-32-10 network on digits",
        sentence=f"Digits: 64-32-10 ReLU network ({pool.accuracy:.1%} right without an adapter), every layer adapted, "
        f"||B||_F <= {settings.radius:g}, loss 1 - p(label).",
        accuracy=pool.accuracy,
    )
    return Family(about=about, ranks=sorted(settings.ranks), nested=True, problem=problem)
