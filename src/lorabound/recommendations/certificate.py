"""The certificate of the final adapter: what its training shows by itself, the choice among all candidates paid for.

Every row of the first epoch was tested before the update that used it. The losses in the last half of the epoch limit
the error on new data of a checkpoint drawn at random from that time (:mod:`lorabound.certificates.training`), for each
candidate with delta/K: whichever of the K the pilots chose, on whatever rows, its limit is wrong with probability at
most delta. No torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorabound.certificates import Certificate
from lorabound.certificates.stored import NAME, read_certificate, write_certificate
from lorabound.certificates.training import FILE, FirstEpoch, certificate_of, first_epoch
from lorabound.data import Example
from lorabound.errors import InputError
from lorabound.sweeps.progressive import window_start
from lorabound.sweeps.records import fingerprint

if TYPE_CHECKING:
    from lorabound.engine import FirstPass
    from lorabound.sweeps.config import SweepConfig

_WINDOW = 0.5


def write_final(
    seen: FirstPass,
    examples: Sequence[Example],
    config: SweepConfig,
    delta: float,
    n_choices: int,
    n_params: int,
    name: str,
    folder: Path,
    notes: Sequence[str] = (),
) -> None:
    """Write ``certificate.json`` and its file of losses into a folder; nothing where one step was the whole epoch.

    Args:
        seen: losses before each update.
        examples: training rows, in the order of their numbers.
        config: settings that it was trained with.
        delta: probability that the limit of any candidate is wrong.
        n_choices: K, number of candidates that might have been chosen.
        n_params: number of trained parameters.
        name: name of what is certified.
        folder: folder of the answer.
        notes: sentences on rows that were left out, so that new data are such rows as were not.
    Raises:
        OutputError: they cannot be written.
    """
    n_rows, start = len(seen.order), window_start(len(seen.order), seen.batch_size, _WINDOW)
    if not start:
        return
    by_tokens = config.task == "completions" and config.metric == "wrong-tokens"
    prints = np.array([fingerprint(examples[number]) for number in seen.order])
    _, first_places = np.unique(prints, return_index=True)
    repeats = np.ones(n_rows, dtype=np.bool_)
    repeats[first_places] = False
    first = FirstEpoch(
        losses=np.asarray(seen.wrong if by_tokens else seen.errors, dtype=np.float32),
        repeats=repeats,
        loss="wrong_tokens" if by_tokens else "error",
        classes=config.task != "completions",
        start=start,
        planned=n_rows,
        window=_WINDOW,
        epochs=float(config.epochs),
    )
    of = {
        "training": {
            "loss": first.loss,
            "model": config.model,
            "n_params": n_params,
            "rows": n_rows,
            "step_rows": seen.batch_size,
            "order_sha256": hashlib.sha256(seen.order.astype("<i8").tobytes()).hexdigest(),
        },
        **({"min_class_rows": config.min_class_rows} if config.min_class_rows > 1 else {}),
    }
    made = certificate_of(first, delta, n_choices, name, of)
    if made is not None:
        write_certificate(replace(made, notes=(*made.notes, *notes)), folder)


def paid_again(folder: Path, delta: float, n_choices: int) -> Certificate | None:
    """The certificate of a final adapter that is there already, with as many choices as there are by now, never fewer.

    None where there is none, or one that was changed: nothing is claimed then.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        stored = read_certificate(folder)
    except InputError:
        return None
    made = stored.certificate
    if "training" not in made.record:
        return None
    n_choices = max(n_choices, made.n_choices)
    if (made.delta, made.n_choices) != (delta, n_choices):
        of = {name: value for name, value in made.record.items() if name != "candidates"}
        again = certificate_of(first_epoch(made.statements[0]), delta, n_choices, made.name, of)
        if again is None:
            return None
        made = replace(again, notes=made.notes)
        write_certificate(made, folder)
    return made


def take_away(folder: Path) -> None:
    """Remove the certificate of an earlier adapter, before another one takes its place."""
    for name in (NAME, FILE):
        (folder / name).unlink(missing_ok=True)
