"""What fresh rows showed, measured again: one adapter, or the best of several. Model and gain beside the recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lorabound.bounds import Bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import adapter_sha256, rows_sha256
from lorabound.certificates.found import Asked, read_fresh
from lorabound.certificates.holdout import gain_on_fresh_rows, measure_adapters
from lorabound.certificates.methods import METHODS
from lorabound.certificates.predictions import fresh_certificate
from lorabound.certificates.stored import Stored
from lorabound.certificates.verification import Part, compared, hashes
from lorabound.data import Labelled
from lorabound.errors import LoraboundError

Checked = tuple[Part, float | None]


def on_fresh_rows(
    stored: Stored, folder: str, asked: Asked, table: Labelled | None, observe: Callable[[str], None]
) -> Iterator[Checked]:
    """The rows, the model, the choice among adapters and the limit of a certificate by fresh rows.

    Args:
        folder: place of the adapter now; the others of a choice are where the certificate says.
        table: rows that the adapter was trained on, where they are known.
    """
    certificate = stored.certificate
    statements = [one for one in certificate.statements if METHODS[one.method].needs == "fresh rows"]
    if not statements:
        return
    others, parts = _others(stored)
    yield from parts
    if any(part.outcome == "differs" for part, _ in parts):
        return
    names = [one["name"] for one in certificate.record.get("choices", ())]
    place = names.index(certificate.name) if certificate.name in names else 0
    folders = [folder if k == place else path for k, path in enumerate(others)] if others else [folder]
    try:
        measured = measure_adapters(read_fresh(folders, asked, table, observe), observe)
    except LoraboundError as error:
        yield Part(what="hold-out rows", outcome="not shown", detail=str(error)), None
        return
    rows, recorded = measured.found, certificate.record["holdout"]
    if (rows_sha256(rows.examples, rows.labels), len(rows.labels)) != (recorded["sha256"], recorded["n"]):
        said = f"{asked.holdout} holds other fresh rows or labels than the certificate was made with"
        alone = len(names) > 1 and not others
        said += ", or the rows that the other adapters were trained on cannot be told" if alone else ""
        yield Part(what="hold-out rows", outcome="not shown" if alone else "differs", detail=said), None
        return
    yield Part(what="hold-out rows", outcome="same", detail=f"{len(rows.labels):,} rows of {asked.holdout}"), None
    yield same_model(certificate, measured.model_sha256), None
    (one,) = statements
    if len(folders) > 1:
        check = measured.check(certificate.delta)
        best = [checked.name for checked in check.predictors].index(check.best.name)
        if best != place:
            said = f"{names[best]} is the best of them by these rows, not {certificate.name}"
            yield Part(what="choice among adapters", outcome="differs", detail=said), None
            return
        yield Part(what="choice among adapters", outcome="same", detail=f"the best of {len(names)}"), None
        again = fresh_certificate(check, {}, 0.0).best
    else:
        assert one.bound.delta is not None
        again = METHODS[one.method].function("recompute")(measured, one.record, one.files, one.bound.delta)
    yield compared(one, again), again.limit
    if certificate.gain is not None and certificate.gain_by == one.method and len(folders) == 1:
        assert certificate.gain.delta is not None
        yield same_gain(certificate.gain, gain_on_fresh_rows(measured, certificate.gain.delta)), None


def _others(stored: Stored) -> tuple[list[str], list[Checked]]:
    """Folders of all adapters that one was chosen from; none where some are not there. What their files are."""
    choices = stored.certificate.record.get("choices", ())
    if len(choices) < 2:
        return [], []
    if stored.certificate.name not in [one["name"] for one in choices]:
        said = f"{stored.certificate.name} is none of the {len(choices)} it was chosen from"
        return [], [(Part(what="choice among adapters", outcome="differs", detail=said), None)]
    found, parts = [], list[Checked]()
    for one in choices:
        folder = stored.path.parent / one["folder"]
        if one["name"] == stored.certificate.name:
            found.append(str(folder))  # looked at before
        elif not folder.is_dir():
            said = f"{folder} is not there: that {stored.certificate.name} is the best of them"
            return [], [(Part(what="choice among adapters", outcome="not shown", detail=said), None)]
        else:
            parts.append((hashes(f"adapter {one['name']}", one["sha256"], adapter_sha256(folder)), None))
            found.append(str(folder))
    return found, parts


def same_gain(recorded: Bound, again: Bound | None) -> Part:
    """A gain beside the one computed again; None where its method shows none."""
    what = "gain over no adapter"
    if again is None:
        return Part(what=what, outcome="differs", detail="its method shows none")
    return compared(_as_statement(recorded), _as_statement(again), what)


def _as_statement(gain: Bound) -> Statement:
    """A gain with the mean gain in the place of the error, for comparison alone."""
    seen = gain.terms.get("mean_gain", gain.terms.get("checkpoint", gain.value))
    return Statement(method="gain", speaks_of="the adapter", bound=gain, error=-float(seen))


def same_model(certificate: Certificate, found: str) -> Part:
    """The recorded hash of the base model beside ``found``."""
    model = certificate.record["model"]
    return hashes("base model", {model["name"]: model["sha256"]}, {model["name"]: found})
