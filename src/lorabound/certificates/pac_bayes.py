"""PAC-Bayes certificates of a randomized adapter, whose prior knows no data, or the first half of them.

    R(Q) <= kl_inverse( kl_inverse(p, ln(1/delta')/m), (KL(Q || P) + ln(xi(n)/(delta - delta')))/n )

p is the share of errors among m draws of (weights, example). Nothing here depends on how the posterior was found, since
the bound holds for all posteriors at once; finding one is the work of :mod:`lorabound.certificates.search`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special

from lorabound.adapters import entries_of
from lorabound.arguments import probability
from lorabound.bounds import pac_bayes
from lorabound.certificates.certificate import Statement
from lorabound.certificates.monte_carlo import draw_errors, drawn_rows, n_draws, seed_of
from lorabound.certificates.posterior import (
    GRID_NATS,
    Entries,
    Posterior,
    frame_of,
    nearest_variance,
    pack,
    unpack,
)
from lorabound.certificates.search import Wanted, search, train_on_first
from lorabound.certificates.subject import Subject, with_own_draw
from lorabound.errors import DataError, InputError

Observe = Callable[[str], None]

DATA_FREE, DATA_DEPENDENT = "pac-bayes", "pac-bayes-half"
# The share of delta that the draws take.
DRAWS_SHARE = 0.25

_SPEAKS_OF = {
    DATA_FREE: "an adapter drawn at random for every prediction, around one that was trained for this certificate,",
    DATA_DEPENDENT: (
        "an adapter drawn at random for every prediction, around one that was trained again for this certificate,"
    ),
}
_NOTES = {
    DATA_FREE: "pac-bayes speaks of a random adapter near to the start of training, not of the adapter as stored: its "
    "prior knows no data, so moving far from the start costs more than it gains.",
    DATA_DEPENDENT: "pac-bayes-half speaks of a random adapter that was trained for it, not of the adapter as stored. "
    "Its limit uses the second half of the rows; no file shows that its prior was trained on the first half alone.",
}


def certify_data_free(subject: Subject, delta: float, observe: Observe = lambda _: None) -> Statement:
    """A prior around the adapter before training; the posterior is trained on all rows, and so is the limit.

    Raises:
        InputError: a delta outside (0, 1).
    """
    subject = with_own_draw(subject)
    first, prior = 0, entries_of(frame_of(subject.adapter, subject.start), subject.paid)
    found = search(subject, prior, _wanted(subject, first, delta), observe)
    content = pack({"mean": found.mean, "variance": found.variance})
    return _statement(DATA_FREE, subject, found, prior, first, content, delta, observe)


def recompute_data_free(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same from the stored posterior.

    Raises:
        AdapterError, InputError: the posterior is not the recorded one, or of another adapter.
    """
    subject = with_own_draw(subject)
    content, groups = stored_entries(DATA_FREE, ("mean", "variance"), subject, record, files)
    prior = entries_of(frame_of(subject.adapter, subject.start), subject.paid)
    posterior = Posterior(frame=frame_of(subject.adapter, subject.start), **groups)
    return _statement(DATA_FREE, subject, posterior, prior, 0, content, delta)


def certify_data_dependent(subject: Subject, delta: float, observe: Observe = lambda _: None) -> Statement:
    """A prior around an adapter trained on the first half of the rows; the limit is that of the second half.

    The posterior is trained on all rows, from there on.

    Raises:
        DataError: too few rows, or rows that are sorted by label.
        InputError: a delta outside (0, 1).
    """
    subject, first = with_own_draw(subject), _half(subject)
    observe(f"{DATA_DEPENDENT}: training an adapter on the first {first:,} rows")
    prior = train_on_first(subject, first)
    found = search(subject, prior, _wanted(subject, first, delta), observe)
    content = pack({"mean": found.mean, "variance": found.variance, "prior": prior})
    return _statement(DATA_DEPENDENT, subject, found, prior, first, content, delta, observe)


