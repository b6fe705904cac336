"""Nothing below the first adapted layer is computed twice.

What the model does before an adapter can change anything depends on the example alone. One traced pass finds the
modules that are done by then, the frozen products of the first adapted layer among them; one more pass finds, by
their gradients, which of their outputs anything later still needs. Those outputs are computed once an example and
kept, in memory or in a file mapped into it; the modules step aside and hand them out. Backward stops there as well,
since a stored output needs no gradient.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.engine.batches import passes
from lorabound.errors import InputError
from lorabound.models import TokenizedTexts


@runtime_checkable
class Classifier(Protocol):
    """What the engine asks of a model: adapters attach to ``module``, examples go in as rows of ``inputs``.

    ``twin`` is the same classifier on a copy of the module that shares its weights.
    """

    @property
    def module(self) -> nn.Module: ...

    def logits(self, inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows classes"]: ...

    def twin(self) -> Classifier: ...


class WithPrefix:
    """A classifier whose frozen prefix is stored for some inputs; it takes no others.

    Use as a context manager: the model is changed meanwhile and put back at the end.

    Attributes:
        names: the modules whose outputs are stored.
        n_bytes: size of what is stored.
        on_disk: whether it lies in a file.
    """

    def __init__(
        self,
        classifier: Classifier,
        adapted: Sequence[str],
        inputs: Sequence[TokenizedTexts],
        room: float = float("inf"),
        folder: str | Path | None = None,
    ) -> None:
        """Trace the model and store the prefix of every row of ``inputs``.

        Args:
            adapted: names of the linear layers that adapters will change.
            room: bytes of memory it may take. Beyond them only the outputs that are not products of an adapted
                layer are kept, and if these are still too many they go to a file in ``folder``.
        """
        self.interrupted = False  # set from another thread: the next pass raises KeyboardInterrupt
        self._classifier = classifier
        self._stored: dict[TokenizedTexts, _Stored] = {}
        done, self.names = _prefix(classifier, adapted, inputs[0])
        n_tokens = [int(i.lengths.sum()) for i in inputs]
        size = sum(n_tokens) * sum(done[name].bytes_per_token for name in self.names)
        if size > room:
            products = set(self.names) & set(adapted)
            self.names = [name for name in self.names if name not in products]
            done = {name: output for name, output in done.items() if name not in products}
            size = sum(n_tokens) * sum(done[name].bytes_per_token for name in self.names)
        self.n_bytes, self.on_disk = size, size > room
        for texts, n in zip(inputs, n_tokens, strict=True):
            where = folder if self.on_disk else None
            store = {name: _empty(n, done[name], where) for name in self.names}
            self._stored[texts] = _Stored(np.cumsum(texts.lengths) - texts.lengths, store)
            self._compute(texts)
        self._outputs = done

    def twin(self) -> WithPrefix:
        """The same stored prefix on a copy of the model that shares its weights: for another thread."""
        twin = copy.copy(self)
        twin._classifier = self._classifier.twin()
        return twin

    @property
    def module(self) -> nn.Module:
        return self._classifier.module

    def __enter__(self) -> WithPrefix:
        self._replaced = {name: self.module.get_submodule(name) for name in self._outputs}
        self._stubs = {
            name: _ReplayLinear(module) if isinstance(module, nn.Linear) else _ReplayModule(module)
            for name, module in self._replaced.items()
        }
        for name, stub in self._stubs.items():
            self.module.set_submodule(name, stub)
        return self

    def __exit__(self, *_: object) -> None:
        for name, module in self._replaced.items():
            self.module.set_submodule(name, module)

    def logits(self, inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows classes"]:
        """Class scores of the rows ``index``, their prefix looked up."""
        if self.interrupted:
            raise KeyboardInterrupt
        stored = self._stored[inputs]
        lengths = inputs.lengths[index]
        width = int(lengths.max())
        token = stored.starts[index][:, None] + np.minimum(np.arange(width), lengths[:, None] - 1)
        flat = torch.from_numpy(token.reshape(-1))
        beyond = torch.from_numpy(np.arange(width) >= lengths[:, None]) if lengths.min() < width else None
        for name, stub in self._stubs.items():
            stub.rows = self._outputs[name].rebuild(stored.values.get(name), flat, (len(index), width), beyond)
        return self._classifier.logits(inputs, index)

    @torch.no_grad()
    def _compute(self, inputs: TokenizedTexts) -> None:
        stored = self._stored[inputs]
        order = np.argsort(inputs.lengths, kind="stable")
        for cut in passes(inputs.lengths[order]):
            index = order[cut]
            lengths = inputs.lengths[index]
            real = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
            token = torch.from_numpy((stored.starts[index][:, None] + np.arange(lengths.max()))[real.numpy()])
            for name, value in _outputs(self._classifier, self.names, inputs, index).items():
                stored.values[name][token] = value[real.to(value.device)].to(stored.values[name].device)


@dataclass(frozen=True)
class _Output:
    """What a module returns: one tensor (rows, tokens, width), alone or first in a tuple of Nones."""

    width: int
    dtype: torch.dtype
    device: torch.device
    n_nones: int | None

    @property
    def bytes_per_token(self) -> int:
        return self.width * self.dtype.itemsize

    def rebuild(self, stored: Tensor | None, token: Tensor, shape: tuple[int, int], beyond: Tensor | None) -> Any:
        """The output for these tokens, zero ``beyond`` a row's end, and all zero where nothing later needs it."""
        if stored is None:
            value = torch.zeros(*shape, self.width, dtype=self.dtype, device=self.device)
        else:
            value = stored.index_select(0, token.to(stored.device)).view(*shape, self.width).to(self.device)
            if beyond is not None:
                value[beyond.to(self.device)] = 0
        return value if self.n_nones is None else (value, *[None] * self.n_nones)


