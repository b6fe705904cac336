"""Messages that decode to what training changed: lossless, self-delimiting, written to a file as they are charged for.

Both sides know the frozen model, the layers, ranks and scales, the seed of what is drawn, and the classes. What depends
on the data is in the message, or paid for as a choice. The first number of a message says which code follows:

    0  directions  one step and 2^k whole numbers: steps along directions that both sides compute without the data
    1  entries     one step per tensor; each entry is a whole number of steps away from where it started
    2  floats      the entries themselves, bit for bit, in the shortest number format that holds all of them

Every part says where it ends, so no message is the beginning of another, whichever codes they are of. Levels lie on an
even grid, and the entropy code spends as little on a number as it is frequent; levels learned one by one gain at most
a quarter of a bit per entry over that (Gish & Pierce 1968), and cost 16 bits each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.certificates.bits import BitReader, BitWriter, pack_symbols, unpack_symbols
from lorabound.errors import AdapterError

Vector = NDArray[np.float32]
Whole = NDArray[np.int64]

DIRECTIONS, ENTRIES, FLOATS = 0, 1, 2
# Whole numbers are at most this far from 0: 2 * 1000 + 1 frequencies are still worth learning.
MOST_STEPS = 1000
# 2 to this power directions at most: more would cost more than any sample can pay, and memory without end.
MOST_DIRECTIONS = 10
# Number formats of floats: 32 bits, the upper 16 of them (bfloat16), IEEE half precision.
_FORMATS = ("float32", "bfloat16", "float16")
# Every byte is as likely as another before any was seen.
_OCTETS = np.full(256, 4)


@dataclass(frozen=True, kw_only=True)
class Floats:
    """The entries as they are.

    Attributes:
        values: entries, (n,) float32.
    """

    values: Vector


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Whole numbers of steps, along single entries or along directions.

    Attributes:
        numbers: whole numbers, (n,); for directions n is a power of 2.
        steps: length of a step: one per tensor for entries, a single one for directions; numbers of half precision.
        along: ``ENTRIES`` or ``DIRECTIONS``.
    """

    numbers: Whole
    steps: tuple[float, ...]
    along: int


Content = Floats | Steps


def encode(content: Content) -> bytes:
    """The message of ``content``; its length in bytes times 8 is the length that a bound charges.

    Raises:
        AdapterError: an entry or a step that is not a finite number.
    """
    writer = BitWriter()
    if isinstance(content, Floats):
        writer.natural(FLOATS)
        _write_floats(writer, content.values)
        return writer.message()
    writer.natural(content.along)
    if content.along == DIRECTIONS:
        count = int(math.log2(len(content.numbers)))
        if len(content.numbers) != 1 << count or count > MOST_DIRECTIONS or len(content.steps) != 1:
            raise ValueError(f"directions are a power of 2 up to 2^{MOST_DIRECTIONS}, with one step")
        writer.natural(count)
    for step in content.steps:
        half = np.float16(step)
        if not np.isfinite(half):
            raise AdapterError(f"a step of {step} has no message: it is not a finite number of half precision")
        writer.fixed(int(half.view(np.uint16)), 16)
    most = int(np.abs(content.numbers).max(initial=0))
    if most > MOST_STEPS:
        raise ValueError(f"at most {MOST_STEPS} steps, got {most}")
    writer.natural(most)
    writer.octets(pack_symbols((content.numbers + most).astype(np.int32), _peaked(most)))
    return writer.message()


def decode(message: bytes, sizes: Sequence[int], name: str = "the message") -> Content:
    """What :func:`encode` made a message of.

    Args:
        sizes: numbers of entries of the tensors that may have changed, in their order.
        name: name of the message in faults.
    Raises:
        AdapterError: the message is cut off, too long or damaged.
    """
    content, used = decode_first(message, sizes, name)
    if used != len(message):
        raise AdapterError(
            f"{name} is {len(message):,} bytes long, but what it says ends after {used:,}: it is damaged; make the "
            "certificate again with certify"
        )
    return content


