"""Certificates from real messages: an adapter that few bytes describe cannot have overfitted much.

    R(h) <= the largest R with P(Bin(N, R) <= errors of h) >= delta 2^-bits(h),    bits = 8 x bytes of the message,

for every adapter h that some message decodes to, at once: so the message may be chosen by looking at the sample as
often as one likes. Source: theory of :func:`lorabound.bounds.occam`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lorabound.adapters import Adapter
from lorabound.adapters.entries import WORDS
from lorabound.bounds import occam
from lorabound.certificates.certificate import Statement
from lorabound.certificates.codes import (
    DIRECTIONS,
    ENTRIES,
    MOST_DIRECTIONS,
    Floats,
    Steps,
    decode,
    encode,
    refuse_what_is_no_number,
)
from lorabound.certificates.directions import directions_of, directions_space, entries_space
from lorabound.certificates.quantize import Grid, rounded, steps_of, trained_moves
from lorabound.certificates.subject import Subject
from lorabound.engine import WithPrefix
from lorabound.engine.batches import passes
from lorabound.errors import AdapterError
from lorabound.stack import Stack

COMPRESSED, AS_STORED = "compressed", "as-stored"

_KNOWN = (
    "known before the data: the frozen model, the layers, ranks and scales of the adapter, the seed of what is drawn, "
    "the classes; a rank or seed chosen among K by looking at the data costs ln K nats more, which are not charged"
)
# Examples in one job of a measurement: fixed, so that results do not depend on the number of workers.
_CHUNK, _TOKENS = 8192, 4096
# Coarseness of steps that are tried: step / mean size of a move.
_COARSENESS = {DIRECTIONS: (1.0,), ENTRIES: (2.0,)}
# Examples that pay for one whole number: about this many numbers, half and twice as many are tried.
_EXAMPLES_PER_NUMBER = 400
# Entries of all directions together: half a GiB.
_DIRECTION_ENTRIES = 2**27
# Single entries are tried where there are at most so many per example: the message of more costs too much.
_ENTRIES_PER_EXAMPLE = 0.02

Observe = Callable[[str], None]


def certify_as_stored(subject: Subject, delta: float, observe: Observe = lambda _: None) -> Statement:
    """Limit the error of the adapter as it is: its entries, bit for bit, are the message.

    Raises:
        AdapterError: an entry is not a finite number.
    """
    begun = time.monotonic()
    observe("as stored: coding the entries")
    space = entries_space(subject)
    message = encode(Floats(values=space.vector(subject.adapter)))
    return _statement(subject, message, delta, AS_STORED, begun)


def certify_compressed(subject: Subject, delta: float, observe: Observe = lambda _: None) -> Statement:
    """Limit the error of a small stand-in of the adapter: the best, by its own limit, of all messages that were tried.

    Tried are 2^k whole numbers along directions that do not depend on the data, for k around what the sample can pay,
    and the adapter's own entries rounded to whole steps, each trained through its quantizer on the sample.

    Raises:
        AdapterError: an entry is not a finite number.
    """
    begun = time.monotonic()
    refuse_what_is_no_number(entries_space(subject).vector(subject.adapter))
    grids = _grids(subject, observe)
    jobs = [(grid, coarse) for grid in grids for coarse in _COARSENESS[grid.along]]
    observe(f"compressed: training {len(jobs)} small messages")

    def message_of(worker: WithPrefix, job: tuple[Grid, float]) -> bytes:
        grid, coarse = job
        return encode(_trained(worker, subject, grid, coarse))

    messages = [message for _, message in subject.pool.run(jobs, message_of)]
    found = []
    for message in sorted(set(messages), key=lambda one: (len(one), one)):
        observe(f"compressed: measuring a message of {len(message):,} bytes")
        found.append(_statement(subject, message, delta, COMPRESSED, begun, grids))
    best = min(found, key=lambda one: (one.limit, one.record["bytes"]))
    tried = [{name: one.record[name] for name in ("bytes", "errors")} | {"limit": one.limit} for one in found]
    return replace(best, record={**best.record, "tried": tried}, seconds=time.monotonic() - begun)


def recompute_compressed(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The statement of :func:`certify_compressed` again: its message decoded, measured and bounded as the first time.

    Args:
        record: ``Statement.record``; only its hash of the message is used.
        files: ``Statement.files``.
    Raises:
        AdapterError: no message, or one that is cut off, too long or damaged, or another one than the record's.
    """
    begun = time.monotonic()
    return _statement(subject, _message(COMPRESSED, record, files), delta, COMPRESSED, begun)


