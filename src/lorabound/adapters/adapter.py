"""One LoRA adapter as plain arrays: what is trained, what is frozen, how many parameters that makes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters.frozen import factor_sha256, random_factor
from lorabound.errors import InputError
from lorabound.notation import MODES, Law, Mode, n_params

Array = NDArray[np.float32]
Shapes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Factors:
    """The two factors of one layer: the layer computes ``W x + scale * b @ (a @ x)``.

    Attributes:
        a: A, (r, d_in).
        b: B, (d_out, r).
        scale: s; PEFT's lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA.
    """

    a: Array
    b: Array
    scale: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


@dataclass(frozen=True)
class Head:
    """A classification layer that is trained whole: logits = weight x + bias.

    Attributes:
        name: of its module in the model.
        weight: (classes, d_in).
        bias: (classes,).
        beside: frozen tensors by name that PEFT takes along, since the names of their layers end like the head's
            (DistilBERT's ``pre_classifier``).
    """

    name: str
    weight: Array
    bias: Array
    beside: dict[str, Array] = field(default_factory=dict)

    @property
    def n_params(self) -> int:
        return int(self.weight.size + self.bias.size)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: factors by module name, and which of them training may touch.

    Attributes:
        layers: module name -> factors.
        mode: "freeze_a", "freeze_b" or "train_both".
        seed, law: where the random factor came from; None when it was not drawn here.
        head: trained along with the factors; None where the model's own head stays, or class prompts stand in for one.
    """

    layers: dict[str, Factors]
    mode: Mode
    seed: int | None = None
    law: Law | None = None
    head: Head | None = None

    @property
    def n_params(self) -> int:
        """q: trainable parameters, by the mode of each layer (see :func:`lorabound.notation.n_params`) and the head."""
        factors = sum(n_params(self.mode, f.rank, f.a.shape[1], f.b.shape[0]) for f in self.layers.values())
        return factors + (self.head.n_params if self.head else 0)

    @property
    def shapes(self) -> Shapes:
        """Module name -> (d_out, d_in)."""
        return {name: (f.b.shape[0], f.a.shape[1]) for name, f in self.layers.items()}

    def frozen(self) -> dict[str, Array]:
        """The frozen factor of every layer, as (r, width) arrays; empty for ``train_both``."""
        if self.mode == "freeze_a":
            return {name: f.a for name, f in self.layers.items()}
        if self.mode == "freeze_b":
            return {name: np.ascontiguousarray(f.b.T) for name, f in self.layers.items()}
        return {}

    def frozen_sha256(self) -> str | None:
        """SHA-256 of the frozen factors, None when nothing is frozen."""
        return factor_sha256(self.frozen()) if self.mode != "train_both" else None


def new_adapter(shapes: Shapes, rank: int, mode: Mode, seed: int, law: Law, alpha_over_r: float) -> Adapter:
    """An untrained adapter: one factor random, the other zero, so the model starts as pre-trained.

    The random factor is `A` in ``freeze_a`` and ``train_both`` (Hu et al. 2022) and `B` in ``freeze_b``, its
    mirror image (Zhu et al. 2024): the law of `A` applied to the transpose of `B`.

    Args:
        shapes: module name -> (d_out, d_in) of the layers to adapt.
        rank: r, from 1 to the smallest side of the smallest layer.
        alpha_over_r: the scale s.
    Raises:
        InputError: an unknown mode, or a rank that a layer cannot hold.
    """
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    layers = {}
    for name, (d_out, d_in) in shapes.items():
        if not 1 <= rank <= min(d_out, d_in):
            raise InputError(
                f"rank {rank} does not fit layer {name} ({d_out} x {d_in}): choose a rank from 1 to {min(d_out, d_in)}"
            )
        if mode == "freeze_b":
            b = np.ascontiguousarray(random_factor(seed, name, rank, d_out, law).T)
            a = np.zeros((rank, d_in), dtype=np.float32)
        else:
            a = random_factor(seed, name, rank, d_in, law)
            b = np.zeros((d_out, rank), dtype=np.float32)
        layers[name] = Factors(a, b, alpha_over_r)
    return Adapter(layers, mode, seed, law)
