"""PAC-Bayes certificates of a randomized adapter, whose prior does not know the data, or knows half of them.

    R(Q) <= kl_inverse( kl_inverse(p, ln(1/delta')/m), (KL(Q || P) + ln(xi(n)/(delta - delta')))/n )

p is the share of errors among m draws of (weights, example). What certifies is in this file and says nothing of how
the posterior was found, because the bound holds for every posterior at once; the search is in
:mod:`lorabound.certificates.search`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lorabound.adapters.adapter import Array
from lorabound.arguments import probability
from lorabound.bounds import pac_bayes
from lorabound.certificates.certificate import Statement
from lorabound.certificates.monte_carlo import draw_errors, drawn_rows, seed_of
from lorabound.certificates.posterior import (
    GRID_NATS,
    Posterior,
    entries,
    nearest_prior,
    prior_bytes,
    read_posterior,
    read_prior,
    start_entries,
)
from lorabound.certificates.search import search, train_prior
from lorabound.certificates.subject import Subject
from lorabound.errors import AdapterError, DataError
from lorabound.sweeps.records import fingerprint as _fingerprint

Prior = Literal["data-free", "data-dependent"]
Observer = Callable[[str], None]

DATA_FREE, DATA_DEPENDENT = "pac-bayes", "pac-bayes-half"
