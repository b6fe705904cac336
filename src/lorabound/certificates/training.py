"""What the first epoch of a training loop proves: every row was tested before the update that used it.

:mod:`lorabound.hf` keeps the losses while transformers' Trainer runs; here they become a certificate, and a certificate
that was written is computed again from its file of losses. That those were the losses of the run no file can show. No
torch.

The window is the end of the epoch, a share of it that is settled before training. The losses in it limit the error on
new data of *a checkpoint drawn at random from the window*, however long the epoch went on; the constant of the bound
comes from the losses before it. With unlabelled rows, each predicted by a late checkpoint of its own, the *final
adapter* is certified, whatever the number of epochs: half of delta is for the late checkpoints, half for how often the
final adapter differs from them.

Source: theory of :mod:`lorabound.bounds.progressive`; here is only which numbers go in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.bounds import Bound, best_a, best_lam, disagreement, progressive, progressive_losses
from lorabound.certificates.certificate import CLASSES_KNOWN, Certificate, Statement
from lorabound.certificates.fingerprints import adapter_sha256
from lorabound.certificates.stored import Stored
from lorabound.certificates.verification import Part, compared, hashes
from lorabound.errors import AdapterError, LoraboundError
from lorabound.sweeps.progressive import last_share

LossName = Literal["error", "wrong_tokens", "probability"]

FILE = "first-epoch.safetensors"
FINAL = "the final adapter"

# What stands in place of the sentence on the settings of a sweep, and what only a training loop has to be told.
_WINDOW = "the window and its constant were fixed before the window began"
_FIXED = "the window was fixed before training, and its constant before the window began"
_AS_NEW = "the rows reach the model in training as new ones will: nothing augments them, both are cut at one length"
_ONE_RUN = "neither this run nor its settings were chosen by looking at the results of others on these rows"
_AMONG = "the run is one of {} that were planned before any of them was looked at"
# Fields of a first epoch that stand in the record of its statement, beside the file of losses.
_RECORDED = (
    *("loss", "classes", "start", "planned", "window", "epochs"),
    *("repeats_drawn", "noise", "unlabelled", "differing"),
)


@dataclass(frozen=True, kw_only=True)
class FirstEpoch:
    """The rows that the first epoch has trained on so far, each with its loss before the update.

    Attributes:
        losses: (n,) losses in [0, 1], in the order of training; nan for a row without a label.
        repeats: (n,) whether an earlier row had the same input.
        loss: name of the loss: 0-1 ("error"; for texts that are continued: whether any token is wrong), share of wrong
            tokens, or mean of 1 - p(right answer).
        classes: whether the model chooses among classes; otherwise it continues texts.
        start: number of rows before the window, fixed before training.
        planned: number of rows that the epoch was to have.
        window: share of the epoch in the window, in (0, 1).
        epochs: number of epochs that were planned.
        repeats_drawn: whether inputs repeat among these rows as they will among new ones, so that each row counts.
        noise: what makes the tested predictor random, in words ("dropout"); "" for none.
        unlabelled: number of rows without labels that a late checkpoint and the final adapter predicted; None without.
        differing: number of those that the two predicted otherwise; None without.
    """

    losses: NDArray[np.float32]
    repeats: NDArray[np.bool_]
    loss: LossName
    classes: bool
    start: int
    planned: int
    window: float
    epochs: float
    repeats_drawn: bool = False
    noise: str = ""
    unlabelled: int | None = None
    differing: int | None = None

    def mean(self, start: int = 0) -> float | None:
        """Mean loss of the rows from ``start`` on; None where no such row has a label."""
        losses = self.losses[start:].astype(np.float64)
        losses = losses[~np.isnan(losses)]
        return float(losses.mean()) if len(losses) else None


def limit(first: FirstEpoch, delta: float) -> Bound | None:
    """Limit on the mean error on new data of the predictors that the window tested; it holds after every step at once.

    Inputs that repeat may be what the population is like, or copies that somebody made: unless ``repeats_drawn`` the
    larger of two limits is given, that of all rows and that of each input once. None before the window has a row with a
    label.

    Args:
        first: epoch so far.
        delta: probability that the limit is wrong after any step.
    """
    labelled = ~np.isnan(first.losses)
    both = [_limit(first, labelled, delta)]
    if first.repeats.any() and not first.repeats_drawn:
        both.append(_limit(first, labelled & ~first.repeats, delta))
    found = [bound for bound in both if bound is not None]
    if len(found) < len(both):
        return None
    largest = max(found, key=lambda bound: float(bound.value))
    said = tuple(_FIXED if term == _WINDOW else term for term in largest.assumptions)
    return replace(largest, assumptions=(*said, _AS_NEW, *([CLASSES_KNOWN] if first.classes else [])))


def _limit(first: FirstEpoch, rows: NDArray[np.bool_], delta: float) -> Bound | None:
    """The limit of some rows, those ``rows`` (n,) says."""
    losses = first.losses.astype(np.float64)
    before, inside = losses[: first.start][rows[: first.start]], losses[first.start :][rows[first.start :]]
    if not len(before) or not len(inside):
        return None
    expected = first.planned - first.start
    if first.loss == "error":
        lam = best_lam((before.sum() + 0.5) / (len(before) + 1), expected, delta)
        return progressive(inside.mean(), len(inside), delta, lam=lam)
    return progressive_losses(inside, delta, a=best_a(before, expected, delta))


def certified(first: FirstEpoch, delta: float) -> Statement | None:
    """What the epoch says of a random checkpoint of the window, or of the final adapter; None as :func:`limit`.

    Args:
        first: epoch, at its end or where it was stopped.
        delta: probability that the limit is wrong.
    """
    final = first.unlabelled is not None and first.differing is not None
    bound = limit(first, delta / 2 if final else delta)
    if bound is None:
        return None
    error = float(bound.terms["progressive_loss"])
    if final:
        assert first.unlabelled is not None
        assert first.differing is not None
        bound = disagreement(bound, first.differing, first.unlabelled, delta / 2)
    elif first.noise:
        bound = replace(bound, predictor=f"{bound.predictor}; each with {first.noise} switched on")
    return Statement(
        method="progressive",
        speaks_of=speaks_of(first),
        bound=bound,
        error=error,
        record={name: getattr(first, name) for name in _RECORDED},
        files={FILE: save({"losses": first.losses, "repeats": first.repeats.astype(np.uint8)})},
        notes=tuple(_notes(first)),
    )


def speaks_of(first: FirstEpoch) -> str:
    """The predictor that the certificate speaks of, in words that follow "the error of"."""
    if first.differing is not None:
        return FINAL
    seen = len(first.losses)
    span = f"the last {last_share(first.window)}" if seen == first.planned else f"rows {first.start + 1:,} to {seen:,}"
    noise = f", with {first.noise} switched on," if first.noise else ""
    return (
        f"a checkpoint drawn at random from {span} of {'training' if first.epochs <= 1 else 'the first epoch'}{noise}"
    )


def certificate_of(
    first: FirstEpoch, delta: float, candidates: int, name: str, of: Mapping[str, Any]
) -> Certificate | None:
    """The certificate of a run; None where the epoch ended before its window.

    Args:
        first: epoch, at its end or where it was stopped.
        delta: probability that any limit of the runs to choose from is wrong; this run has delta/candidates.
        candidates: number of runs among which this one may be chosen.
        name: name of what is certified.
        of: JSON values on the run, see ``_Training`` of :mod:`lorabound.certificates.schema`.
    """
    statement = certified(first, delta / candidates)
    if statement is None:
        return None
    bound = statement.bound
    chosen = _ONE_RUN if candidates == 1 else _AMONG.format(candidates)
    statement = replace(statement, bound=replace(bound, assumptions=(*bound.assumptions, chosen)))
    kept = [f"A checkpoint that was drawn so is stored in {Path(of['kept']['folder']).name}."] if of.get("kept") else []
    record = {**of, "candidates": candidates}
    return Certificate(name=name, delta=delta, statements=(statement,), notes=tuple(kept), record=record)


def _notes(first: FirstEpoch) -> Iterator[str]:
    """What a reader of the number must know."""
    inside = first.losses[first.start :]
    labelled = ~np.isnan(inside)
    if first.loss == "error":
        wrong = f"{int(inside[labelled].sum()):,} of the {int(labelled.sum()):,} rows of the window were wrong"
    else:
        wrong = f"the mean over the {int(labelled.sum()):,} rows of the window is {first.mean(first.start):.4g}"
    yield f"Each row was tested by the step that trained on it, before the update: {wrong}."
    if not first.classes:
        yield "A token is wrong where it is not the most likely one, given the right tokens before it." + (
            " A row is wrong where any token is." if first.loss == "error" else ""
        )
    if first.differing is None:
        yield (
            "The limit is about a random checkpoint of that time, not about the adapter at the end, which is usually "
            "better but of which nothing is proved."
        )
    else:
        yield (
            f"On {first.differing:,} of {first.unlabelled:,} rows without labels the final adapter gave another class "
            "than a checkpoint drawn for each."
        )
    if first.epochs > 1:
        yield "Only the first epoch counts: later epochs meet rows that they have trained on."
    if repeats := int(first.repeats.sum()):
        yield (
            f"{repeats:,} rows have the input of an earlier row: "
            + (
                "all count, as new rows are said to repeat in the same way (repeats='drawn')."
                if first.repeats_drawn
                else "the limit is the larger of two, that of all rows and that of each input once."
            )
        )
    if missing := int(np.isnan(first.losses).sum()):
        yield f"{missing:,} rows without a label were left out."


def recompute_training(stored: Stored) -> Iterator[tuple[Part, float | None]]:
    """Every part of a certificate of a training loop, with the limit where it was computed again."""
    certificate = stored.certificate
    recorded, of = certificate.statements[0], certificate.record
    assert recorded.bound.delta is not None
    try:
        first = first_epoch(recorded)
        again = certificate_of(first, certificate.delta, certificate.n_choices, certificate.name, of)
    except LoraboundError as error:
        yield Part(what="limit by progressive", outcome="differs", detail=str(error)), None
        return
    if again is None or (first.planned, first.loss) != (of["training"]["rows"], of["training"]["loss"]):
        said = f"{FILE} and the record speak of different rows or losses"
        yield Part(what="limit by progressive", outcome="differs", detail=said), None
        return
    yield compared(recorded, again.statements[0]), again.statements[0].limit
    said = "that these were the losses, of this model and these rows, in a random order: only training again shows it"
    yield Part(what="losses before each update", outcome="not shown", detail=said), None
    if first.differing is not None:
        said = "how often the final adapter and late checkpoints differed: only training again shows it"
        yield Part(what="rows without labels", outcome="not shown", detail=said), None
    if kept := of.get("kept"):
        folder = stored.path.parent / kept["folder"]
        try:
            yield hashes("random checkpoint", kept["sha256"], adapter_sha256(folder)), None
        except AdapterError as error:
            yield Part(what="random checkpoint", outcome="not shown", detail=str(error)), None


def first_epoch(statement: Statement) -> FirstEpoch:
    """The epoch that a statement was made from.

    Raises:
        AdapterError: the file or the record is damaged.
    """
    record = statement.record
    try:
        arrays = load(statement.files[FILE])
        losses, repeats = arrays["losses"].astype(np.float32), arrays["repeats"].astype(np.bool_)
        first = FirstEpoch(losses=losses, repeats=repeats, **{name: record[name] for name in _RECORDED})
    except (SafetensorError, KeyError, TypeError) as error:
        raise AdapterError(f"{FILE} or what stands of it in the record is damaged ({error})") from None
    inside = losses[~np.isnan(losses)]
    if losses.ndim != 1 or losses.shape != repeats.shape or not ((inside >= 0) & (inside <= 1)).all():
        raise AdapterError(f"{FILE} holds no losses in [0, 1], one per row")
    if not 0 < first.start < len(losses) <= first.planned:
        raise AdapterError(f"{FILE} holds {len(losses):,} rows, which do not fit the window of its record")
    return first


def kept_record(folder: Path) -> dict[str, Any]:
    """What the record says of a checkpoint that was kept: its folder and the hashes of its files."""
    return {"folder": str(folder), "sha256": dict(adapter_sha256(folder))}