def recompute_data_dependent(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same from the stored prior and posterior. That the prior saw the first half only, no file shows.

    Raises:
        AdapterError, InputError: the posterior is not the recorded one, or of another adapter.
        DataError: too few rows, or rows that are sorted by label.
    """
    subject = with_own_draw(subject)
    content, groups = stored_entries(DATA_DEPENDENT, ("mean", "variance", "prior"), subject, record, files)
    prior = groups.pop("prior")
    posterior = Posterior(frame=frame_of(subject.adapter, subject.start), **groups)
    return _statement(DATA_DEPENDENT, subject, posterior, prior, _half(subject), content, delta)


def _half(subject: Subject) -> int:
    n = len(subject.sample.labels)
    if n < 4:
        raise DataError(f"{DATA_DEPENDENT} needs at least 4 rows, one half to train and one to measure, got {n}")
    refuse_sorted_rows(subject, n // 2)
    return n // 2


def refuse_sorted_rows(subject: Subject, end: int) -> None:
    """See that the rows before and after ``end`` have the labels of one law, as rows in random order do.

    Raises:
        DataError: chance would not divide the labels like this once in a billion times.
    """
    labels = subject.sample.labels
    counts = np.array([np.bincount(part, minlength=int(labels.max()) + 1) for part in (labels[:end], labels[end:])])
    counts = counts[:, counts.sum(0) > 0]
    expected = counts.sum(0) * (counts.sum(1) / len(labels))[:, None]
    excess = float(((counts - expected) ** 2 / expected).sum())
    if special.chdtrc(max(1, counts.shape[1] - 1), excess) < 1e-9:
        raise DataError(
            f"the first {end:,} rows have other labels than the rest: the rows are sorted, and what holds for some of "
            "them says nothing about the others: shuffle the rows of the file"
        )


def _wanted(subject: Subject, first: int, delta: float) -> Wanted:
    """What the bound looks like to the search."""
    of_sample, of_draws = levels(delta)
    n = len(subject.sample.labels)
    return Wanted(first=first, n_bound=n - first, delta=of_sample, delta_draws=of_draws, n_train=n)


def levels(delta: float) -> tuple[float, float]:
    """The shares of delta for the sample and for the draws."""
    of_draws = DRAWS_SHARE * probability("certify", "delta", delta)
    return delta - of_draws, of_draws


def _statement(
    method: str,
    subject: Subject,
    posterior: Posterior,
    prior: Entries,
    first: int,
    content: bytes,
    delta: float,
    observe: Observe = lambda _: None,
) -> Statement:
    """The limit for a posterior that is fixed, from rows ``first`` on."""
    n = len(subject.sample.labels) - first
    seed, count = seed_of(content, method), n_draws(n)
    rows = drawn_rows(first, first + n, count, seed)
    wrong = draw_errors(
        subject.pool,
        subject.sample,
        posterior,
        rows,
        seed,
        lambda done: observe(f"{method}: {done:,} of {count:,} random draws"),
    )
    variance = nearest_variance(posterior, prior)
    kl = posterior.kl(prior, variance)
    of_sample, of_draws = levels(delta)
    error = float(wrong.mean())
    bound = pac_bayes(error, n, kl + GRID_NATS, of_sample, count, of_draws)
    return Statement(
        method=method,
        speaks_of=_SPEAKS_OF[method],
        bound=replace(bound, delta=delta),  # the two shares, added without rounding
        error=error,
        record={
            "file": file_name(method),
            "sha256": hashlib.sha256(content).hexdigest(),
            "first_row": first,
            "n_samples": n,
            "draws": count,
            "n_wrong": int(wrong.sum()),
            "seed": seed,
            "delta_draws": of_draws,
            "n_params": posterior.n_params,
            "paid": list(subject.paid),
            "prior_variance": variance,
            "grid_nats": GRID_NATS,
            "kl": kl,
        },
        files={file_name(method): content},
        notes=(_NOTES[method],),
    )


def file_name(method: str) -> str:
    """Name of the file that a method's posterior is kept in."""
    return f"{method}.safetensors"


def stored_entries(
    method: str, groups: tuple[str, ...], subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes]
) -> tuple[bytes, dict[str, Entries]]:
    """The content of a method's file, and the groups of entries in it.

    Raises:
        AdapterError, InputError: it is not there, or not the recorded one, or of another adapter.
    """
    if file_name(method) not in files or "sha256" not in record:
        raise InputError(f"{file_name(method)} is missing from the certificate: make it again with  lorabound certify")
    content = files[file_name(method)]
    wanted = entries_of(frame_of(subject.adapter, subject.start), subject.paid)
    return content, unpack(content, groups, wanted, str(record["sha256"]), file_name(method))
