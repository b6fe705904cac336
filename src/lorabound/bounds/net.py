"""One-step discretization: Hoeffding or Chernoff at every centre of one cover, then two Lipschitz steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, number, probability, real, samples
from lorabound.bounds.chaining import SCALES
from lorabound.bounds.covering import Form, log_covering, total_params
from lorabound.bounds.network import Block
from lorabound.bounds.tails import kl_inverse
from lorabound.notation import Bound, Number

# The J = 64 radii of ``net_kl``: they are paid for, so they are fixed for good.
KL_RADII: Array = np.geomspace(1e-8, 0.5, 64)


def net_terms(blocks: Sequence[Block], n: Array, log_delta: float, form: Form) -> dict[str, Number]:
    """{2 eps, sqrt((ln N(eps) + ln(1/delta))/(2N))} at the best eps of SCALES: free, nothing is data."""
    log_cover, eps = _on_grid(SCALES, blocks, n, form)
    deviation = np.sqrt((log_cover - log_delta) / (2 * n))
    best = (2 * eps + deviation).argmin(axis=0)
    return {
        "discretization": number(2 * SCALES[best]),
        "deviation": number(np.take_along_axis(deviation, best[None], axis=0)[0]),
    }


def net_kl_terms(
    blocks: Sequence[Block], n: Array, log_delta: float, empirical_risk: Array, form: Form
) -> dict[str, Number]:
    """{eps, kl_inverse(min(1, Rhat + eps), (ln N(eps) + ln(J/delta))/N)} at the best of the J radii."""
    empirical_risk, n = np.broadcast_arrays(empirical_risk, n)
    log_cover, eps = _on_grid(KL_RADII, blocks, n, form)
    budget = (log_cover + np.log(len(KL_RADII)) - log_delta) / n
    inverse = np.asarray(kl_inverse(np.minimum(1.0, empirical_risk + eps), budget))
    best = (eps + inverse).argmin(axis=0)
    return {
        "discretization": number(KL_RADII[best]),
        "inverse_kl": number(np.take_along_axis(inverse, best[None], axis=0)[0]),
    }


def net_kl(
    blocks: Sequence[Block],
    n_samples: ArrayLike,
    delta: float,
    empirical_risk: ArrayLike,
    form: Form = "finest",
) -> Bound:
    """R <= eps + kl_inverse( min(1, Rhat + eps), (ln N(eps) + ln(J/delta))/N ), all of the class at once.

    eps is the best of J = 64 values fixed in advance, log-spaced in [1e-8, 1/2]; choosing it after Rhat was
    seen is what ln J pays for.

    Args:
        blocks: (q_t, ln K_t), see :func:`log_covering`.
        n_samples: N; scalar or array.
        delta: failure probability, in (0, 1).
        empirical_risk: Rhat of the predictor that was trained, in [0, 1]; scalar or array.
        form: kind of cover, see :func:`log_covering`.
    Raises:
        InputError: an argument outside its range.
    Source: ours; Chernoff for [0, 1]-valued losses (Hoeffding 1963, Theorem 1) at each centre, a union
        bound over centres and over the J radii, then the loss of the trained predictor is within eps of
        its centre's.
    """
    n = samples("net_kl", n_samples)
    risk = real("net_kl", "empirical_risk", empirical_risk, 0.0, 1.0)
    terms = net_kl_terms(blocks, n, np.log(probability("net_kl", "delta", delta)), risk, form)
    return net_kl_bound(terms, n, delta, risk, blocks, form)


def net_kl_bound(
    terms: dict[str, Number], n: Array, delta: float, risk: Array, blocks: Sequence[Block], form: Form
) -> Bound:
    """The record of a ``net_kl`` bound."""
    return Bound(
        value=number(np.add(terms["discretization"], terms["inverse_kl"])),
        kind="risk",
        delta=delta,
        n_samples=number(n),
        terms=terms,
        combine="discretization + inverse_kl",
        theorem="ours: Chernoff on a net (net_kl)",
        predictor="every member of the class, the trained one among them",
        scope="uniform",
        assumptions=uniform_assumptions(form),
        inputs={"n_params": total_params(blocks), "empirical_risk": number(risk)},
    )


def uniform_assumptions(form: Form, fixed_radii: bool = True) -> tuple[str, ...]:
    """What every uniform bound assumes; with the cube form, also what its class is."""
    fixed = "frozen factor, pre-trained weights and radii" if fixed_radii else "frozen factor and pre-trained weights"
    cube = ("every entry of factor t is at most M_t/sqrt(q_t) in absolute value",) if form == "cube" else ()
    return (*cube, *_UNIFORM_ASSUMPTIONS, f"{fixed} do not depend on the sample")


_UNIFORM_ASSUMPTIONS = (
    "examples are independent and identically distributed",
    "the loss has values in [0, 1] and the Lipschitz constant given",
    "inputs lie within the input radius, which was known in advance",
)


def _on_grid(radii: Array, blocks: Sequence[Block], n: Array, form: Form) -> tuple[Array, Array]:
    """ln N at every radius and the radii, both with the radii first and room for N behind."""
    shape = np.broadcast_shapes(*(np.shape(entry) for block in blocks for entry in block))
    log_cover = np.asarray(log_covering(blocks, radii.reshape((-1,) + (1,) * len(shape)), form))
    behind = max(n.ndim, len(shape))
    return (
        log_cover.reshape((-1, *(1,) * (behind - len(shape)), *shape)),
        radii.reshape((-1,) + (1,) * behind),
    )
