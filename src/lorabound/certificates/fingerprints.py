"""Hashes that tie a certificate to what it was made of: rows, labels, files. A changed byte changes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorabound.adapters.folder import OURS, PARTS
from lorabound.adapters.peft_folder import CONFIG, WEIGHTS
from lorabound.data import Example
from lorabound.errors import AdapterError
from lorabound.sweeps.records import TASK


def rows_sha256(examples: Sequence[Example], labels: Sequence[str]) -> str:
    """SHA-256 over rows and labels in their order; every letter and turn counts, an image by its file."""
    digest = hashlib.sha256(f"{len(examples)}\0".encode())
    for example, label in zip(examples, labels, strict=True):
        row = example if isinstance(example, str) else example.sha256
        for part in (row, label):
            content = part.encode("utf-8", "surrogatepass")
            digest.update(f"{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def adapter_sha256(folder: Path) -> Mapping[str, str]:
    """Name -> SHA-256 of the files of an adapter folder that decide what it computes.

    Raises:
        AdapterError: one of them cannot be read.
    """
    found = {}
    for name in (CONFIG, WEIGHTS, OURS, PARTS, TASK):
        path = folder / name
        if not path.exists() and name not in (CONFIG, WEIGHTS):
            continue
        try:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise AdapterError(f"{path} cannot be read ({error.strerror})") from None
    return found


def bytes_sha256(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
