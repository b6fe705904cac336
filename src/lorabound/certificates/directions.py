"""Where a small message moves an adapter: directions that both sides compute from the frozen model, without the data.

A direction is the gradient, at the adapter before training, of a sum of class scores with random signs over made-up
examples (random tokens, random pictures), made orthonormal to those before it. The scores move most along the span of
such gradients (a randomized range finder of the Jacobian: Halko, Martinsson & Tropp 2011), so few numbers go far. Seeds
are fixed here; nothing is read from the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lorabound.adapters import Adapter, entries_of, with_entries
from lorabound.adapters.adapter import Head
from lorabound.certificates.subject import Subject, with_own_draw
from lorabound.data import Picture
from lorabound.engine import WithPrefix
from lorabound.models import Inputs, PackedRows, TokenizedTexts
from lorabound.modes import MODES, Mode, Part
from lorabound.stack import Stack

# Made-up examples, their seed, and the most tokens (beside special ones) of a text.
_EXAMPLES, _SEED, _MOST_TOKENS = 64, 20240531, 8
# Width of a made-up picture, and of its squares of one colour.
_PIXELS, _SQUARE = 64, 8
# Directions that are computed in one pass.
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Space:
    """The adapters that a message can decode to: ``start``, moved by a vector over the trained entries.

    Attributes:
        start: adapter at the vector 0; its layers in the order of their names.
        sizes: numbers of entries of the tensors that move, in the order of :func:`lorabound.adapters.entries_of`.
    """

    start: Adapter
    sizes: tuple[int, ...]

    @property
    def moved(self) -> tuple[Part, ...]:
        """Parts that move."""
        return MODES[self.start.mode].trained

    def vector(self, adapter: Adapter) -> Float[np.ndarray, " q"]:
        """All entries that move, as they are in ``adapter``, (q,) float32."""
        ordered = replace(adapter, layers={name: adapter.layers[name] for name in self.start.layers})
        parts = entries_of(ordered, self.moved).values()
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def adapter(self, vector: Float[np.ndarray, " q"]) -> Adapter:
        """The adapter whose moved entries are ``vector``."""
        parts = np.split(vector.astype(np.float32), np.cumsum(self.sizes)[:-1])
        now = entries_of(self.start, self.moved)
        values = {name: part.reshape(now[name].shape) for name, part in zip(now, parts, strict=True)}
        return with_entries(self.start, values)


def entries_space(subject: Subject) -> Space:
    """Every entry that is paid for may move."""
    return _space(replace(_sorted(subject.start), mode=_mode_that_trains(subject.paid)), subject.adapter.head)


def directions_space(subject: Subject) -> Space:
    """Only what starts at 0 moves: the other factor is as its seed draws it. Where neither starts at 0 (law loftq), the
    first factor that is trained moves, B before A.

    Where nothing shows how the factors were drawn, A is drawn here, by a seed that is always the same.
    """
    start = with_own_draw(subject).start
    trained, bare = MODES[start.mode].trained, replace(start, head=None)
    zero = tuple(part for part in trained if not any(value.any() for value in entries_of(bare, (part,)).values()))
    return _space(replace(_sorted(start), mode=_mode_that_trains(zero or trained[:1])), subject.adapter.head)


def _mode_that_trains(parts: tuple[Part, ...]) -> Mode:
    return next(mode for mode, facts in MODES.items() if facts.trained == parts)


def _sorted(adapter: Adapter) -> Adapter:
    return replace(adapter, layers=dict(sorted(adapter.layers.items())))


def _space(start: Adapter, trained: Head | None) -> Space:
    """The space around ``start``, with the head of the trained adapter at 0 where the checkpoint has none."""
    if trained and not start.head:
        start = replace(
            start, head=replace(trained, weight=np.zeros_like(trained.weight), bias=np.zeros_like(trained.bias))
        )
    return Space(start=start, sizes=tuple(int(v.size) for v in entries_of(start, MODES[start.mode].trained).values()))


class Attached:
    """One adapter of a space, attached to a worker: its entries are set and their gradients read as one vector."""

    def __init__(self, stack: Stack, space: Space) -> None:
        self._sizes = space.sizes
        self._tensors = [stack.stacked("", part) for part in space.moved if part == "theta"]
        self._tensors += [
            stack.stacked(name, part) for name in space.start.layers for part in space.moved if part != "theta"
        ]
        self._tensors += [stack.stacked("", part) for part in ("weight", "bias") if stack.head]

    @torch.no_grad()
    def set(self, vector: Float[Tensor, " q"]) -> None:
        """Give all adapters of the stack the entries of ``vector``, and forget gradients."""
        for tensor, part in zip(self._tensors, torch.split(vector, list(self._sizes)), strict=True):
            tensor.copy_(part.view(tensor.shape[1:]).expand_as(tensor))
            tensor.grad = None

    def gradients(self) -> Float[Tensor, "k q"]:
        """The gradient of each adapter of the stack, (K, q); 0 where nothing arrived."""
        parts = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in self._tensors]
        return torch.cat([part.flatten(1) for part in parts], 1)


@contextmanager
def attached(worker: WithPrefix, space: Space, copies: int = 1) -> Iterator[Attached]:
    """The start of a space on the model of a worker, inside a ``with`` block."""
    with Stack(worker.module, [space.start] * copies, worker.towers) as stack:
        yield Attached(stack, space)


def directions_of(subject: Subject, space: Space, count: int) -> Float[Tensor, "count q"]:
    """Orthonormal directions in a space, (count, q) float32; the first ones do not depend on ``count``."""
    examples = made_up(subject)

    def compute(worker: WithPrefix, _: None) -> Float[Tensor, "count q"]:
        return _orthonormal(_gradients(worker, space, examples, count))

    ((_, found),) = subject.pool.run([None], compute)
    return found


def _gradients(worker: WithPrefix, space: Space, examples: Inputs, count: int) -> Float[Tensor, "count q"]:
    found, every = [], np.arange(len(examples))
    random = np.random.Generator(np.random.Philox(_SEED))
    with attached(worker, space, _AT_ONCE) as at:
        for _ in range(0, count, _AT_ONCE):
            at.set(torch.from_numpy(space.vector(space.start)))
            scores = worker.logits(examples, np.tile(every, _AT_ONCE)).float().view(_AT_ONCE, len(every), -1)
            signs = torch.from_numpy(random.choice(np.array([-1.0, 1.0], dtype=np.float32), size=tuple(scores.shape)))
            # Only differences between the scores of classes change an answer.
            total = ((scores - scores.mean(-1, keepdim=True)) * signs.to(scores.device)).sum()
            total.backward()  # type: ignore[no-untyped-call]
            found.append(at.gradients().cpu())
    return torch.cat(found)[:count]


def _orthonormal(rows: Float[Tensor, "count q"]) -> Float[Tensor, "count q"]:
    """Gram-Schmidt, each row with a positive part of itself left (QR leaves signs to the machine); 0 where none is."""
    wide = rows.double()
    q, r = torch.linalg.qr(wide.T)
    diagonal = torch.zeros(len(rows), dtype=torch.float64)
    diagonal[: r.shape[0]] = r.diagonal()
    signs = torch.where(diagonal.abs() > 1e-6 * diagonal.abs().max(), diagonal.sign(), 0.0)
    out = torch.zeros_like(wide)
    out[: q.shape[1]] = q.T
    return (out * signs[:, None]).float()


def made_up(subject: Subject) -> Inputs:
    """Examples that nobody wrote: random tokens between the special ones, or squares of random colours."""
    random = np.random.Generator(np.random.Philox(_SEED + 1))
    if subject.task.takes == "images":
        colours = random.integers(0, 256, (_EXAMPLES, _PIXELS // _SQUARE, _PIXELS // _SQUARE, 3), dtype=np.uint8)
        pictures = colours.repeat(_SQUARE, 1).repeat(_SQUARE, 2)
        return subject.classifier.prepare(
            [Picture(f"made-up picture {i}", lambda i=i: pictures[i]) for i in range(_EXAMPLES)]  # type: ignore[misc]
        )
    two = subject.classifier.prepare(["a", "b"])
    if isinstance(two, PackedRows):
        return _made_up_prompts(subject, int(two.lengths.max()) + two.n_shared, random)
    assert isinstance(two, TokenizedTexts)
    rows = [two.batch(np.array([row]))[0][0].tolist() for row in (0, 1)]
    before, after = _equal(*rows), _equal(*(row[::-1] for row in rows))[::-1]
    embedding = subject.classifier.module.get_input_embeddings()  # type: ignore[operator]
    most = max(1, min(_MOST_TOKENS, subject.task.max_length - len(before) - len(after)))
    middles = [random.integers(0, embedding.num_embeddings, n) for n in random.integers(1, most + 1, _EXAMPLES)]
    return TokenizedTexts([[*before, *middle.tolist(), *after] for middle in middles])


def _made_up_prompts(subject: Subject, n_around: int, random: np.random.Generator) -> Inputs:
    """Texts of random tokens in the template of a language model. A text may have twice as many tokens as were drawn:
    some tokens are parts of a letter."""
    decoder: Any = subject.classifier
    most = max(1, min(_MOST_TOKENS, (subject.task.max_length - n_around) // 2))
    count = decoder.module.get_input_embeddings().num_embeddings
    drawn = [random.integers(0, count, n) for n in random.integers(1, most + 1, _EXAMPLES)]
    made: Inputs = decoder.prepare([decoder.text_of(ids.tolist()) for ids in drawn])
    return made


def _equal(a: list[int], b: list[int]) -> list[int]:
    """What two lists begin with."""
    return a[: next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))]
