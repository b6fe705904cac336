"""Recursive PAC-Bayes: posteriors on growing parts of the sample, each the prior of the next.

The parts are fixed beforehand: the first quarter of the rows, the first half, all of them. Posterior t is trained on
part t from posterior t-1 on; its excess over half of the loss of t-1 is measured on the rows that t-1 has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from lorabound.adapters import entries_of
from lorabound.bounds.recursive import recursive_pac_bayes
from lorabound.certificates.certificate import Statement
from lorabound.certificates.monte_carlo import draw_errors, drawn_rows, n_draws, seed_of
from lorabound.certificates.pac_bayes import file_name, levels, refuse_sorted_rows, stored_entries
from lorabound.certificates.posterior import (
    GRID_NATS,
    Entries,
    Posterior,
    frame_of,
    nearest_variance,
    pack,
)
from lorabound.certificates.search import Wanted, next_posterior, search
from lorabound.certificates.subject import Subject, with_own_draw
from lorabound.errors import DataError

RECURSIVE = "pac-bayes-recursive"
# Shares of the rows on which the posteriors are trained, and the share of the last loss that is subtracted.
_PARTS, _GAMMA = (0.25, 0.5, 1.0), 0.5
_GROUPS = tuple(f"{kind}{stage}" for stage in range(1, len(_PARTS) + 1) for kind in ("mean", "variance"))


def certify_recursive(subject: Subject, delta: float, observe: Callable[[str], None] = lambda _: None) -> Statement:
    """Train the posteriors, part after part; each is fixed before the rows of the next part are used.

    Raises:
        DataError: too few rows, or rows that are sorted by label.
        InputError: a delta outside (0, 1).
    """
    subject, ends = with_own_draw(subject), _ends(subject)
    of_sample, of_draws = levels(delta)
    posteriors: list[Posterior] = []
    for end, first in zip(ends, (0, *ends), strict=False):
        observe(f"{RECURSIVE}: posterior {len(posteriors) + 1} of {len(ends)}, from the first {end:,} rows")
        wanted = Wanted(first=first, n_bound=ends[-1] - first, delta=of_sample, delta_draws=of_draws, n_train=end)
        if posteriors:
            posteriors.append(next_posterior(subject, posteriors[-1], wanted))
        else:
            start = entries_of(frame_of(subject.adapter, subject.start), subject.paid)
            posteriors.append(search(subject, start, wanted, observe))
    return _statement(subject, posteriors, _content(posteriors), delta, observe)


def recompute_recursive(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same from the stored posteriors. That none saw the rows of a later part, no file shows.

    Raises:
        AdapterError, InputError: the posteriors are not the recorded ones, or of another adapter.
        DataError: too few rows, or rows that are sorted by label.
    """
    subject = with_own_draw(subject)
    content, found = stored_entries(RECURSIVE, _GROUPS, subject, record, files)
    frame = frame_of(subject.adapter, subject.start)
    posteriors = [
        Posterior(frame=frame, mean=found[f"mean{stage}"], variance=found[f"variance{stage}"])
        for stage in range(1, len(_PARTS) + 1)
    ]
    return _statement(subject, posteriors, content, delta)


def _content(posteriors: list[Posterior]) -> bytes:
    groups: dict[str, Entries] = {}
    for stage, posterior in enumerate(posteriors, 1):
        groups |= {f"mean{stage}": posterior.mean, f"variance{stage}": posterior.variance}
    return pack(groups)


def _ends(subject: Subject) -> tuple[int, ...]:
    """Where the parts end."""
    n = len(subject.sample.labels)
    if n < 8:
        raise DataError(f"{RECURSIVE} needs at least 8 rows to divide them, got {n}")
    ends = tuple(int(n * share) for share in _PARTS)
    for end in ends[:-1]:
        refuse_sorted_rows(subject, end)
    return ends


def _statement(
    subject: Subject,
    posteriors: list[Posterior],
    content: bytes,
    delta: float,
    observe: Callable[[str], None] = lambda _: None,
) -> Statement:
    ends, seed = _ends(subject), seed_of(content, RECURSIVE)
    n, sizes = ends[-1], [ends[-1] - first for first in (0, *ends[:-1])]
    counts = [n_draws(size) for size in sizes]
    done = 0

    def errors(stage: int, rows: np.ndarray, of: int) -> np.ndarray:
        """Errors of posterior ``of`` on the rows of a stage."""
        nonlocal done
        seen = done
        wrong = draw_errors(
            subject.pool,
            subject.sample,
            posteriors[of],
            rows,
            seed + 16 * stage + of,
            lambda now: observe(f"{RECURSIVE}: {seen + now:,} of {2 * sum(counts) - counts[0]:,} random draws"),
        )
        done += len(rows)
        return wrong

    first = errors(0, drawn_rows(0, n, counts[0], seed), 0)
    shares = []
    for stage in range(1, len(ends)):
        rows = drawn_rows(ends[stage - 1], n, counts[stage], seed + 16 * stage)
        now, before = errors(stage, rows, stage), errors(stage, rows, stage - 1)
        # now - gamma before is 0 or more, 1 - gamma or more, 1.
        shares.append([float(np.mean(now | ~before)), float(now.mean()), float(np.mean(now & ~before))])
    start = entries_of(frame_of(subject.adapter, subject.start), subject.paid)
    variance = nearest_variance(posteriors[0], start)
    kls = [posteriors[0].kl(start, variance)]
    kls += [after.kl(before.mean, before.variance) for before, after in pairwise(posteriors)]
    of_sample, of_draws = levels(delta)
    bound = recursive_pac_bayes(
        float(first.mean()), shares, sizes, [kls[0] + GRID_NATS, *kls[1:]], counts, of_sample, of_draws, _GAMMA
    )
    return Statement(
        method=RECURSIVE,
        speaks_of="an adapter drawn at random for every prediction, around one that was trained for this certificate,",
        bound=replace(bound, delta=delta),  # the two shares, added without rounding
        error=shares[-1][1],
        record={
            "file": file_name(RECURSIVE),
            "sha256": hashlib.sha256(content).hexdigest(),
            "ends": list(ends),
            "gamma": _GAMMA,
            "n_samples": sizes,
            "draws": counts,
            "first_risk": float(first.mean()),
            "shares": shares,
            "seed": seed,
            "delta_draws": of_draws,
            "n_params": posteriors[0].n_params,
            "paid": list(subject.paid),
            "prior_variance": variance,
            "grid_nats": GRID_NATS,
            "kls": kls,
        },
        files={file_name(RECURSIVE): content},
        notes=(
            f"{RECURSIVE} speaks of a random adapter that was trained for it, not of the adapter as stored. No file "
            "shows that none of its posteriors saw rows of a later part.",
        ),
    )
