"""The spectra of an adapter in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from rich.text import Text

from lorabound.adapters.folder import Provenance
from lorabound.adapters.spectra import AdapterSpectra, LayerSpectrum
from lorabound.data import counted
from lorabound.notation import RESIDUAL_LAW
from lorabound.reports.sentences import mode_sentence
from lorabound.reports.show import Part, parts, table

_HEADS = (
    "<layer",
    "size\nof W",
    "r",
    "scale",
    "spectr.\nnorm",
    "Frob.\nnorm",
    "stable\nrank",
    "eff.\nrank",
    "||B||_F",
    "||A||_2",
)
_FOOT_FROM = 40  # rows beyond which the heads no longer stand on the screen when the table ends
_LEGEND = (
    "Of the update s B A: spectral norm = the most it lengthens an input; stable rank = (Frobenius / spectral norm)^2 "
    "and effective rank = exp(entropy of its singular values) count the directions it uses: far below r, rank is "
    "not used. s = scale; ||B||_F and ||A||_2 enter the bounds of freeze_a."
)


@parts.register
def _(spectra: AdapterSpectra, _: int) -> Iterator[Part]:
    """How much of its rank it uses; one row per layer, what the columns mean, and the totals."""
    layers = spectra.layers
    names, pattern = short_names([layer.name for layer in layers])
    shown = table(*_HEADS, footer=len(layers) > _FOOT_FROM)
    shown.columns[0].no_wrap = False
    for name, layer in zip(names, layers, strict=True):
        shown.add_row(name, *_cells(layer))
    yield Text(answer(spectra), style="bold")
    yield f"{spectra.path}: {counted(len(layers), 'linear layer')}" + (f", named {pattern}" if pattern else "")
    yield shown
    if recorded := spectra.recorded:
        yield " ".join(_trained(recorded))
    yield Text(_LEGEND, style="dim")
    if spectra.left_out:
        first = ", ".join(spectra.left_out[:2]) + (", ..." if len(spectra.left_out) > 2 else "")
        kinds = ", ".join(f"{count} x {kind}" for kind, count in spectra.left_out_kinds.items())
        yield Text(
            f"Left out, not a factor of a linear layer: {counted(len(spectra.left_out), 'tensor')}, {kinds} ({first})",
            style="dim",
        )
    b, a, largest = spectra.n_params_b, spectra.n_params_a, spectra.largest
    yield (
        f"{counted(len(layers), 'layer')}; {b + a:,} parameters: {b:,} in B, {a:,} in A; "
        f"largest spectral norm {_digits(largest.update.spectral_norm)} in {largest.name}"
    )


def _trained(recorded: Provenance) -> Iterator[str]:
    """What training did and on which model, as the adapter's folder records it."""
    on = f", on its model rounded to {recorded.base}" if recorded.base else ""
    yield f"Mode {recorded.mode}: {mode_sentence(recorded.mode, recorded.law)}{on}."
    if recorded.law == RESIDUAL_LAW:
        yield f"Law {RESIDUAL_LAW}: s B A holds its start, what rounding took, as well."
    if (links := recorded.links) > 1:
        yield (
            f"A chain of {links} links, trained and merged one after the other: each has 1/{links} of the rows of A "
            "and of the columns of B, in their order."
        )


def answer(spectra: AdapterSpectra) -> str:
    """How many of its directions the adapter uses, in the layer in the middle and at both ends."""
    layers = spectra.layers
    if not spectra.largest.update.spectral_norm:
        return "This adapter changes nothing: its update is 0 in every layer, as before training."
    used = [layer.update.effective_rank for layer in layers]
    ranks = sorted({layer.rank for layer in layers})
    of = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    if len(layers) == 1:
        return f"Of {of} this adapter uses about {used[0]:.1f} directions (effective rank)."
    return (
        f"Of {of} this adapter uses about {median(used):.1f} directions in the median layer, {min(used):.1f} to "
        f"{max(used):.1f} over all layers (effective rank)."
    )


def short_names(names: list[str]) -> tuple[list[str], str]:
    """Names without the parts that all of them share, and the pattern that tells those parts.

    >>> short_names(["h.0.attn.q", "h.1.attn.q", "h.1.attn.v"])
    (['0.q', '1.q', '1.v'], 'h.*.attn.*')
    """
    parts = [name.split(".") for name in names]
    shortest, even = min(map(len, parts)), len(set(map(len, parts))) == 1
    same = [i for i in range(shortest) if len({words[i] for words in parts}) == 1]
    if not even:  # only the beginnings can be compared
        same = [i for place, i in enumerate(same) if place == i]
    shared = set(same) - (set() if even and len(same) < shortest else {shortest - 1})
    if not shared:
        return names, ""
    short = [".".join(word for i, word in enumerate(words) if i not in shared) for words in parts]
    pattern = [word if i in shared else "*" for i, word in enumerate(parts[0])]
    return short, ".".join(pattern if even else [*pattern[: len(shared)], "*"])


def _cells(layer: LayerSpectrum) -> list[str]:
    update = layer.update
    return [
        f"{layer.d_out}x{layer.d_in}",
        str(layer.rank),
        f"{layer.scale:.4g}",
        _digits(update.spectral_norm),
        _digits(update.frobenius_norm),
        _digits(update.stable_rank, 3),
        _digits(update.effective_rank, 3),
        _digits(layer.b.frobenius_norm),
        _digits(layer.a.spectral_norm),
    ]


def _digits(value: float, count: int = 4) -> str:
    """That many, trailing zeros too, so that columns align."""
    return f"{value:#.{count}g}".rstrip(".") if value else "0"
