"""Nothing below the first adapted layer is computed twice.

What a tower of the model does before an adapter can change anything depends on its input alone. One traced pass finds
the modules that are done by then, the frozen products of the first adapted layer among them; one more pass finds, by
their gradients, which of their outputs anything later still needs. Those outputs are computed once per example (a class
prompt) and kept, in memory or in a file mapped into it; the modules step aside and hand them out. Backward stops there
as well, since a stored output needs no gradient. A tower without any adapter is nothing but such a prefix.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.engine.layout import first_tokens, layout
from lorabound.engine.trace import Forward, trace_tower
from lorabound.models import Answers, Classifier, CompletionLosses, Inputs, PackedRows, Tower
from lorabound.stack import n_stacked


class WithPrefix:
    """A classifier whose frozen prefix is stored for some inputs; others go through the whole model.

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
        inputs: Sequence[Inputs],
        room: float = float("inf"),
        folder: str | Path | None = None,
    ) -> None:
        """Trace the model and store the prefix of every row of ``inputs``, and of every class prompt.

        Args:
            adapted: names of the linear layers that adapters will change.
            room: bytes of memory it may take. Beyond them only the outputs that are not products of an adapted
                layer are kept, and if these are still too many they go to a file in ``folder``.
        """
        self.interrupted = False  # set from another thread: the next pass raises KeyboardInterrupt
        self._classifier = classifier
        with torch.no_grad():
            classes = classifier.class_embeddings()
        sources: list[tuple[Forward, list[Inputs]]] = [(partial(_logits, classifier, classes), list(inputs))]
        if classifier.prompts is not None:
            sources.append((lambda *_: classifier.class_embeddings(), [classifier.prompts]))
        towers = [
            trace_tower(classifier.module, tower, adapted, run, these[0], these[0] is classifier.prompts)
            for tower, (run, these) in zip(classifier.towers, sources, strict=True)
        ]

        def size() -> int:
            return sum(tower.n_bytes(i) for tower, (_, these) in zip(towers, sources, strict=True) for i in these)

        if size() > room:
            for tower in towers:
                tower.leave_out(adapted)
        self.n_bytes, self.on_disk = size(), size() > room
        self.names = [name for tower in towers for name in tower.needed]
        self._outputs = [tower.outputs for tower in towers]
        self._stored: dict[Inputs, dict[str, Tensor]] = {}
        self._starts = {rows: first_tokens(rows) for _, these in sources for rows in these}
        for tower, (run, these) in zip(towers, sources, strict=True):
            for rows in these:
                self._stored[rows] = tower.store(run, rows, folder if self.on_disk else None)

    def replica(self) -> WithPrefix:
        """The same stored prefix on a copy of the model that shares its weights: for another thread."""
        replica = copy.copy(self)
        replica._classifier = self._classifier.replica()
        return replica

    @property
    def module(self) -> nn.Module:
        """The frozen model that adapters attach to."""
        return self._classifier.module

    @property
    def towers(self) -> tuple[Tower, ...]:
        """Towers of the examples, and of the prompts where the model encodes them itself."""
        return self._classifier.towers

    @property
    def answers(self) -> Answers:
        """What the model says of a row."""
        return self._classifier.answers

    @property
    def prompts(self) -> Inputs | None:
        """Rows of the second tower; None where class embeddings never change."""
        return self._classifier.prompts

    def __enter__(self) -> WithPrefix:
        self._replaced = {name: self.module.get_submodule(name) for outputs in self._outputs for name in outputs}
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

    def class_embeddings(self) -> Float[Tensor, "groups classes width"]:
        """Unit embeddings of the classes, the prefix of their prompts looked up."""
        if self.prompts is not None:
            self._look_up(1, self.prompts, np.tile(np.arange(len(self.prompts)), n_stacked()))
        return self._classifier.class_embeddings()

    def logits(
        self,
        inputs: Inputs,
        index: Int[np.ndarray, " rows"],
        classes: Float[Tensor, "groups classes width"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Class scores of the rows ``index``, their prefix looked up."""
        if self.interrupted:
            raise KeyboardInterrupt
        if classes is None:
            classes = self.class_embeddings()
        self._look_up(0, inputs, index)
        return self._classifier.logits(inputs, index, classes)

    def completion_losses(self, inputs: PackedRows, index: Int[np.ndarray, "k rows"]) -> CompletionLosses:
        """Losses of the rows ``index[k]`` of adapter k, their prefix looked up."""
        if self.interrupted:
            raise KeyboardInterrupt
        self._look_up(0, inputs, index.reshape(-1))
        return self._classifier.completion_losses(inputs, index)  # type: ignore[attr-defined, no-any-return]

    def _look_up(self, tower: int, inputs: Inputs, index: Int[np.ndarray, " rows"]) -> None:
        """Give the stubs of a tower what they return for these rows."""
        stored = self._stored.get(inputs)
        if stored is None:
            for name in self._outputs[tower]:
                self._stubs[name].rows = None
            return
        rows = layout(inputs, index, n_stacked(), self._starts[inputs])
        for name, output in self._outputs[tower].items():
            self._stubs[name].rows = output.rebuild(stored.get(name), rows)


def _logits(
    classifier: Classifier, classes: Tensor, inputs: Inputs, index: Int[np.ndarray, " rows"]
) -> Float[Tensor, "rows classes"]:
    return classifier.logits(inputs, index, classes)


class _Replay(nn.Module):
    """Stands in for a module: returns what it is given, or what the module returns when it is given nothing."""

    rows: Any = None


class _ReplayModule(_Replay):
    """Keeps attributes that a model reads from its parts, such as a layer's kind, within reach."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = original  # not registered: names of the skipped modules are gone meanwhile

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["original"](*args, **kwargs) if self.rows is None else self.rows

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

    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear.forward(self, x) if self.rows is None else self.rows
