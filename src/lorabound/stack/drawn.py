"""Adapters whose entries are drawn at random, anew for every row of a batch.

Rows of one draw are the tokens of one example, and the class prompts that it is compared with: they share their
weights, and no two examples do. The frozen product is computed once for all rows, as in :mod:`lorabound.stack.layers`:

    y[i] = W x[i] + bias + s B_i A_i x[i],   B_i = mean + spread * noise_i,   x (n, rows, d_in), i = 1..n draws.

Where B = B_0 M it is M that is drawn; where one vector fills all B's, it is drawn once for all layers.
A factor without spread is the same in all draws. What is drawn stays float32 whatever the number format of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lorabound.adapters.adapter import Adapter, Factors, Head
from lorabound.adapters.entries import THETA, entry_name
from lorabound.adapters.subspace import Copies
from lorabound.errors import AdapterError
from lorabound.stack.stacked import Stack, set_stacked

# Name of an entry (a factor or a part of a head) -> standard deviation of its noise, of the shape of the entry.
Spreads = Mapping[str, Tensor]


class _Drawn(nn.Module):
    """Parts of a layer that are drawn: their means, their spreads, and what was drawn last."""

    def __init__(self, means: Mapping[str, Tensor], name: str, spreads: Spreads) -> None:
        super().__init__()
        self.means = dict(means)
        self.spreads = {part: spreads[key] for part in means if (key := entry_name(name, part)) in spreads}
        self.drawn: dict[str, Tensor] = {}
        self.n = 0

    def draw(self, n: int, generator: torch.Generator | None) -> None:
        """Draw n versions of every part that has a spread."""
        self.n = n
        for part, spread in self.spreads.items():
            noise = torch.randn(n, *spread.shape, generator=generator).to(spread.device)
            self.drawn[part] = torch.addcmul(self.means[part], spread, noise)


class DrawnVector(_Drawn):
    """A vector that fills the factors B of all layers, drawn anew for each of n groups of rows."""

    def __init__(self, mean: Tensor, spreads: Spreads) -> None:
        super().__init__({THETA: mean}, "", spreads)

    @property
    def value(self) -> Float[Tensor, "n p"]:
        """The vector of every draw."""
        return self.drawn.get(THETA, self.means[THETA].expand(self.n, -1))


class DrawnLinear(_Drawn):
    """A frozen ``nn.Linear`` with an adapter that is drawn anew for each of n groups of rows.

    Args:
        filled: the vector that fills B, and where its entries go; None where B has entries of its own.
    """

    def __init__(
        self,
        base: nn.Linear,
        name: str,
        means: Mapping[str, Tensor],
        scale: float,
        spreads: Spreads,
        filled: tuple[DrawnVector, Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(means, name, spreads)
        self._filled = filled
        self.base, self.scale = base, scale
        self.batch_rows = 0  # rows of the model's current batch, set by the DrawnStack

    def draw(self, n: int, generator: torch.Generator | None) -> None:
        """Draw n versions of every part that has a spread, or take B from the vector that was drawn."""
        super().draw(n, generator)
        if self._filled is not None:
            vector, index, weight = self._filled
            self.drawn["b"] = vector.value[:, index] * weight

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """W x + s B_i A_i x for the rows of each draw i."""
        if len(x) != self.batch_rows or len(x) % self.n:
            raise AdapterError(
                f"an adapted layer sees {len(x)} rows of a batch of {self.batch_rows}: its input is not one row per "
                "example (DeBERTa's relative positions are such a case): choose other targets or another encoder"
            )
        frozen: Tensor = self.base(x)
        value = x.reshape(self.n, -1, x.shape[-1]).float()
        for part in ("a", "m", "b"):
            if part not in self.means:
                continue
            drawn = self.drawn.get(part)
            value = F.linear(value, self.means[part]) if drawn is None else torch.bmm(value, drawn.mT)
        return (frozen.float() + self.scale * value.view(frozen.shape)).to(frozen.dtype)


class DrawnHead(_Drawn):
    """A classification layer that is drawn anew for each of n groups of rows; float32."""

    def __init__(self, base: nn.Linear, name: str, means: Mapping[str, Tensor], spreads: Spreads) -> None:
        super().__init__(means, name, spreads)
        self.base = base

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows classes"]:
        """The scores of each draw for its rows."""
        grouped = x.float().reshape(self.n, -1, x.shape[-1])
        same = {part: mean.expand(self.n, *mean.shape) for part, mean in self.means.items()}
        weight, bias = (self.drawn.get(part, same[part]) for part in ("weight", "bias"))
        return torch.baddbmm(bias[:, None], grouped, weight.mT).view(*x.shape[:-1], -1)


class DrawnStack(Stack):
    """An adapter with random entries attached to a model inside a ``with`` block; the block's end restores the model.

    Call :meth:`draw` before every pass: the pass then holds n examples, each with weights of its own.

    Args:
        model: model that holds every layer the adapter names.
        adapter: scales, and the entries that ``means`` does not hold.
        means: entry name -> tensor that takes the place of the adapter's entry.
        spreads: entry name -> standard deviation. Gradients reach means and spreads.
        towers: as for :class:`Stack`.
    Raises:
        AdapterError: a layer that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        means: Mapping[str, Tensor],
        spreads: Spreads,
        towers: Sequence[tuple[str, ...]] = (("",),),
    ) -> None:
        super().__init__(model, [adapter], towers)

        self.random: list[_Drawn] = []
        copies = adapter.copies()
        if adapter.theta is not None:
            mean = means.get(THETA, torch.from_numpy(adapter.theta).to(next(model.parameters()).device))
            vector = DrawnVector(mean, spreads)
            self.random.append(vector)
        for name, factors in adapter.layers.items():
            base = self.layers[name].base
            own = _means(name, factors, ("b", "a") if factors.m is None else ("m", "a"), means, base.weight)
            if factors.basis is not None:
                own["b"] = torch.from_numpy(factors.basis).to(base.weight.device)
            filled = (vector, *_on(base.weight, copies[name])) if name in copies else None
            self.random.append(DrawnLinear(base, name, own, factors.scale, spreads, filled))
            self.layers[name] = self.random[-1]  # type: ignore[assignment]
        if self.head and adapter.head:
            base = self.head.base
            own = _means(adapter.head.name, adapter.head, ("weight", "bias"), means, base.weight)
            self.random.append(DrawnHead(base, adapter.head.name, own, spreads))
            self.head = self.random[-1]  # type: ignore[assignment]

    def __enter__(self) -> DrawnStack:
        super().__enter__()
        return self

    def draw(self, n: int, generator: torch.Generator | None = None) -> None:
        """Draw weights for each of the n examples of the next pass."""
        set_stacked(n)
        for module in self.random:
            module.draw(n, generator)


def _on(like: Tensor, copies: Copies) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(copies.index).to(like.device), torch.from_numpy(copies.weight).to(like.device)


def _means(
    name: str, source: Factors | Head, parts: Sequence[str], means: Mapping[str, Tensor], like: Tensor
) -> dict[str, Tensor]:
    """Means of the parts of a layer: the given ones, the adapter's for the others."""
    own = {part: torch.from_numpy(getattr(source, part)).to(like.device) for part in parts}
    return {part: means.get(entry_name(name, part), value) for part, value in own.items()}
