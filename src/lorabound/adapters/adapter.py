"""One LoRA adapter as plain arrays: its factors, which of them are frozen, how many entries are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters.frozen import factor_sha256, random_factor
from lorabound.adapters.singular import SingularDirections
from lorabound.adapters.subspace import Copies, copies_of
from lorabound.errors import InputError
from lorabound.modes import MODES, PEFT_NAMES, Factor, Mode, check_links
from lorabound.notation import LAWS, OF_WEIGHTS, Base, Law

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
        m: what is trained where B = basis @ m, (r, r); None where B is no such product.
        basis: what is frozen there, (d_out, r).
    """

    a: Array
    b: Array
    scale: float
    m: Array | None = None
    basis: Array | None = None

    @property
    def rank(self) -> int:
        """r."""
        return int(self.a.shape[0])

    def rows(self, factor: Factor) -> Array:
        """One factor as (r, width): A itself, or the transpose of B; of a product B its frozen part."""
        return self.a if factor == "a" else np.ascontiguousarray((self.b if self.basis is None else self.basis).T)

    @classmethod
    def with_core(cls, a: Array, basis: Array, m: Array, scale: float) -> Factors:
        """Factors whose B is the product of a frozen part and an (r, r) matrix."""
        return cls(a=a, b=basis @ m, scale=scale, m=m, basis=basis)


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
        theta: the vector (p,) whose entries fill all factors B, see :meth:`copies`; None where there is none.
        links: number of links T of a chain (RAC-LoRA, Malinovsky et al. 2024): link m has rows (m-1) r .. m r - 1 of A,
            and these columns of B, with r the rank of every layer divided by T; links are trained one after the other.
        base: quantized model that it was trained on; None for a model as its files are.
    """

    layers: dict[str, Factors]
    mode: Mode
    seed: int | None = None
    law: Law | None = None
    head: Head | None = None
    theta: Array | None = None
    links: int = 1
    base: QuantizedBase | None = None

    @property
    def n_params(self) -> int:
        """q: trained entries of the factors, by the mode, and of the head."""
        facts = MODES[self.mode]
        if self.theta is not None:
            factors = self.theta.size
        else:
            factors = sum(facts.n_params(f.rank, [(f.b.shape[0], f.a.shape[1])]) for f in self.layers.values())
        return factors + (self.head.n_params if self.head else 0)

    @property
    def shapes(self) -> Shapes:
        """Shapes of the adapted layers: module name -> (d_out, d_in)."""
        return {name: (f.b.shape[0], f.a.shape[1]) for name, f in self.layers.items()}

    def frozen(self) -> dict[str, Array]:
        """The frozen factors of every layer, by :func:`stream_name`, as (r, width) arrays; empty without any."""
        facts = MODES[self.mode]
        return {
            stream_name(facts.drawn, name, factor): f.rows(factor)
            for name, f in self.layers.items()
            for factor in facts.frozen
        }

    def copies(self) -> Mapping[str, Copies]:
        """Where the entries of every B come from; empty where no vector fills them.

        Raises:
            InputError: an adapter with such a vector and no seed.
        """
        if self.theta is None:
            return {}
        if self.seed is None:
            raise InputError(f"mode {self.mode} fills B by the seed, and the adapter records none")
        return copies_of(self.seed, self.theta.size, {name: f.b.shape for name, f in self.layers.items()})

    def frozen_sha256(self) -> str | None:
        """SHA-256 of the frozen factors; None where nothing is frozen."""
        return factor_sha256(self.frozen()) if MODES[self.mode].frozen else None


def check_rank(shapes: Shapes, rank: int, links: int = 1) -> None:
    """The rank must be one that every layer can hold, that of all links of a chain together.

    Raises:
        InputError: a rank below 1, or above the smallest side of a layer.
    """
    for name, (d_out, d_in) in shapes.items():
        most = min(d_out, d_in)
        if not 1 <= links * rank <= most:
            if links == 1:
                raise InputError(
                    f"rank {rank} does not fit layer {name} ({d_out} x {d_in}): choose a rank from 1 to {most}"
                )
            raise InputError(
                f"links {links} of rank {rank} are rank {links * rank} together, which does not fit layer {name} "
                f"({d_out} x {d_in}): choose links times rank from 1 to {most}"
            )


def check_grid(
    shapes: Shapes, ranks: Sequence[int], modes: Sequence[Mode], subspace_size: int | None, links: int = 1
) -> None:
    """Every rank and mode must be one that the layers can hold.

    Raises:
        InputError: a rank that :func:`check_rank` refuses, or a vector that is larger than the factors it fills.
    """
    check_rank(shapes, max(ranks), links)
    for mode in modes:
        MODES[mode].n_params(min(ranks), shapes.values(), subspace_size)


def stream_name(drawn: tuple[Factor, ...], module: str, factor: Factor) -> str:
    """What keys the random numbers of a factor: the name of its layer; where two are drawn, B has its own."""
    return f"{module}.{PEFT_NAMES[factor]}" if factor == "b" and len(drawn) > 1 else module


def new_adapter(
    shapes: Shapes,
    rank: int,
    mode: Mode,
    seed: int,
    law: Law,
    alpha_over_r: float,
    *,
    weights: SingularDirections | None = None,
    subspace_size: int | None = None,
    links: int = 1,
) -> Adapter:
    """An untrained adapter: what is drawn is filled, what is trained besides is 0, so the model starts as pre-trained.

    Which factor is drawn, the mode says (:mod:`lorabound.modes`): `A` in ``freeze_a`` and ``train_both`` (Hu et al.
    2022), `B` in ``freeze_b``, its mirror image (Zhu et al. 2024): the law of `A` applied to the transpose of `B`.
    ``core`` draws both, `A` as ``freeze_a`` does.

    Args:
        shapes: module name -> (d_out, d_in) of the layers to adapt.
        rank: r, from 1 to the smallest side of the smallest layer; with links, the rank of one of them.
        mode: name of a mode.
        seed: seed of the random factors.
        law: law of their entries, see :func:`random_factor`; or "svd", singular directions of the layer's weight. An
            adapter that starts at what rounding took away is made by :class:`lorabound.adapters.Residuals`.
        alpha_over_r: scale s.
        weights: singular directions of the frozen weights, for the law "svd" and for ``common``.
        subspace_size: p, the size of the vector that ``subspace`` trains.
        links: number of links T of a chain: the adapter has rank T r, its factors the law and the scale of rank r.
    Raises:
        InputError: an unknown mode, links, a rank or a size that do not fit, or no weights where they are read.
    """
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    check_links(links, mode)
    check_rank(shapes, rank, links)
    facts = MODES[mode]
    rank *= links

    def drawn(name: str, factor: Factor) -> Array:
        """(r, width)."""
        d_out, d_in = shapes[name]
        if not facts.common and law != OF_WEIGHTS:
            return random_factor(
                seed, stream_name(facts.drawn, name, factor), rank, d_in if factor == "a" else d_out, law, links
            )
        if weights is None:
            raise InputError(
                f"{f'mode {mode}' if facts.common else f'law {law}'} takes factors from the weights of the model, and "
                "no weights are given"
            )
        if factor == "a":
            return weights.right(name, rank)
        return weights.left([other for other in shapes if shapes[other][0] == d_out] if facts.common else [name], rank)

    if law not in LAWS:
        raise InputError(f"law must be one of {', '.join(LAWS)}, got {law!r}")
    layers = {}
    for name, (d_out, d_in) in shapes.items():
        b, a = np.zeros((d_out, rank), dtype=np.float32), np.zeros((rank, d_in), dtype=np.float32)
        if "a" in facts.drawn:
            a = drawn(name, "a")
        if "b" in facts.drawn:
            b = np.ascontiguousarray(drawn(name, "b").T)
        if "m" in facts.trained:
            layers[name] = Factors.with_core(a, b, np.zeros((rank, rank), dtype=np.float32), alpha_over_r)
        else:
            layers[name] = Factors(a=a, b=b, scale=alpha_over_r)
    theta = None
    if "theta" in facts.trained:
        theta = np.zeros(facts.n_params(rank, shapes.values(), subspace_size), dtype=np.float32)
    return Adapter(layers=layers, mode=mode, seed=seed, law=law, theta=theta, links=links)
