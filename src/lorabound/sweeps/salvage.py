"""The rows of a damaged SQLite file, read past SQLite: leaf pages are decoded one by one, wherever they lie.

SQLite refuses a file whose first page is damaged, and loses every row below a damaged inner page. Here each page that
looks like a leaf of a table is decoded by itself, its tree is not needed, and nothing is believed: a row counts where
its contents have the hash that stands in it. Source: https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lorabound.sweeps.row import REALS
from lorabound.sweeps.tables import HASH, SEAL, Seal, columns, content_sha256

Value = str | int | float | bytes | None

_LEAF, _HEADER = 13, 100
_PAGES = [4096, 512, 1024, 2048, 8192, 16384, 32768, 65536]
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Salvaged(NamedTuple):
    """What a file holds that is as it was written.

    Attributes:
        about: entries on the whole sweep, name -> JSON text.
        seals: number of rows and sums of hashes by the store's own account; none where it is lost.
        runs: rows of runs by their keys, without the hash.
    """

    about: dict[str, str]
    seals: tuple[Seal, ...]
    runs: dict[str, dict[str, Value]]


def salvage(content: bytes) -> Salvaged:
    """Every entry and every run whose hash agrees with its contents."""
    stated = int.from_bytes(content[16:18])
    sizes = dict.fromkeys([65536 if stated == 1 else stated, *_PAGES])
    found = [_with_pages(content, size) for size in sizes if size in _PAGES]
    return max(found, key=lambda one: (len(one.runs), len(one.about)))


def _with_pages(content: bytes, size: int) -> Salvaged:
    about: dict[str, str] = {}
    runs: dict[str, dict[str, Value]] = {}
    seals: list[str] = []
    orders = [columns(), columns(with_sample_last=True)]
    for values in _rows(content, size):
        if len(values) == 3:
            name, text, sha256 = values
            if not isinstance(name, str) or not isinstance(text, str):
                continue
            if content_sha256({"name": name, "value": text}) == sha256 and name == SEAL:
                seals.append(text)
            elif content_sha256({"name": name, "value": text}) == sha256:
                about[name] = text
        elif len(values) == len(orders[0]) and values[-1]:
            for names in orders:
                record = dict(zip(names, values, strict=True))
                for name in REALS:  # SQLite writes 2.0 as 2
                    if isinstance(value := record[name], int):
                        record[name] = float(value)
                if content_sha256(record) == record.pop(HASH):
                    runs[str(record["key"])] = record
    return Salvaged(about, tuple(map(Seal.read, seals)), runs)


def _rows(content: bytes, size: int) -> Iterator[list[Value]]:
    """The rows of every page that looks like a leaf of a table; what cannot be decoded is left out."""
    room = 4 * len(content)  # every byte belongs to one row: pages that say otherwise do not keep us for ever
    for start in range(0, len(content), size):
        page = content[start : start + size]
        first = _HEADER if start == 0 else 0
        if len(page) <= first + 8 or page[first] != _LEAF:
            continue
        count = int.from_bytes(page[first + 3 : first + 5])
        for cell in range(first + 8, min(first + 8 + 2 * count, len(page) - 1), 2):
            try:
                payload = _payload(content, size, page, int.from_bytes(page[cell : cell + 2]))
                room -= len(payload) + 1
                if room < 0:
                    return
                yield _decode(payload)
            except (IndexError, ValueError, struct.error):
                continue


def _payload(content: bytes, size: int, page: bytes, at: int) -> bytes:
    """The bytes of a row, with those on overflow pages."""
    usable = size - content[20] if content[20] < 64 else size
    length, at = _varint(page, at)
    _, at = _varint(page, at)  # rowid
    if length > len(content):
        raise ValueError("longer than the file")
    most, least = usable - 35, (usable - 12) * 32 // 255 - 23
    here = least + (length - least) % (usable - 4)
    local = length if length <= most else here if here <= most else least
    parts, left = [page[at : at + local]], length - local
    following = int.from_bytes(page[at + local : at + local + 4])
    while left > 0:
        start = (following - 1) * size
        if following < 2 or start + 4 >= len(content):
            raise ValueError("an overflow page is missing")
        parts.append(content[start + 4 : start + 4 + min(left, usable - 4)])
        following, left = int.from_bytes(content[start : start + 4]), left - len(parts[-1])
    return b"".join(parts)


def _decode(payload: bytes) -> list[Value]:
    """The values of a row: a header of types, then the values."""
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[Value] = []
    at = end
    for kind in types:
        length = _INTEGER_BYTES.get(kind, 8 if kind == 7 else (kind - 12) // 2 if kind >= 12 else 0)
        part = payload[at : at + length]
        if len(part) != length or kind in (10, 11):
            raise ValueError("cut off")
        at += length
        if kind >= 12:
            values.append(part.decode("utf-8") if kind % 2 else part)
        elif kind == 7:
            values.append(struct.unpack(">d", part)[0])
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(part, signed=True) if length else None)
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of one to nine bytes, and where it ends."""
    value = 0
    for index in range(9):
        byte = data[at + index]
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("no integer")
