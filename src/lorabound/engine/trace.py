"""What a tower of the model has done before an adapter can change anything, and which of it anything later needs.

One traced pass finds the modules that are done by then; one more finds, by their gradients, whose outputs still matter.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from lorabound.engine.layout import Layout, cut, first_tokens, layout, n_tokens
from lorabound.errors import InputError
from lorabound.models import Inputs, Tower

# A pass of one tower; the class prompts always go in whole.
Forward = Callable[[Inputs, Int[np.ndarray, " rows"]], Tensor]


@dataclass(frozen=True)
class Output:
    """What a module returns: one tensor, (rows, tokens, width) or (rows, width), alone or first in a tuple of Nones."""

    width: int
    dtype: torch.dtype
    device: torch.device
    n_nones: int | None
    of_rows: bool

    def n_bytes(self, inputs: Inputs) -> int:
        """Bytes that the outputs of all rows of ``inputs`` take."""
        entries = len(inputs) if self.of_rows else n_tokens(inputs)
        return entries * self.width * self.dtype.itemsize

    def rebuild(self, stored: Tensor | None, rows: Layout) -> Any:
        """The output for these rows, zero beyond a row's end, and all zero where nothing later needs it."""
        shape = rows.shape[:1] if self.of_rows else rows.shape
        if stored is None:
            value = torch.zeros(*shape, self.width, dtype=self.dtype, device=self.device)
        else:
            number = torch.from_numpy(rows.index if self.of_rows else rows.token.reshape(-1))
            value = stored.index_select(0, number.to(stored.device)).view(*shape, self.width).to(self.device)
            if rows.beyond is not None and not self.of_rows:
                value[rows.beyond.to(self.device)] = 0
        return value if self.n_nones is None else (value, *[None] * self.n_nones)


@dataclass
class TracedTower:
    """A tower: the modules that may step aside with their outputs, and those whose output is needed later.

    ``all_at_once``: its rows go in together, as class prompts do.
    """

    module: nn.Module
    all_at_once: bool
    outputs: dict[str, Output]
    needed: list[str]

    def n_bytes(self, inputs: Inputs) -> int:
        """Bytes that the outputs of the needed modules take, for all rows of ``inputs``."""
        return sum(self.outputs[name].n_bytes(inputs) for name in self.needed)

    def leave_out(self, names: Sequence[str]) -> None:
        """Store nothing of the modules with these names."""
        self.outputs = {name: output for name, output in self.outputs.items() if name not in names}
        self.needed = [name for name in self.needed if name not in names]

    @torch.no_grad()
    def store(self, run: Forward, inputs: Inputs, folder: str | Path | None) -> dict[str, Tensor]:
        """The outputs of the needed modules for every row, by name: (tokens, width) or (rows, width)."""
        values = {name: _empty(self.outputs[name], inputs, folder) for name in self.needed}
        if not self.needed:
            return values
        order = np.argsort(inputs.lengths, kind="stable")
        cuts = [np.arange(len(inputs))] if self.all_at_once else [order[part] for part in cut(inputs, order[None])]
        starts = first_tokens(inputs)
        for index in cuts:
            rows = layout(inputs, index, starts=starts)
            token = torch.from_numpy(rows.token)
            real = torch.ones(rows.shape, dtype=torch.bool) if rows.beyond is None else ~rows.beyond
            for name, value in self._outputs_of(run, inputs, index).items():
                if self.outputs[name].of_rows:
                    values[name][torch.from_numpy(index)] = value.to(values[name].device)
                else:
                    values[name][token[real]] = value[real.to(value.device)].to(values[name].device)
        return values

    def _outputs_of(self, run: Forward, inputs: Inputs, index: Int[np.ndarray, " rows"]) -> dict[str, Tensor]:
        """Outputs of the needed modules for the rows ``index``; the model stops at the last of them."""
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
                found[name] = output[0] if isinstance(output, tuple) else output
                if len(found) == len(self.needed):
                    raise _Enough

            return hook

        hooks = [self.module.get_submodule(name).register_forward_hook(keep(name)) for name in self.needed]
        try:
            run(inputs, index)
        except _Enough:
            pass
        finally:
            for handle in hooks:
                handle.remove()
        return found


class _Enough(Exception):
    """Every output that was asked for is there; the rest of the model need not run."""


