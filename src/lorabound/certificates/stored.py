"""A certificate as files: ``certificate.json`` and, beside it, what methods left (a message, a posterior). No torch.

The record holds a hash of itself and of every file beside it. It shows that a copy is whole; that the numbers are right
is shown by computing them again (:mod:`lorabound.certificates.verify`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorabound import __version__
from lorabound.bounds import Bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import bytes_sha256
from lorabound.certificates.schema import check_record
from lorabound.errors import InputError
from lorabound.files import Place, make_folder, write_bytes, write_json

NAME, FORMAT = "certificate.json", 2
_MORE = "make it again with  lorabound certify"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A certificate that was read from files: the numbers as they were written, not believed.

    Attributes:
        path: file of the record.
        certificate: the certificate, its statements with the content of their files.
    """

    path: Path
    certificate: Certificate


def write_certificate(certificate: Certificate, folder: Place) -> Path:
    """Write a certificate and the files of its statements; returns the path of ``certificate.json``.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = make_folder(folder)
    for statement in certificate.statements:
        for name, content in statement.files.items():
            write_bytes(folder / name, content)
    of = dict(certificate.record)
    # The places of adapters as seen from the certificate: both may move together.
    for one in ("adapter", "kept"):
        if of.get(one):
            of[one] = _seen_from(folder, of[one])
    if "choices" in of:
        of["choices"] = [_seen_from(folder, one) for one in of["choices"]]
    record = _as_record(certificate, of)
    return write_json(folder / NAME, record | {"sha256": _sha256(record)})


def _seen_from(folder: Path, adapter: Mapping[str, Any]) -> dict[str, Any]:
    return {**adapter, "folder": os.path.relpath(adapter["folder"], folder)}


def _as_record(certificate: Certificate, of: Mapping[str, Any], version: str = __version__) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "lorabound": version,
        "name": certificate.name,
        "delta": certificate.delta,
        "of": dict(of),
        "statements": [_of_statement(statement) for statement in certificate.statements],
        "zero_shot": _of_statement(certificate.zero_shot) if certificate.zero_shot else None,
        "gain": certificate.gain.to_dict() if certificate.gain else None,
        "gain_by": certificate.gain_by,
        "notes": list(certificate.notes),
        "assumptions": list(certificate.assumptions),
    }


def read_certificate(path: Place) -> Stored:
    """Read ``certificate.json``, or the one in a folder, and the files it names.

    Raises:
        InputError: nothing there, no certificate, or a file that was changed, named with what is wrong.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no certificate at {path} ({error.strerror}): {_MORE} ADAPTER --out DIR") from None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        if content.lstrip().startswith(b"{"):
            raise InputError(f"{path} is not JSON any more: it was changed or cut off; {_MORE}") from None
        raise InputError(f"{path} is no certificate: give the {NAME} that certify wrote, or its folder") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path} is no certificate of this version (format {FORMAT}): {_MORE}")
    if _sha256({name: value for name, value in record.items() if name != "sha256"}) != record.get("sha256"):
        raise InputError(f"{path} was changed after it was written: its hash does not fit its content")
    check_record(record, path)
    certificate = _certificate(path, record)
    written = _as_record(certificate, record["of"], record["lorabound"])
    if odd := sorted(name for name in written if _rounded(written[name]) != record[name]):
        raise InputError(f"{path} contradicts itself: its {odd[0]} are not those that its other fields make")
    return Stored(path=path, certificate=certificate)


def _certificate(path: Path, record: Mapping[str, Any]) -> Certificate:
    """What a record says, with the files it names."""
    zero_shot, gain = record["zero_shot"], record["gain"]
    return Certificate(
        name=record["name"],
        delta=record["delta"],
        statements=tuple(_statement(path, one) for one in record["statements"]),
        zero_shot=_statement(path, zero_shot) if zero_shot else None,
        gain=Bound.from_dict(gain) if gain else None,
        gain_by=record["gain_by"],
        notes=tuple(record["notes"]),
        record=record["of"],
    )


def _of_statement(statement: Statement) -> dict[str, Any]:
    return {
        "method": statement.method,
        "speaks_of": statement.speaks_of,
        "bound": statement.bound.to_dict(),
        "error": statement.error,
        "seconds": statement.seconds,
        "record": dict(statement.record),
        "files": {name: bytes_sha256(content) for name, content in statement.files.items()},
        "notes": list(statement.notes),
    }


def _statement(path: Path, record: Mapping[str, Any]) -> Statement:
    files = {}
    for name, sha256 in record["files"].items():
        if Path(name).name != name:
            raise InputError(f"{path} names the file {name!r}, which is not beside it")
        try:
            content = (path.parent / name).read_bytes()
        except OSError as error:
            raise InputError(f"{path.parent / name} cannot be read ({error.strerror}): {path} needs it") from None
        if bytes_sha256(content) != sha256:
            raise InputError(f"{path.parent / name} was changed: its hash is not the one in {path.name}")
        files[name] = content
    return Statement(
        method=record["method"],
        speaks_of=record["speaks_of"],
        bound=Bound.from_dict(record["bound"]),
        error=record["error"],
        seconds=record["seconds"],
        record=record["record"],
        files=files,
        notes=tuple(record["notes"]),
    )


def _sha256(record: Mapping[str, Any]) -> str:
    return bytes_sha256(json.dumps(_rounded(record), sort_keys=True).encode())


def _rounded(value: Any) -> Any:
    """The values as they come back from a file: tuples as lists, nan as null, keys as text."""
    if isinstance(value, Mapping):
        return {str(name): _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value