def recompute_as_stored(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The statement of :func:`certify_as_stored` again, as :func:`recompute_compressed`.

    Raises:
        AdapterError: as there, or a message that decodes to another adapter than the one that is stored.
    """
    begun = time.monotonic()
    message, space = _message(AS_STORED, record, files), entries_space(subject)
    if space.vector(decoded_adapter(subject, message)).tobytes() != space.vector(subject.adapter).tobytes():
        raise AdapterError(
            f"{_file(AS_STORED)} decodes to another adapter than {subject.path}: make it again with certify"
        )
    return _statement(subject, message, delta, AS_STORED, begun)


def _file(method: str) -> str:
    return f"{method}.bin"


def _message(method: str, record: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    name = _file(method)
    if name not in files:
        raise AdapterError(f"{name} is missing: put it beside certificate.json, or make it again with certify")
    found, expected = hashlib.sha256(files[name]).hexdigest(), str(record.get("sha256", ""))
    if expected and found != expected:
        raise AdapterError(
            f"{name} is not the message of this certificate (SHA-256 {found[:12]}... against {expected[:12]}...): put "
            "the right one beside it, or make it again with certify"
        )
    return files[name]


def decoded_adapter(subject: Subject, message: bytes, known: Sequence[Grid] = ()) -> Adapter:
    """The adapter that a message decodes to.

    Args:
        known: grids whose directions have been computed already.
    Raises:
        AdapterError: the message is cut off, too long or damaged.
    """
    space = entries_space(subject)
    content = decode(message, space.sizes)
    if isinstance(content, Floats):
        return space.adapter(content.values)
    count = len(content.numbers)
    fitting = (grid for grid in known if (grid.along, grid.count) == (content.along, count))
    grid = next(fitting, None) or (
        Grid(space=space, along=ENTRIES) if content.along == ENTRIES else _directions(subject, count)
    )
    return grid.space.adapter(grid.decoded(content))


def _directions(subject: Subject, count: int) -> Grid:
    space = directions_space(subject)
    return Grid(space=space, along=DIRECTIONS, directions=directions_of(subject, space, count))


def _grids(subject: Subject, observe: Observe) -> list[Grid]:
    """What is worth trying for a sample of this size."""
    n, space = len(subject.sample.labels), entries_space(subject)
    middle = max(1, round(np.log2(max(2, n) / _EXAMPLES_PER_NUMBER)))
    entries = sum(directions_space(subject).sizes)
    most = min(MOST_DIRECTIONS, int(np.log2(min(entries, max(1, _DIRECTION_ENTRIES // entries)))))
    exponents = sorted({min(most, max(0, middle + shift)) for shift in (-1, 0, 1)})
    observe(f"compressed: finding {2 ** exponents[-1]} directions")
    widest = _directions(subject, 2 ** exponents[-1])
    assert widest.directions is not None
    grids = [replace(widest, directions=widest.directions[: 2**k]) for k in exponents]
    if sum(space.sizes) <= _ENTRIES_PER_EXAMPLE * n:
        grids.append(Grid(space=space, along=ENTRIES))
    return grids


def _trained(worker: WithPrefix, subject: Subject, grid: Grid, coarse: float) -> Steps:
    """A point of a grid with few errors on the sample."""
    q = sum(grid.space.sizes)
    if grid.along == ENTRIES:
        vector = grid.space.vector(subject.adapter) - grid.space.vector(grid.space.start)
        moves, lr = torch.from_numpy(vector), subject.recipe.lr / 4
    else:
        # A step of Adam on n orthonormal directions is as long as one of the recipe on all q entries.
        lr = 2 * subject.recipe.lr * (q / grid.count) ** 0.5
        moves = trained_moves(worker, grid, subject.sample, torch.zeros(grid.count), lr)
    steps = steps_of(grid, moves, coarse)
    moves = trained_moves(worker, grid, subject.sample, moves, lr / 2, steps, seed=1)
    return rounded(grid, moves, steps)


def _statement(
    subject: Subject, message: bytes, delta: float, method: str, begun: float, known: Sequence[Grid] = ()
) -> Statement:
    adapter = decoded_adapter(subject, message, known)
    errors = int(errors_of(subject, adapter).sum())
    n, bits = len(subject.sample.labels), 8 * len(message)
    bound = occam(errors / n, n, bits, delta, zero_one=True)
    bound = replace(bound, assumptions=(*bound.assumptions, _KNOWN))
    stored = method == AS_STORED
    paid = " and ".join(WORDS[part] for part in subject.paid)
    paid += " and the trained head" if subject.adapter.head else ""
    return Statement(
        method=method,
        speaks_of="the adapter as stored" if stored else f"the compressed adapter ({len(message):,} bytes)",
        bound=bound,
        error=errors / n,
        seconds=time.monotonic() - begun,
        record={
            "bytes": len(message),
            "code_bits": bits,
            "errors": errors,
            "n_samples": n,
            "sha256": hashlib.sha256(message).hexdigest(),
            "paid": list(subject.paid),
        },
        files={_file(method): message},
        notes=(
            f"The message of {len(message):,} bytes holds all of {paid}, bit for bit: as a rule that is far more than "
            f"{n:,} examples can pay for.",
        )
        if stored
        else (
            f"The limit is for another adapter than the one given: a small stand-in that {_file(method)} decodes to, "
            "trained on the same examples.",
        ),
    )


def errors_of(subject: Subject, adapter: Adapter) -> NDArray[np.bool_]:
    """Which examples of the sample an adapter gets wrong, (n,).

    Raises:
        AdapterError: its scores are not finite numbers.
    """
    inputs, labels = subject.sample.inputs, subject.sample.labels
    order = np.argsort(inputs.lengths[: len(labels)], kind="stable")
    chunks = [order[first : first + _CHUNK] for first in range(0, len(order), _CHUNK)]

    @torch.no_grad()
    def measure(worker: WithPrefix, chunk: NDArray[np.int64]) -> NDArray[np.bool_]:
        wrong = np.zeros(len(chunk), dtype=np.bool_)
        with Stack(worker.module, [adapter], worker.towers):
            classes = worker.class_embeddings()
            for cut in passes(inputs.lengths[chunk], 1, _TOKENS):
                scores = worker.logits(inputs, chunk[cut], classes)
                if not bool(torch.isfinite(scores).all()):
                    raise AdapterError(f"{subject.path}: its scores are not finite numbers: the adapter is damaged")
                wrong[cut] = scores.argmax(-1).cpu().numpy() != labels[chunk[cut]]
        return wrong

    errors = np.zeros(len(labels), dtype=np.bool_)
    jobs = list(range(len(chunks)))
    for job, wrong in subject.pool.run(jobs, lambda worker, job: measure(worker, chunks[job])):
        errors[chunks[job]] = wrong
    return errors
