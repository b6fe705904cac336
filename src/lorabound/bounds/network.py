"""How far the output of an adapted network can move when its trainable factors move (Lemma 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorabound.arguments import Array, choice, number, real
from lorabound.errors import InputError
from lorabound.modes import MODES, Mode, Part, check_subspace
from lorabound.notation import Number

Block = tuple[Number, Number]
"""(q_t, ln K_t): parameters of one trainable factor, and ln(radius x loss Lipschitz x network Lipschitz)."""


@dataclass(frozen=True)
class Activation:
    """An activation function sigma.

    Attributes:
        lipschitz: K, Lipschitz constant of sigma, > 0.
        at_zero: sigma(0).
        bound: c, largest value of |sigma|; None where it is unbounded.
    Raises:
        InputError: a number outside its range.
    """

    lipschitz: float = 1.0
    at_zero: float = 0.0
    bound: float | None = None

    def __post_init__(self) -> None:
        real("Activation", "lipschitz", self.lipschitz, open_low=True, open_high=True)
        real("Activation", "at_zero", self.at_zero, -np.inf, open_low=True, open_high=True)
        if self.bound is not None:
            real("Activation", "bound", self.bound, abs(self.at_zero), open_high=True)


RELU = Activation()
TANH = Activation(bound=1.0)
SIGMOID = Activation(lipschitz=0.25, at_zero=0.5, bound=1.0)


@dataclass(frozen=True)
class LoraNetwork:
    """h_t = sigma((W_t + s B_t A_t) h_{t-1} + b_t), no sigma after the last layer; Frobenius balls.

    For all inputs with ||x||_2 <= rho and all trainable factors P, P' in their balls

        ||f_P(x) - f_P'(x)||_2 <= sum_t Lambda_t ||P_t - P'_t||_F,
        Lambda_t = |s| a_t H_{t-1} K^{L-t} prod_{u>t} S_u,

    with S_t = ||W_t|| + |s| M_t ||A_t|| (``freeze_a``; ``freeze_b`` the same with B_t), a_t the norm of the
    other factor, H_0 = rho, H_t = min(K (S_t H_{t-1} + ||b_t||) + |sigma(0)| sqrt(d_t), c sqrt(d_t)). In
    ``train_both`` the reach of a factor is its initial norm plus its radius, S_t = ||W_t|| + |s| reach_B
    reach_A, and the layer has two blocks: a_t = reach_A for B_t and reach_B for A_t. In ``core`` (B_t M_t A_t)
    S_t = ||W_t|| + |s| ||B_t|| M_t ||A_t|| and a_t = ||B_t|| ||A_t||. In ``subspace`` one vector of radius M fills
    all B_t, so that every M_t is M, and there is one block for all layers:

        ||f_theta(x) - f_theta'(x)||_2 <= Lambda_theta ||theta - theta'||,   Lambda_theta^2 = sum_t Lambda_t^2.

    Every entry may be an array where a curve is drawn (rank, norms, radii); they broadcast.

    Args:
        widths: d_0 .. d_L, at least two.
        rank: r >= 1.
        mode: name of a mode of :mod:`lorabound.modes`, which says what is frozen.
        weight_norms: ||W_t||_op, one per layer.
        bias_norms: ||b_t||_2, one per layer.
        factor_norms: operator norm of the frozen factor, one per layer; ``core``: pairs (B, A); ``train_both``: pairs
            (B, A) of the operator norms at initialization. None where a layer has no adapter.
        radii: M_t, Frobenius distance from the initialization; ``train_both``: pairs (B, A); ``subspace``: the norm
            of theta, the same for every layer. None where a layer has no adapter. All modes but ``train_both`` train
            something that starts at 0; for what does not, add the norm of its start.
        scale: s; its sign does not matter.
        input_radius: rho, known before the sample is seen.
        activation: K, |sigma(0)| and c.
        subspace_size: p, the entries of theta; ``subspace`` only.
    Raises:
        InputError: an argument outside its range, or lists of unequal length.
    Source: Kratsios et al. 2025, Lemma 4; constants ours. Swap the layers one at a time: swapping layer t
        moves its pre-activation by at most |s| a_t H_{t-1} ||P_t - P'_t||, every later layer and
        activation stretches that by S_u and K. In ``train_both`` write BA - B'A' = (B - B')A + B'(A - A'). In
        ``subspace`` sum_t Lambda_t ||B_t - B'_t||_F by Cauchy-Schwarz, as sum_t ||B_t - B'_t||_F^2 =
        ||theta - theta'||^2 (:mod:`lorabound.adapters.subspace`).
    """

    widths: Sequence[int]
    rank: Any
    mode: Mode
    weight_norms: Sequence[Any]
    bias_norms: Sequence[Any]
    factor_norms: Sequence[Any]
    radii: Sequence[Any]
    scale: float = 1.0
    input_radius: float = 1.0
    activation: Activation = RELU
    subspace_size: int | None = None

    def __post_init__(self) -> None:
        name = "LoraNetwork"
        choice(name, "mode", self.mode, MODES)
        real(name, "widths", self.widths, 1, open_high=True, whole=True)
        real(name, "rank", self.rank, 1, open_high=True, whole=True)
        real(name, "scale", self.scale, -np.inf, open_low=True, open_high=True)
        real(name, "input_radius", self.input_radius, open_high=True)
        if len(self.widths) < 2:
            raise InputError(f"{name}: widths must hold d_0 .. d_L, at least two, got {self.widths}")
        for field in ("weight_norms", "bias_norms", "factor_norms", "radii"):
            values = getattr(self, field)
            if len(values) != self.depth:
                raise InputError(f"{name}: {field} must have one entry per layer, {self.depth}, got {len(values)}")
            for value in values:
                if value is None and field in ("factor_norms", "radii"):
                    continue
                pair = field in ("factor_norms", "radii") and len(self._factors(field)) > 1
                if pair and (np.ndim(value) == 0 or len(value) != 2):
                    raise InputError(f"{name}: {field} must be pairs (B, A) in {self.mode}, got {value}")
                for entry in value if pair else (value,):
                    real(name, field, entry, open_high=True)
        unequal = [(m is None) != (a is None) for m, a in zip(self.radii, self.factor_norms, strict=True)]
        if any(unequal):
            raise InputError(
                f"{name}: layer {unequal.index(True) + 1} has only one of radii and factor_norms; "
                "give None in both where a layer has no adapter"
            )
        if self._one_vector:
            filled = sum(np.min(self.rank) * self.widths[t + 1] for t in self._adapted)
            check_subspace(self.subspace_size, int(filled))
            radii = [self.radii[t] for t in self._adapted]
            if any(not np.array_equal(radius, radii[0]) for radius in radii):
                raise InputError(
                    f"{name}: radii must be the same for every layer in {self.mode}, where one vector fills all B, got "
                    f"{self.radii}"
                )

    @property
    def depth(self) -> int:
        """L, the number of weight layers."""
        return len(self.widths) - 1

    @property
    def n_params(self) -> Any:
        """q: r d_t (``freeze_a``), r d_{t-1} (``freeze_b``, ``common``), r (d_t + d_{t-1}) (``train_both``), r^2
        (``core``), summed; p (``subspace``)."""
        if self._one_vector:
            return self.subspace_size
        total = np.asarray(sum(size for t in self._adapted for size in self._sizes(t)))
        return total if total.ndim else int(total)

    def log_lipschitz(self) -> list[Any]:
        """ln Lambda_t of every adapted layer, first to last; ``train_both``: pairs (B, A); ``subspace``: that of theta
        alone. -inf: constant."""
        logs = self._log_lambdas()
        if self._one_vector:
            return [number(_root_of_squares(logs))]
        return [tuple(map(number, pair)) if len(pair) > 1 else number(pair[0]) for pair in logs]

    def blocks(self, loss_lipschitz: float = 1.0) -> list[Block]:
        """[(q_t, ln K_t)], K_t = M_t L_ell Lambda_t: all a uniform bound needs; ``train_both``: B, then A.

        In ``subspace`` there is one block for all layers.

        Raises:
            InputError: ``loss_lipschitz`` not positive and finite.
        """
        log_loss = math.log(float(real("blocks", "loss_lipschitz", loss_lipschitz, open_low=True, open_high=True)))
        if self._one_vector:
            log_radius = _log(self.radii[self._adapted[0]])
            return [(number(self.n_params), number(log_radius + log_loss + _root_of_squares(self._log_lambdas())))]
        return [
            (number(size), number(_log(radius) + log_loss + log_lambda))
            for t, logs in zip(self._adapted, self._log_lambdas(), strict=True)
            for size, radius, log_lambda in zip(self._sizes(t), self._entries("radii", t).values(), logs, strict=True)
        ]

    @property
    def _adapted(self) -> list[int]:
        return [t for t in range(self.depth) if self.radii[t] is not None]

    @property
    def _one_vector(self) -> bool:
        """Whether one trained vector fills the factors of all layers."""
        return MODES[self.mode].trained == ("theta",)

    def _factors(self, field: str) -> tuple[Part, ...]:
        """The parts an entry of ``field`` speaks of; the entry is a pair where there are two."""
        facts = MODES[self.mode]
        return facts.trained if field == "radii" else facts.frozen or facts.trained

    def _entries(self, field: str, t: int) -> dict[Part, Any]:
        """What ``field`` says of the parts of layer t, by part."""
        entry, factors = getattr(self, field)[t], self._factors(field)
        return dict(zip(factors, entry if len(factors) > 1 else (entry,), strict=True))

    def _sizes(self, t: int) -> tuple[Any, ...]:
        return MODES[self.mode].sizes(np.asarray(self.rank), self.widths[t + 1], self.widths[t])

    def _log_reaches(self, t: int) -> dict[Part, Array]:
        """ln of the largest operator norm of every part over the ball.

        A trained part reaches as far as its radius, from its initial norm on where ``factor_norms`` tells that one.
        """
        norms = {factor: _log(norm) for factor, norm in self._entries("factor_norms", t).items()}
        radii = {factor: _log(radius) for factor, radius in self._entries("radii", t).items()}
        return norms | {f: np.logaddexp(norms[f], radius) if f in norms else radius for f, radius in radii.items()}

    def _log_lambdas(self) -> list[tuple[Array, ...]]:
        sigma, log_scale = self.activation, _log(abs(self.scale))
        log_k = math.log(sigma.lipschitz)
        log_layer = []
        for t in range(self.depth):
            layer = _log(self.weight_norms[t])
            if self.radii[t] is not None:
                layer = np.logaddexp(layer, log_scale + sum(self._log_reaches(t).values()))
            log_layer.append(layer)
        log_hidden = [_log(self.input_radius)]
        for t in range(self.depth - 1):
            half_log_width = 0.5 * math.log(self.widths[t + 1])
            moved = np.logaddexp(log_layer[t] + log_hidden[t], _log(self.bias_norms[t])) + log_k
            hidden = np.logaddexp(moved, _log(abs(sigma.at_zero)) + half_log_width)
            if sigma.bound is not None:
                hidden = np.minimum(hidden, _log(sigma.bound) + half_log_width)
            log_hidden.append(hidden)
        above = [np.zeros(())]  # ln of K^{L-t} prod_{u>t} S_u, last layer first
        for layer in log_layer[:0:-1]:
            above.append(above[-1] + layer + log_k)
        lambdas = []
        for t in self._adapted:
            reaches = self._log_reaches(t)
            others = [
                sum(reach for other, reach in reaches.items() if other != factor) for factor in MODES[self.mode].trained
            ]
            lambdas.append(tuple(log_scale + other + log_hidden[t] + above[-1 - t] for other in others))
        return lambdas


def _root_of_squares(logs: Sequence[tuple[Array, ...]]) -> Array:
    """ln sqrt(sum_t exp(2 x_t)); -inf without any."""
    total = np.asarray(-np.inf)
    for (log,) in logs:
        total = np.logaddexp(total, 2 * log)
    return np.asarray(total / 2)


def _log(value: Any) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(value, dtype=np.float64))
