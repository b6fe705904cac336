"""What the worst-case commands are asked to do, checked where it comes in."""

from __future__ import annotations

from dataclasses import dataclass

from lorabound.arguments import probability, real
from lorabound.errors import InputError

# A seed must be one of NumPy's and torch's.
LARGEST_SEED = 2**63 - 1
# Images that the measured worst case draws its samples from; the other 773 pre-train its network.
POOL = 1024


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """The numbers of a flag such as ``1,2,4``.

    Raises:
        InputError: something that is not a list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"{option} must be whole numbers separated by commas, got {text!r}") from None


def check_list(option: str, values: tuple[int, ...], high: int, least: int = 1, distinct: bool = True) -> None:
    """``values`` are ``least`` or more whole numbers of [1, high], without repeats where ``distinct``.

    Raises:
        InputError: otherwise.
    """
    if len(values) < least:
        raise InputError(f"{option} must hold at least {least} number{'s' if least > 1 else ''}, got {len(values)}")
    real("worst case", option, values, 1, high, whole=True)
    if distinct and len(set(values)) != len(values):
        raise InputError(f"{option} names a value twice: {', '.join(map(str, values))}")


def check_ball(radius: float, std: float, scale: float, seed: int) -> None:
    """Radius M, standard deviation nu, scale s and a seed that a simulation can use.

    Raises:
        InputError: one that is out of range.
    """
    # Beyond these a factor or a network leaves the range of the floating point numbers.
    real("worst case", "radius", radius, 1e-12, 1e12)
    real("worst case", "std", std, 1e-12, 1e12)
    real("worst case", "size of scale", abs(scale), 1e-12, 1e12)
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed must lie in [0, {LARGEST_SEED}], got {seed}")


@dataclass(frozen=True)
class LowerConfig:
    """The simulation of Theorem 2.

    Attributes:
        widths: d_0 .. d_L.
        ranks: r, each >= 1.
        n_train: N, each >= 1.
        radius: M of the Frobenius balls.
        std: nu of the Gaussian A_t.
        scale: s, not 0.
        trials: draws of the first columns of A and of the coin.
        seed: of every draw.
        probability: p of the statement, in (0, 1).
    Raises:
        InputError: a value out of range.
    """

    widths: tuple[int, ...] = (8, 8, 1)
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 64)
    n_train: tuple[int, ...] = (100, 10_000)
    radius: float = 1.0
    std: float = 1.0
    scale: float = 1.0
    trials: int = 1_000_000
    seed: int = 0
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_list("widths", self.widths, 1024, least=2, distinct=False)
        check_list("ranks", self.ranks, 4096)
        check_list("n-train", self.n_train, 10**12)
        check_ball(self.radius, self.std, self.scale, self.seed)
        real("worst case", "trials", self.trials, 100, 10**9, whole=True)
        probability("worst case", "probability", self.probability)


@dataclass(frozen=True)
class ComplexityConfig:
    """The grid and the class.

    Attributes:
        ranks: r of digits; of the cells family the numbers of cells, at rank 4 m.
        n_train: N, at most 1024.
        signs: sign draws, even, at least 4.
        radius: M, the Frobenius radius of every layer of digits.
        std: nu of the Gaussian A.
        scale: s.
        steps: of each ascent.
        seed: of everything.
    Raises:
        InputError: a value out of range.
    """

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    n_train: tuple[int, ...] = (64, 256, 1024)
    signs: int = 16
    radius: float = 1.0
    std: float = 1.0
    scale: float = 1.0
    steps: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        check_list("ranks", self.ranks, 256)
        check_list("n-train", self.n_train, POOL)
        check_ball(self.radius, self.std, self.scale, self.seed)
        real("complexity", "signs", self.signs, 4, 10_000, whole=True)
        real("complexity", "steps", self.steps, 1, 1_000_000, whole=True)
        if self.signs % 2:
            raise InputError(f"signs must be even, as draws come in pairs s and -s, got {self.signs}")
