"""Scikit-learn's handwritten digits on the unit sphere, and a small network pre-trained on those left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from lorabound.errors import DataError
from lorabound.worst_case.measured.lora_mlp import FrozenMlp
from lorabound.worst_case.options import POOL

WIDTHS = (64, 32, 10)
_STEPS = 200


@dataclass(frozen=True)
class Digits:
    """POOL images (POOL, 64) of norm 1, their labels, and the network that has not seen them.

    ``accuracy`` is the network's on the pool, without an adapter.
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
    return Digits(images[:POOL], labels[:POOL], FrozenMlp(arrays[::2], arrays[1::2]), accuracy)
