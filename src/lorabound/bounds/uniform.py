"""How far true and empirical risk can be apart, for every adapter of the class at once (Theorem 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, choice, number, probability, samples
from lorabound.bounds.chaining import chaining_terms
from lorabound.bounds.covering import FORMS, Form, total_params
from lorabound.bounds.dudley import Constants, dudley_terms
from lorabound.bounds.net import net_terms, uniform_assumptions
from lorabound.bounds.network import Block
from lorabound.errors import InputError
from lorabound.notation import Bound

Method = Literal["chaining", "net", "dudley"]

_THEOREMS = {
    "chaining": "ours: chaining of R - Rhat over covers of the class",
    "net": "one-step discretization (Hoeffding 1963, Theorem 2, on a cover)",
    "dudley": "Kratsios et al. 2025, Theorem 1, constants made explicit",
}


def uniform_gap(
    blocks: Sequence[Block],
    n_samples: ArrayLike,
    delta: float,
    method: Method = "chaining",
    constants: Constants = "sharp",
    sides: Literal[1, 2] = 1,
    form: Form = "finest",
) -> Bound:
    """sup (R - Rhat) over the class, with probability >= 1 - delta over the sample, for fixed frozen factors.

    ``chaining``: 2 e_k + sum_j e_{j-1} sqrt(2 ln N(e_j)/N) + sqrt(ln(1/delta)/(2N)), scales optimized.
    ``net``: 2 eps + sqrt((ln N(eps) + ln(1/delta))/(2N)), eps optimized.
    ``dudley``: 2 Rad + sqrt(ln(1/delta)/(2N)), Rad by :func:`dudley_rademacher`; with constants="paper" as
    published: 2 Rad + sqrt(8 ln(2/delta)/N) with the integral up to 1, which holds for both sides.

    Args:
        blocks: (q_t, ln K_t), see :func:`log_covering`; entries may be arrays (a curve in the rank).
        n_samples: N; scalar or array.
        delta: failure probability, in (0, 1).
        method: "chaining", "net" or "dudley".
        constants: "sharp", or "paper" (``dudley`` only).
        sides: 1 bounds R - Rhat, 2 bounds |R - Rhat| (delta/2 for each side).
        form: kind of cover, see :func:`log_covering`; ``dudley`` reads "finest" as "frobenius".
    Raises:
        InputError: an argument outside its range.
    Source: Kratsios et al. 2025, Theorem 1 and Lemma 9 (``dudley``); Hoeffding 1963 on a cover (``net``);
        ours (``chaining``, see :func:`chaining_sum`). Confidence: one example moves the supremum by at
        most 1/N (McDiarmid 1989).
    """
    choice("uniform_gap", "sides", sides, (1, 2))
    log_delta = math.log(probability("uniform_gap", "delta", delta))
    return gap_bound(blocks, samples("uniform_gap", n_samples), delta, log_delta, method, constants, sides, form)


def gap_bound(
    blocks: Sequence[Block],
    n: Array,
    delta: float,
    log_delta: float,
    method: Method,
    constants: Constants,
    sides: int,
    form: Form,
) -> Bound:
    """The bound at ``log_delta``, which may be smaller than ln ``delta`` (a share of it)."""
    choice("uniform_gap", "method", method, ("chaining", "net", "dudley"))
    choice("uniform_gap", "constants", constants, ("sharp", "paper"))
    choice("uniform_gap", "form", form, FORMS)
    if constants == "paper" and method != "dudley":
        raise InputError(f"uniform_gap: constants 'paper' belong to method 'dudley', got method {method!r}")
    log_each = log_delta - (math.log(2.0) if sides == 2 and constants == "sharp" else 0.0)
    inputs: dict[str, Any] = {
        "n_params": total_params(blocks),
        "method": method,
        "constants": constants,
        "sides": sides,
        "form": form,
    }
    if method == "chaining":
        terms, inputs["scales"] = chaining_terms(blocks, n, log_each, form)
    elif method == "net":
        terms = net_terms(blocks, n, log_each, form)
    else:
        terms = dudley_terms(blocks, n, log_each, constants, form)
    return Bound(
        value=number(sum((np.asarray(term) for term in terms.values()), start=np.zeros(()))),
        kind="gap",
        delta=delta,
        n_samples=number(n),
        terms=terms,
        combine=" + ".join(terms),
        theorem=_THEOREMS[method],
        predictor="every member of the class, the trained one among them",
        scope="uniform",
        assumptions=uniform_assumptions(form),
        inputs=inputs,
    )
