"""Chains: links of rank r that are trained and merged one after the other, as one adapter of rank T r.

A link that is trained stays in the product B A and moves no more, which is what merging it into W means; the links
after it have B = 0 (or A = 0, where B is frozen) and add nothing yet. Hence a chain is an adapter of rank T r of which
a step moves r columns of B, r rows of A, or both.
Source: Malinovsky et al. 2024 (RAC-LoRA; COLA where both factors are trained); the reduction to one adapter is ours.
"""

from __future__ import annotations

import torch

from lorabound.errors import InputError
from lorabound.stack import Stack


class Chain:
    """Which link of each adapter of a stack a step trains. The steps of a run are divided evenly among its links.

    Attributes:
        starts: numbers of the first step of each link; step ``starts[m]`` is that of link m, from 0.
    """

    def __init__(self, stack: Stack, total: int) -> None:
        """Take the links of the adapters, of which all must have equally many.

        Args:
            total: number of steps of the run.
        Raises:
            InputError: adapters with different numbers of links, or fewer steps than links.
        """
        counts = {adapter.links for adapter in stack.adapters}
        if len(counts) != 1:
            raise InputError(f"adapters that train together must be chains of equally many links, got {sorted(counts)}")
        (links,) = counts
        if total < links:
            raise InputError(
                f"links {links} need a step each, and training has {total} steps in all: give more epochs, more "
                "training examples or fewer links"
            )
        self._stack, self._total, self._link = stack, total, 0
        self.starts = [link * total // links for link in range(links)]
        self._moving: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        self._begin(0)

    @property
    def is_one(self) -> bool:
        """Whether there is one link only, which has all ranks."""
        return len(self.starts) == 1

    def reach(self, done: int) -> bool:
        """Whether a link begins after so many steps; it is the one to train from now on."""
        if done not in self.starts:
            return False
        self._begin(self.starts.index(done))
        return True

    def progress(self, done: int) -> float:
        """Share of the steps of the present link that are done, in [0, 1)."""
        first, end = (*self.starts, self._total)[self._link : self._link + 2]
        return (done - first) / (end - first)

    def mask_gradients(self) -> None:
        """Set what belongs to other links to 0, so that it counts in no norm."""
        for parameter, mask in self._moving:
            if parameter.grad is not None:
                parameter.grad *= mask

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step that leaves all other links as they are, weight decay or not."""
        before = [parameter.detach().clone() for parameter, _ in self._moving]
        optimizer.step()
        with torch.no_grad():
            for (parameter, mask), old in zip(self._moving, before, strict=True):
                parameter.copy_(torch.where(mask, parameter, old))

    def _begin(self, link: int) -> None:
        self._link = link
        if self.is_one:
            return
        self._moving = []
        for name, layer in self._stack.layers.items():
            ranks = [adapter.layers[name].rank // adapter.links for adapter in self._stack.adapters]
            of_one = torch.tensor(ranks, device=layer.scale.device)
            pairs = layer.ranks_between(link * of_one, (link + 1) * of_one)
            self._moving += [(parameter, mask) for parameter, mask in pairs if parameter.numel()]
