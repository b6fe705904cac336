"""The spectra of a whole adapter folder, read one layer at a time."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lorabound.adapters.folder import Provenance, provenance_of
from lorabound.adapters.peft_folder import open_adapter
from lorabound.adapters.spectrum import Spectrum, core_spectrum, matrix_spectrum, triangle


@dataclass(frozen=True, kw_only=True)
class LayerSpectrum:
    """One adapted layer: W x + s B A x.

    Attributes:
        name: PEFT's name of the module.
        d_out: number of outputs; B is (d_out, r).
        d_in: number of inputs; A is (r, d_in).
        rank: rank r of the factors.
        scale: scale s.
        update: spectrum of s B A.
        b: spectrum of B, without the scale. The bounds of ``freeze_a`` use ||B||_F, those of ``freeze_b`` ||B||_2.
        a: spectrum of A. The bounds of ``freeze_a`` use ||A||_2, those of ``freeze_b`` ||A||_F.
    """

    name: str
    d_out: int
    d_in: int
    rank: int
    scale: float
    update: Spectrum
    b: Spectrum
    a: Spectrum


@dataclass(frozen=True, kw_only=True)
class AdapterSpectra:
    """Every layer of an adapter, in the order of the model (numbers in names as numbers).

    Attributes:
        path: folder or file that was inspected.
        layers: one entry per linear layer.
        left_out: names of the tensors that are no factors of a linear layer (biases, trained heads, embeddings,
            convolutions).
        left_out_kinds: kind of such tensors, in words -> how many there are.
        recorded: what its folder records of its training; None for an adapter of others.
    """

    path: Path
    layers: tuple[LayerSpectrum, ...]
    left_out: tuple[str, ...]
    left_out_kinds: dict[str, int]
    recorded: Provenance | None = None

    @property
    def n_params_b(self) -> int:
        """Entries of all B together."""
        return sum(layer.d_out * layer.rank for layer in self.layers)

    @property
    def n_params_a(self) -> int:
        """Entries of all A together."""
        return sum(layer.rank * layer.d_in for layer in self.layers)

    def __repr__(self) -> str:
        """Size and largest norm; ``lorabound.show`` and :meth:`frame` say the rest."""
        layers = "1 layer" if len(self.layers) == 1 else f"{len(self.layers)} layers"
        return (
            f"AdapterSpectra: {str(self.path)!r}, {layers}, {self.n_params_b + self.n_params_a:,} parameters, "
            f"largest spectral norm {self.largest.update.spectral_norm:.4g} in {self.largest.name}"
        )

    def frame(self) -> pl.DataFrame:
        """One row per layer, with every digit: sizes, scale, the spectrum of s B A, both norms of both factors."""
        return pl.DataFrame(
            [
                {
                    "layer": layer.name,
                    "d_out": layer.d_out,
                    "d_in": layer.d_in,
                    "rank": layer.rank,
                    "scale": layer.scale,
                    "spectral_norm": layer.update.spectral_norm,
                    "frobenius_norm": layer.update.frobenius_norm,
                    "stable_rank": layer.update.stable_rank,
                    "effective_rank": layer.update.effective_rank,
                    "b_spectral_norm": layer.b.spectral_norm,
                    "b_frobenius_norm": layer.b.frobenius_norm,
                    "a_spectral_norm": layer.a.spectral_norm,
                    "a_frobenius_norm": layer.a.frobenius_norm,
                }
                for layer in self.layers
            ]
        )

    @property
    def largest(self) -> LayerSpectrum:
        """The layer whose update has the largest spectral norm."""
        return max(self.layers, key=lambda layer: layer.update.spectral_norm)


def inspect_adapter(path: str | os.PathLike[str]) -> AdapterSpectra:
    """The spectra of every layer of a PEFT LoRA adapter, ours or anybody's, in float16, bfloat16, float32 or float64.

    One pair of factors is in memory at a time. :func:`product_spectrum` says how accurate the values are.

    Args:
        path: folder of the adapter, or its safetensors file with ``adapter_config.json`` beside it.
    Raises:
        AdapterError: what cannot be read, or is no plain LoRA (see :func:`lorabound.adapters.open_adapter`).

    >>> import lorabound as lb
    >>> from lorabound.adapters import new_adapter
    >>> adapter = new_adapter({"fc": (6, 4)}, 2, "freeze_a", seed=0, law="gaussian", alpha_over_r=2.0)
    >>> lb.inspect_adapter(lb.save_adapter(adapter, "my-adapter"))
    AdapterSpectra: 'my-adapter', 1 layer, 20 parameters, largest spectral norm 0 in fc
    """
    source = open_adapter(path)
    layers = []
    for name, b, a, scale in source.factors():
        r_b, r_a = triangle(b.astype(np.float64)), triangle(a.T.astype(np.float64))
        layers.append(
            LayerSpectrum(
                name=name,
                d_out=b.shape[0],
                d_in=a.shape[1],
                rank=a.shape[0],
                scale=scale,
                update=core_spectrum(r_b, r_a, scale),
                b=matrix_spectrum(r_b),
                a=matrix_spectrum(r_a),
            )
        )
    layers.sort(key=lambda layer: natural_order(layer.name))
    left_out, kinds = tuple(tensor.key for tensor in source.others), Counter(tensor.kind for tensor in source.others)
    return AdapterSpectra(
        path=Path(path),
        layers=tuple(layers),
        left_out=left_out,
        left_out_kinds=dict(kinds),
        recorded=provenance_of(path),
    )


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key under which layer 2 comes before layer 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
