"""What the worst-case commands are asked to do, checked where it comes in. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from lorabound.config import SIMULATION, Settings, list_of, once, setting

# A seed must be one of NumPy's and torch's.
LARGEST_SEED = 2**63 - 1
# Images that the measured worst case draws its samples from; the other 773 pre-train its network.
POOL = 1024
# Beyond these a factor or a network leaves the range of the floating point numbers.
_LEAST, _MOST = 1e-12, 1e12


def _not_zero(scale: float) -> float:
    if not _LEAST <= abs(scale) <= _MOST:
        raise ValueError("its size must lie between 1e-12 and 1e12")
    return scale


def _even(signs: int) -> int:
    if signs % 2:
        raise ValueError("it must be even, as draws come in pairs s and -s")
    return signs


class _WorstCaseConfig(Settings):
    """What both worst cases have in common.

    Attributes:
        ranks: LoRA ranks r.
        n_train: training set sizes N.
        radius: M of the Frobenius balls.
        std: nu, standard deviation of the Gaussian A_t.
        scale: s, not 0.
        seed: seed of all random draws.
    """

    ranks: list[int]
    n_train: list[int]
    radius: float = setting(
        1.0,
        "Largest Frobenius norm (root of the sum of squares) of a trained matrix; M in the paper.",
        SIMULATION,
        ge=_LEAST,
        le=_MOST,
    )
    std: float = setting(
        1.0, "Standard deviation of the entries of the random matrix A.", SIMULATION, ge=_LEAST, le=_MOST
    )
    scale: Annotated[float, AfterValidator(_not_zero)] = setting(
        1.0, "LoRA scale: lora_alpha divided by the rank.", SIMULATION, allow_inf_nan=False
    )
    seed: int = setting(0, "Seed of all random draws.", SIMULATION, ge=0, le=LARGEST_SEED, strict=True)


class LowerConfig(_WorstCaseConfig):
    """The simulation of Theorem 2.

    Attributes:
        widths: d_0 .. d_L.
        ranks: LoRA ranks r, each >= 1.
        n_train: training set sizes N, each >= 1.
        trials: number of draws of the first columns of A and of the coin.
        probability: p of the statement, in (0, 1).
    Raises:
        InputError: a value out of range.
    """

    widths: Annotated[list[Annotated[int, Field(ge=1, le=1024, strict=True)]], Field(min_length=2), list_of(int)] = (
        setting([8, 8, 1], "Widths of the network's layers, from the input to the output.", SIMULATION)
    )
    ranks: Annotated[
        list[Annotated[int, Field(ge=1, le=4096, strict=True)]], Field(min_length=1), list_of(int), once
    ] = setting([1, 2, 4, 8, 16, 64], "LoRA ranks to compare.", SIMULATION)
    n_train: Annotated[
        list[Annotated[int, Field(ge=1, le=10**12, strict=True)]], Field(min_length=1), list_of(int), once
    ] = setting([100, 10_000], "Training set sizes to compare.", SIMULATION)
    trials: int = setting(
        1_000_000, "Number of times that A and the training set are drawn.", SIMULATION, ge=100, le=10**9
    )
    probability: float = setting(
        0.5, "Probability with which the gap is at least as large as the theorem says.", SIMULATION, gt=0, lt=1
    )


class ComplexityConfig(_WorstCaseConfig):
    """The grid and the class whose Rademacher complexity is measured.

    Attributes:
        ranks: r of digits; of the cells family the numbers of cells, at rank 4 m.
        n_train: training set sizes N, at most 1024.
        signs: number of sign draws, even, at least 4.
        steps: number of steps of each ascent.
    Raises:
        InputError: a value out of range.
    """

    ranks: Annotated[
        list[Annotated[int, Field(ge=1, le=256, strict=True)]], Field(min_length=1), list_of(int), once
    ] = setting([1, 2, 4, 8, 16], "LoRA ranks to compare.", SIMULATION)
    n_train: Annotated[
        list[Annotated[int, Field(ge=1, le=POOL, strict=True)]], Field(min_length=1), list_of(int), once
    ] = setting([64, 256, 1024], f"Training set sizes to compare, at most {POOL}.", SIMULATION)
    signs: Annotated[int, AfterValidator(_even)] = setting(
        16,
        "Number of draws of the random signs that the network tries to match; even, at least 4.",
        SIMULATION,
        ge=4,
        le=10_000,
    )
    steps: int = setting(
        150,
        "Optimizer steps of each of the four searches for the worst case; more find more.",
        SIMULATION,
        ge=1,
        le=1_000_000,
    )
