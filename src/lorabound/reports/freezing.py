"""What a rank and a frozen factor keep of a full fine-tune, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from lorabound.data import counted
from lorabound.modes import MODES
from lorabound.reports.show import Part, parts, table
from lorabound.reports.spectra import short_names
from lorabound.updates.costs import SHARES, FreezingCosts, Rule

_FOOT_FROM = 40  # rows beyond which the heads no longer stand on the screen when the table ends
_LEGEND = (
    "E = weight of the checkpoint - weight of the base, ||E||^2 = sum of its squared entries, share = its part of all "
    "rows. Kept: 1 - ||E - B A||^2 / ||E||^2 for the nearest B A: free = both factors are chosen for it; drawn = that "
    "factor is random and frozen, on average. r for 90% = rank at which free factors keep 90%."
)
_CAVEAT = (
    "This compares weights, not quality: an adapter that keeps little of E may have learned the task as well, by "
    "another update. Errors on data tell (lorabound recommend)."
)
# Share of the change above which rounding of the checkpoint is told.
_ROUNDING = 0.01


_DRAWN: dict[Rule, str] = {"frozen_a": "A", "frozen_b": "B"}


@parts.register
def _(costs: FreezingCosts, _: int) -> Iterator[Part]:
    """What is kept in all, one row per layer, what was left out and what the numbers cannot tell."""
    yield from (Text(sentence, style="bold") for sentence in _answer(costs))
    names, pattern = short_names([layer.name for layer in costs.layers])
    if pattern:
        yield f"Layers are named {pattern}"
    yield _table(costs, names)
    yield Text(_LEGEND, style="dim")
    yield Text(_CAVEAT, style="dim")
    share = _percent(costs.energy / (costs.energy + costs.other_energy))
    of = f"{len(costs.layers)} of {counted(costs.n_linear, 'linear layer')}"
    yield f"Compared: {of}, with {share} of what changed in those; embeddings, norms, biases and heads were left out"
    if costs.rounding > _ROUNDING * costs.energy:
        noise = _percent(min(costs.rounding / costs.energy, 1.0))
        yield Text(
            f"The checkpoint is stored in 16 bits: about {noise} of what differs may be rounding, which no low rank "
            "keeps: compare the weights before they were rounded, or read the table with that in mind",
            style="yellow",
        )


def _answer(costs: FreezingCosts) -> Iterator[str]:
    changed = f"what full fine-tuning changed in {counted(len(costs.layers), 'layer')}"
    for i, rank in enumerate(costs.ranks or (None,)):
        at = f"At rank {rank}" if rank else "At the ranks of its layers"
        mean = " and ".join(f"a random frozen {name} {_percent(costs.kept(rule, i))}" for rule, name in _DRAWN.items())
        yield f"{at} free factors keep at most {_percent(costs.kept('free', i))} of {changed}; {mean}, on average"
        changed = "it"
    if costs.adapter is None:
        return
    said, own = [], costs.kept("trained")
    if frozen := _frozen(costs):
        said.append(f"with its frozen {frozen} it can keep {_percent(costs.kept('realized'))}")
    said.append(
        f"as it was trained it keeps {_percent(own)}"
        if own >= 0
        else "as it was trained it is farther from the checkpoint than the base is: it learned another update"
    )
    yield f"{costs.adapter}{f' ({costs.mode})' if costs.mode else ''}: {'; '.join(said)}"


def _frozen(costs: FreezingCosts) -> str:
    """Name of the frozen factors of the adapter, where what they can keep was measured."""
    measured = costs.mode and all(layer.price.realized is not None for layer in costs.layers)
    return " and ".join(sorted(MODES[costs.mode].frozen)).upper() if costs.mode and measured else ""


def _table(costs: FreezingCosts, names: list[str]) -> Part:
    columns: list[tuple[str, Rule, int]]
    if costs.adapter is None:
        columns = [(f"free\nr={rank}", "free", i) for i, rank in enumerate(costs.ranks)]
    else:
        drawn: Rule = "frozen_b" if _frozen(costs) == "B" else "frozen_a"
        columns = [("free", "free", 0), (f"{_DRAWN[drawn]}\ndrawn", drawn, 0)]
        columns += [(f"this\n{_frozen(costs)}", "realized", 0)] if _frozen(costs) else []
        columns += [("as\ntrained", "trained", 0)]
    rank = [] if costs.ranks else ["r"]  # said above where all layers have one
    shares = [f"r for\n{share:.0%}" for share in SHARES]
    heads = ("<layer", "size\nof W", "||E||^2", "share", *rank, *(head for head, _, _ in columns), *shares)
    shown = table(*heads, footer=len(names) > _FOOT_FROM)
    shown.columns[0].no_wrap = False
    for name, layer in zip(names, costs.layers, strict=True):
        energy = layer.price.energy
        shown.add_row(
            name,
            f"{layer.d_out}x{layer.d_in}",
            f"{energy:.3g}",
            _percent(energy / costs.energy),
            *(str(layer.ranks[0]) for _ in rank),
            *(_percent(1 - layer.error(rule, i) / energy) if energy else "-" for _, rule, i in columns),
            *(str(layer.price.rank_for(share)) if energy else "-" for share in SHARES),
        )
    return shown


def _percent(share: float) -> str:
    """Two digits that count, and two behind the point near all of it: 0.31%, 7.1%, 71%, 99.97%."""
    percent = 100 * share
    if 99 <= percent < 99.9995:
        return f"{min(percent, 99.99):.2f}%"
    if abs(percent) < 5e-4:
        return "0%"
    return f"{percent:.0f}%" if abs(percent) >= 9.95 else f"{percent:#.2g}%"