@dataclass(frozen=True)
class _Stored:
    """First token of every row, and for every stored module the outputs of all tokens, (tokens, width)."""

    starts: Int[np.ndarray, " n"]
    values: dict[str, Tensor]


class _Replay(nn.Module):
    """Stands in for a module: returns what it is given."""

    rows: Any = None

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.rows


class _ReplayModule(_Replay):
    """Keeps attributes that a model reads from its parts, such as a layer's kind, within reach."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = original  # not registered: names of the skipped modules are gone meanwhile

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["original"], name)


class _ReplayLinear(_Replay, nn.Linear):
    """Still a linear layer with its weight, so that a stack of adapters can be attached to it."""

    def __init__(self, original: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = original.in_features, original.out_features
        self.weight, self.bias = original.weight, original.bias


def _empty(n_tokens: int, output: _Output, folder: str | Path | None) -> Tensor:
    if folder is None:
        return torch.empty(n_tokens, output.width, dtype=output.dtype, device=output.device)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".prefix-", suffix=".tmp") as file:  # gone when unmapped
        size = n_tokens * output.bytes_per_token
        try:  # a mapped file without its blocks would end the process where the disk is full
            getattr(os, "posix_fallocate", lambda *_: None)(file.fileno(), 0, size)  # not on macOS
        except OSError as error:
            raise InputError(
                f"{folder} has no room for {size / 2**30:.2f} GiB of stored activations ({error.strerror}): make room "
                "there, or raise --memory"
            ) from None
        mapped = torch.from_file(file.name, shared=True, size=n_tokens * output.width, dtype=output.dtype)
    return mapped.view(n_tokens, output.width)


def _prefix(
    classifier: Classifier, adapted: Sequence[str], inputs: TokenizedTexts
) -> tuple[dict[str, _Output], list[str]]:
    """The modules that may step aside, with their outputs, and those of them whose output is needed later."""
    row = int(np.argmax(inputs.lengths))
    tokens = int(inputs.lengths[row])
    shape = (2 if tokens != 2 else 3, tokens)  # the two axes cannot be confused
    index = np.full(shape[0], row)
    calls, done, first = _trace(classifier, adapted, inputs, index)
    outputs: dict[str, _Output] = {}
    for name in sorted(done, key=lambda name: name.count(".")):  # a module before its parts
        inside = any(name.startswith(f"{other}.") for other in outputs)
        described = _describe(done[name], shape)
        if calls[name] == 1 and described and not inside and (name not in adapted or name in first):
            outputs[name] = described
    needed = _needed(classifier, [name for name in outputs if name not in first], inputs, index)
    return outputs, [name for name in outputs if name in needed | first]


def _describe(output: Any, shape: tuple[int, int]) -> _Output | None:
    rest = output[1:] if isinstance(output, tuple) else ()
    value = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(value, Tensor) or value.ndim != 3 or tuple(value.shape[:2]) != shape:
        return None
    if not value.is_floating_point() or any(part is not None for part in rest):
        return None
    return _Output(
        value.shape[2], value.dtype, value.device, len(rest) if isinstance(output, tuple) else None
    )  # fmt: skip


@torch.no_grad()
def _trace(
    classifier: Classifier, adapted: Sequence[str], inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]
) -> tuple[dict[str, int], dict[str, Any], set[str]]:
    """Calls of every module; outputs of those done before an adapter matters; adapted layers with a frozen input."""
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
    for name, module in classifier.module.named_modules():
        if name:
            hooks += [module.register_forward_pre_hook(entering(name)), module.register_forward_hook(leaving(name))]
    try:
        classifier.logits(inputs, index)
    finally:
        for handle in hooks:
            handle.remove()
    return calls, done, first


def _needed(
    classifier: Classifier, names: Sequence[str], inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]
) -> set[str]:
    """Those of the named modules whose output reaches the logits other than through another one of them."""
    leaves: dict[str, Tensor] = {}

    def replacing(name: str) -> Callable[..., Any]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            leaves[name] = value.detach().clone().requires_grad_()
            passed = leaves[name].clone()  # a model may write into it
            return (passed, *output[1:]) if isinstance(output, tuple) else passed

        return hook

    hooks = [classifier.module.get_submodule(name).register_forward_hook(replacing(name)) for name in names]
    try:
        with torch.enable_grad():
            total = classifier.logits(inputs, index).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    finally:
        for handle in hooks:
            handle.remove()
    return {name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}


class _Enough(Exception):
    """Every output that was asked for is there; the rest of the model need not run."""


def _outputs(
    classifier: Classifier, names: Sequence[str], inputs: TokenizedTexts, index: Int[np.ndarray, " rows"]
) -> dict[str, Tensor]:
    """Outputs (rows, tokens, width) of the named modules; the model stops at the last of them."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            found[name] = output[0] if isinstance(output, tuple) else output
            if len(found) == len(names):
                raise _Enough

        return hook

    hooks = [classifier.module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        classifier.logits(inputs, index)
    except _Enough:
        pass
    finally:
        for handle in hooks:
            handle.remove()
    return found