def _empty(output: Output, inputs: Inputs, folder: str | Path | None) -> Tensor:
    shape = len(inputs) if output.of_rows else n_tokens(inputs), output.width
    if folder is None:
        return torch.empty(shape, dtype=output.dtype, device=output.device)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".prefix-", suffix=".tmp") as file:  # gone when unmapped
        size = output.n_bytes(inputs)
        try:  # a mapped file without its blocks would end the process where the disk is full
            getattr(os, "posix_fallocate", lambda *_: None)(file.fileno(), 0, size)  # not on macOS
        except OSError as error:
            raise InputError(
                f"{folder} has no room for {size / 2**30:.2f} GiB of stored activations ({error.strerror}): make room "
                "there, or raise --memory"
            ) from None
        mapped = torch.from_file(file.name, shared=True, size=shape[0] * shape[1], dtype=output.dtype)
    return mapped.view(shape)


def trace_tower(
    module: nn.Module, tower: Tower, adapted: Sequence[str], run: Forward, inputs: Inputs, all_at_once: bool
) -> TracedTower:
    """Two passes of a tower: what is done before an adapter matters, and which of it anything later needs."""
    row = int(np.argmax(inputs.lengths))
    index = np.full(2 if inputs.lengths[row] != 2 else 3, row)  # the two axes cannot be confused
    names = [name for name, _ in module.named_modules() if name and any(_inside(name, top) for top in tower)]
    calls, done, first, n_rows = _trace(module, names, adapted, lambda: run(inputs, index))
    shape = layout(inputs, index).shape if not all_at_once else (n_rows, int(inputs.lengths.max()))
    outputs: dict[str, Output] = {}
    for name in sorted(done, key=lambda name: name.count(".")):  # a module before its parts
        described = _describe(done[name], shape, name in tower)
        part = any(_inside(name, other) for other in outputs)
        if calls[name] == 1 and described and not part and (name not in adapted or name in first):
            outputs[name] = described
    needed = _needed(module, [name for name in outputs if name not in first], lambda: run(inputs, index))
    return TracedTower(module, all_at_once, outputs, [name for name in outputs if name in needed | first])


def _inside(name: str, other: str) -> bool:
    """Whether a module is another one or a part of it; everything is a part of the whole model, ""."""
    return not other or name == other or name.startswith(f"{other}.")


def _describe(output: Any, shape: tuple[int, int], whole_tower: bool) -> Output | None:
    """What can be stored of an output; None if it is nothing of these rows alone.

    A tensor without an axis of tokens counts only at the end of a tower: inside it may be anything.
    """
    rest = output[1:] if isinstance(output, tuple) else ()
    value = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(value, Tensor) or not value.is_floating_point() or any(part is not None for part in rest):
        return None
    of_rows = value.ndim == 2 and value.shape[0] == shape[0] and whole_tower
    if not of_rows and (value.ndim != 3 or tuple(value.shape[:2]) != shape):
        return None
    return Output(value.shape[-1], value.dtype, value.device, len(rest) if isinstance(output, tuple) else None, of_rows)


@torch.no_grad()
def _trace(
    module: nn.Module, names: Sequence[str], adapted: Sequence[str], run: Callable[[], Tensor]
) -> tuple[dict[str, int], dict[str, Any], set[str], int]:
    """Calls of every named module; outputs of those done before an adapter matters; adapted layers with a frozen
    input; rows of the pass."""
    calls: dict[str, int] = {}
    done: dict[str, Any] = {}
    first: set[str] = set()
    frozen_input: Tensor | None = None

    def entering(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            nonlocal frozen_input
            calls[name] = calls.get(name, 0) + 1
            if name in adapted and frozen_input is None:
                frozen_input = args[0]
            if name in adapted and args[0] is frozen_input:
                first.add(name)

        return hook

    def leaving(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            if frozen_input is None or name in first:
                done[name] = output

        return hook

    hooks = []
    for name in names:
        part = module.get_submodule(name)
        hooks += [part.register_forward_pre_hook(entering(name)), part.register_forward_hook(leaving(name))]
    try:
        result = run()
    finally:
        for handle in hooks:
            handle.remove()
    return calls, done, first, result.shape[-2]


def _needed(module: nn.Module, names: Sequence[str], run: Callable[[], Tensor]) -> set[str]:
    """Those of the named modules whose output reaches the result other than through another one of them."""
    leaves: dict[str, Tensor] = {}

    def replacing(name: str) -> Callable[..., Any]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            leaves[name] = value.detach().clone().requires_grad_()
            passed = leaves[name].clone()  # a model may write into it
            return (passed, *output[1:]) if isinstance(output, tuple) else passed

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(replacing(name)) for name in names]
    try:
        with torch.enable_grad():
            total = run().sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if leaves else ()
    finally:
        for handle in hooks:
            handle.remove()
    return {name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