def decode_first(stream: bytes, sizes: Sequence[int], name: str = "the message") -> tuple[Content, int]:
    """The content of the message that a longer stream begins with, and the number of bytes of that message.

    Raises:
        AdapterError: as :func:`decode`.
    """
    reader = BitReader(stream, name)
    along, n = reader.natural(), sum(sizes)
    if along == FLOATS:
        floats = Floats(values=_read_floats(reader, n))
        return floats, reader.end()
    if along not in (ENTRIES, DIRECTIONS):
        raise reader.damaged("it is of no known code")
    n_steps = len(sizes)
    if along == DIRECTIONS:
        exponent, n_steps = reader.natural(), 1
        if exponent > MOST_DIRECTIONS:
            raise reader.damaged(f"it names more than {1 << MOST_DIRECTIONS:,} directions")
        n = 1 << exponent
    halves = np.array([reader.fixed(16) for _ in range(n_steps)], dtype=np.uint16).view(np.float16)
    if not np.isfinite(halves).all():
        raise reader.damaged("a step in it is not a finite number")
    most = reader.natural()
    if most > MOST_STEPS:
        raise reader.damaged(f"a number in it is beyond {MOST_STEPS} steps")
    packed = reader.octets()
    try:
        numbers = unpack_symbols(packed, n, _peaked(most)).astype(np.int64) - most
    except ValueError as error:
        raise reader.damaged(str(error)) from None
    return Steps(numbers=numbers, steps=tuple(map(float, halves)), along=along), reader.end()


def _peaked(most: int) -> Whole:
    """Weights of the whole numbers from -most to most before any was seen: halved with every step from 0, down to 1/8.

    Beside equal weights this saves about one byte of 16 to 130, for numbers of a Laplace law (n = 32 to 512).
    """
    distances: Whole = np.abs(np.arange(-most, most + 1))
    return np.right_shift(32, np.minimum(distances, 5))


def refuse_what_is_no_number(values: Vector) -> None:
    """Trained entries must be finite.

    Raises:
        AdapterError: some are not.
    """
    count = int((~np.isfinite(values)).sum())
    if count:
        raise AdapterError(
            f"{count:,} of {len(values):,} trained entries are not finite numbers: the adapter is damaged, and has no "
            "message; train it again"
        )


def _write_floats(writer: BitWriter, values: Vector) -> None:
    """The format, then the bits: their upper bytes (sign and most of the exponent) coded, the others as they are."""
    refuse_what_is_no_number(values)
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    halves = _half(values)
    if halves is not None:
        words, chosen = halves.astype(">u2"), "float16"
    elif not (bits & 0xFFFF).any():
        words, chosen = (bits >> 16).astype(">u2"), "bfloat16"
    else:
        words, chosen = bits.astype(">u4"), "float32"
    writer.fixed(_FORMATS.index(chosen), 2)
    octets = words.view(np.uint8).reshape(len(values), -1)
    writer.octets(pack_symbols(octets[:, 0].astype(np.int32), _OCTETS))
    writer.octets(octets[:, 1:].tobytes())


def _half(values: Vector) -> NDArray[np.uint16] | None:
    """The entries in half precision, where that holds each of them bit for bit."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    same = halves.astype(np.float32).view(np.uint32) == np.ascontiguousarray(values).view(np.uint32)
    return halves.view(np.uint16) if same.all() else None


def _read_floats(reader: BitReader, n: int) -> Vector:
    chosen = reader.fixed(2)
    if chosen >= len(_FORMATS):
        raise reader.damaged("it is of no known number format")
    width = 4 if _FORMATS[chosen] == "float32" else 2
    packed, lower = reader.octets(), reader.octets()
    if len(lower) != n * (width - 1):
        raise reader.damaged(f"it does not hold {n:,} entries")
    try:
        upper = unpack_symbols(packed, n, _OCTETS).astype(np.uint8)
    except ValueError as error:
        raise reader.damaged(str(error)) from None
    octets = np.column_stack([upper, np.frombuffer(lower, dtype=np.uint8).reshape(n, width - 1)])
    words = np.ascontiguousarray(octets).view(">u4" if width == 4 else ">u2").reshape(n)
    if _FORMATS[chosen] == "float16":
        values = words.astype(np.uint16).view(np.float16).astype(np.float32)
    else:
        values = (words.astype(np.uint32) << (0 if width == 4 else 16)).astype(np.uint32).view(np.float32)
    if not np.isfinite(values).all():
        raise reader.damaged("an entry in it is not a finite number")
    return values
