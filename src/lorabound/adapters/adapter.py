"""One LoRA adapter as plain arrays: its factors, which of them are frozen, how many entries are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters.frozen import factor_sha256, random_factor
from lorabound.errors import InputError
from lorabound.modes import MODES, Factor, Mode
from lorabound.notation import Base, Law

Array = NDArray[np.float32]
Shapes = dict[str, tuple[int, int]]
# What transformers is told to load a model rounded so.
BITSANDBYTES: Mapping[str | None, str] = {
    "nf4": 'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")',
    "int8": "BitsAndBytesConfig(load_in_8bit=True)",
}


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The two factors of one layer: the layer computes ``W x + scale * b @ (a @ x)``.

    Attributes:
        a: factor A, (r, d_in), which reads the input.
        b: factor B, (d_out, r), which writes the output.
        scale: scale s; PEFT's lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA.
    """

    a: Array
    b: Array
    scale: float

    @property
    def rank(self) -> int:
        """r."""
        return int(self.a.shape[0])

    def rows(self, factor: Factor) -> Array:
        """One factor as (r, width): A itself, or the transpose of B."""
        return self.a if factor == "a" else np.ascontiguousarray(self.b.T)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A classification layer whose every entry is trained: logits = weight x + bias.

    Attributes:
        name: name of its module in the model.
        weight: weight, (classes, d_in).
        bias: bias, (classes,).
        beside: tensor name -> frozen tensor that PEFT saves as well, because the name of its layer ends like the
            head's (DistilBERT's ``pre_classifier``).
    """

    name: str
    weight: Array
    bias: Array
    beside: dict[str, Array] = field(default_factory=dict)

    @property
    def n_params(self) -> int:
        """Trained entries: those of weight and bias."""
        return int(self.weight.size + self.bias.size)


@dataclass(frozen=True, kw_only=True)
class QuantizedBase:
    """The quantized model that an adapter was trained on.

    Attributes:
        format: number format that its weights were rounded to.
        sha256: hash of the model, its rounded weights included; None where another trainer rounded it.
    """

    format: Base
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter: factors by module name, and which of them training may touch.

    Attributes:
        layers: module name -> factors of that layer.
        mode: name of a mode of :mod:`lorabound.modes`, which says what is trained.
        seed: seed that the random factors were drawn from; None when they were not drawn by ``new_adapter``.
        law: law of their entries; None as for ``seed``.
        head: classification layer that is trained with the factors; None where the model's own head stays, or class
            prompts stand in for one.
        base: quantized model that it was trained on; None for a model as its files are.
    """

    layers: dict[str, Factors]
    mode: Mode
    seed: int | None = None
    law: Law | None = None
    head: Head | None = None
    base: QuantizedBase | None = None

    @property
    def n_params(self) -> int:
        """q: trained entries of the factors, by the mode, and of the head."""
        facts = MODES[self.mode]
        factors = sum(facts.n_params(f.rank, [(f.b.shape[0], f.a.shape[1])]) for f in self.layers.values())
        return factors + (self.head.n_params if self.head else 0)

    @property
    def shapes(self) -> Shapes:
        """Shapes of the adapted layers: module name -> (d_out, d_in)."""
        return {name: (f.b.shape[0], f.a.shape[1]) for name, f in self.layers.items()}

    def frozen(self) -> dict[str, Array]:
        """The frozen factor of every layer, as (r, width) arrays; empty where the mode freezes none."""
        frozen = MODES[self.mode].frozen
        return {name: f.rows(factor) for name, f in self.layers.items() for factor in frozen}

    def frozen_sha256(self) -> str | None:
        """SHA-256 of the frozen factors; None where nothing is frozen."""
        return factor_sha256(self.frozen()) if MODES[self.mode].frozen else None


def check_rank(shapes: Shapes, rank: int) -> None:
    """The rank must be one that every layer can hold.

    Raises:
        InputError: a rank below 1, or above the smallest side of a layer.
    """
    for name, (d_out, d_in) in shapes.items():
        if not 1 <= rank <= min(d_out, d_in):
            raise InputError(
                f"rank {rank} does not fit layer {name} ({d_out} x {d_in}): choose a rank from 1 to {min(d_out, d_in)}"
            )


def new_adapter(shapes: Shapes, rank: int, mode: Mode, seed: int, law: Law, alpha_over_r: float) -> Adapter:
    """An untrained adapter: one factor random, the other zero, so the model starts as pre-trained.

    Which factor is random, the mode says (:mod:`lorabound.modes`): `A` in ``freeze_a`` and ``train_both`` (Hu et al.
    2022), `B` in ``freeze_b``, its mirror image (Zhu et al. 2024): the law of `A` applied to the transpose of `B`.

    Args:
        shapes: module name -> (d_out, d_in) of the layers to adapt.
        rank: r, from 1 to the smallest side of the smallest layer.
        mode: name of a mode.
        seed: seed of the random factors.
        law: law of their entries, see :func:`random_factor`; an adapter that starts from what rounding took away is
            made by :class:`lorabound.adapters.Residuals`.
        alpha_over_r: scale s.
    Raises:
        InputError: an unknown mode, or a rank that a layer cannot hold.
    """
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    check_rank(shapes, rank)
    drawn = MODES[mode].drawn
    layers = {}
    for name, (d_out, d_in) in shapes.items():
        b, a = np.zeros((d_out, rank), dtype=np.float32), np.zeros((rank, d_in), dtype=np.float32)
        # One stream of random numbers per layer: a mode that draws both factors has to name a second one.
        if "a" in drawn:
            a = random_factor(seed, name, rank, d_in, law)
        if "b" in drawn:
            b = np.ascontiguousarray(random_factor(seed, name, rank, d_out, law).T)
        layers[name] = Factors(a=a, b=b, scale=alpha_over_r)
    return Adapter(layers=layers, mode=mode, seed=seed, law=law)
