"""Messages as bits: whole numbers, and sequences of symbols at nearly their entropy. No torch.

Everything here is self-delimiting: a reader that knows what comes next knows where it ends, without the length of the
message. So the set of all messages is a prefix-free code, and sum 2^-length over it is at most 1 (Kraft).
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from lorabound.errors import AdapterError

Symbols = NDArray[np.int32]
Weights = NDArray[np.int64]

# Sequences are coded in blocks; the frequencies are those of all blocks before, and a block is at most this share of
# what has been coded: one symbol at first, where frequencies still change fast.
_BLOCK = 1 / 32
# A range coder's last word can be shortened by up to so many bytes; 64 bits of state.
_SHORTENED = 8


class BitWriter:
    """Appends whole numbers and bytes to a message, most significant bit first."""

    def __init__(self) -> None:
        self._message, self._bits = bytearray(), ""

    def fixed(self, value: int, width: int) -> None:
        """A whole number from 0 to 2^width - 1, in ``width`` bits."""
        self._bits += format(value, f"0{width}b")

    def natural(self, value: int) -> None:
        """A whole number n >= 0 in 2 floor(log2(n + 1)) + 1 bits.

        Source: Elias 1975, the code gamma of n + 1: as many zeros as its binary digits after the first, then these.
        """
        digits = format(value + 1, "b")
        self._bits += "0" * (len(digits) - 1) + digits

    def octets(self, content: bytes) -> None:
        """Bytes, after their number; they start at a whole byte, zeros before them."""
        self.natural(len(content))
        self._message = bytearray(self.message()) + content
        self._bits = ""

    def message(self) -> bytes:
        """Everything that was written, filled up with zeros to whole bytes."""
        text = self._bits + "0" * (-len(self._bits) % 8)
        return bytes(self._message) + int(text or "0", 2).to_bytes(len(text) // 8, "big")


class BitReader:
    """Reads what :class:`BitWriter` wrote.

    Attributes:
        name: name of the message in faults.
    """

    def __init__(self, message: bytes, name: str) -> None:
        self._message, self._at, self.name = message, 0, name

    def fixed(self, width: int) -> int:
        """A whole number in ``width`` bits.

        Raises:
            AdapterError: the message ends before.
        """
        first, last = self._at // 8, -(-(self._at + width) // 8)
        if last > len(self._message):
            raise self._cut_off()
        word = int.from_bytes(self._message[first:last], "big") >> (8 * last - self._at - width)
        self._at += width
        return word & ((1 << width) - 1)

    def natural(self) -> int:
        """A whole number n >= 0, see :meth:`BitWriter.natural`.

        Raises:
            AdapterError: the message ends before, or the number is beyond 2^32, as none that was written.
        """
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > 32:
                raise self.damaged("a number in it is beyond 2^32")
        return (1 << zeros) + self.fixed(zeros) - 1

    def octets(self) -> bytes:
        """Bytes, after their number.

        Raises:
            AdapterError: the message ends before, or the bits before the bytes are not zeros.
        """
        count = self.natural()
        first = self.end()
        if first + count > len(self._message):
            raise self._cut_off()
        self._at = 8 * (first + count)
        return self._message[first : first + count]

    def end(self) -> int:
        """Go to the next whole byte; returns the number of bytes up to there.

        Raises:
            AdapterError: a bit on the way is not zero.
        """
        if self.fixed(-self._at % 8):
            raise self.damaged("a bit that fills up a byte is set")
        return self._at // 8

    def _cut_off(self) -> AdapterError:
        return AdapterError(
            f"{self.name} is cut off: it ends after {len(self._message):,} bytes, in the middle of what it says; make "
            "the certificate again with certify"
        )

    def damaged(self, reason: str) -> AdapterError:
        """The fault of a message that nobody wrote."""
        return AdapterError(f"{self.name} is damaged ({reason}): make the certificate again with certify")


def pack_symbols(symbols: Symbols, weights: Weights) -> bytes:
    """Code a sequence of n symbols; the reader must know n and ``weights``, and the number of bytes.

    A symbol costs -log2 of its frequency among those before it: (8 count + weight) / (8 t + sum of weights) at the t-th
    symbol, each block of symbols at the frequencies of the blocks before.

    Args:
        symbols: whole numbers from 0 to levels - 1, (n,).
        weights: eighths of a symbol that each level is taken to have been seen before the first, (levels,).
    Source: Krichevsky & Trofimov 1981 for the frequencies (there all weights are 4 eighths); range coding: constriction
        (Bamler 2022). Frequencies are fractions of whole numbers, so every machine computes the same ones.
    """
    if len(weights) < 2 or not len(symbols):
        return b""
    encoder = constriction.stream.queue.RangeEncoder()
    seen = weights.copy()
    for block in _blocks(len(symbols)):
        encoder.encode(symbols[block], _model(seen))
        seen += 8 * np.bincount(symbols[block], minlength=len(weights))
    return _shortest(encoder.get_compressed().astype(">u4").tobytes(), symbols, weights)


def unpack_symbols(packed: bytes, n: int, weights: Weights) -> Symbols:
    """The n symbols that :func:`pack_symbols` coded; bytes that it never wrote give some n symbols or raise ValueError.

    Raises:
        ValueError: the bytes are no sequence of such symbols.
    """
    if len(weights) < 2 or not n:
        return np.zeros(n, dtype=np.int32)
    words = np.frombuffer(packed + bytes(-len(packed) % 4 + _SHORTENED), dtype=">u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    seen = weights.copy()
    symbols = np.empty(n, dtype=np.int32)
    for block in _blocks(n):
        try:
            symbols[block] = decoder.decode(_model(seen), block.stop - block.start)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(str(error)) from None
        seen += 8 * np.bincount(symbols[block], minlength=len(weights))
    return symbols


def _blocks(n: int) -> list[slice]:
    blocks, start = [], 0
    while start < n:
        stop = min(n, start + max(1, int(start * _BLOCK)))
        blocks.append(slice(start, stop))
        start = stop
    return blocks


def _model(seen: Weights) -> object:
    return constriction.stream.model.Categorical(seen / seen.sum(), perfect=False)


def _shortest(packed: bytes, symbols: Symbols, weights: Weights) -> bytes:
    """The fewest bytes that, followed by zeros, decode to the same: a range coder ends on whole words of 32 bits.

    A cut number lies below the interval of the message; the next one of as many bytes may lie in it.
    """
    shortest = packed
    for length in range(len(packed) - 1, max(0, len(packed) - _SHORTENED) - 1, -1):
        cut = int.from_bytes(packed[:length], "big")
        tried = [number.to_bytes(length, "big") for number in (cut, cut + 1) if number < 1 << (8 * length)]
        fitting = [short for short in tried if _decodes_to(short, symbols, weights)]
        if not fitting:
            break
        shortest = fitting[0]
    return shortest


def _decodes_to(packed: bytes, symbols: Symbols, weights: Weights) -> bool:
    try:
        return np.array_equal(unpack_symbols(packed, len(symbols), weights), symbols)
    except ValueError:
        return False
