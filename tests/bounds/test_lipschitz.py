"""The Lipschitz constants, attacked by gradient ascent: never exceeded, attained where they can be."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import torch

from lorabound.adapters.subspace import copies_of
from lorabound.bounds import RELU, SIGMOID, TANH, Activation, LoraNetwork
from lorabound.errors import InputError

ACTIVATIONS = {
    "relu": (RELU, torch.relu),
    "tanh": (TANH, torch.tanh),
    "sigmoid": (SIGMOID, torch.sigmoid),
    "shifted": (Activation(lipschitz=2.0, at_zero=-1.0), lambda x: 2 * torch.relu(x) - 1),
}
# What each mode trains: factors, M between frozen ones, theta for all layers. ``common`` is ``freeze_b`` to a bound.
TRAINED = {"freeze_a": "B", "freeze_b": "A", "train_both": "BA", "core": "M", "subspace": "T"}
MODES = list(TRAINED)
SIZE = 5


def operator_norm(matrix):
    return float(torch.linalg.matrix_norm(matrix, 2))


class Attack:
    """A network with all its matrices, and the ratio of output movement to what the bound allows."""

    def __init__(
        self,
        seed,
        mode,
        activation,
        widths=(3, 5, 4, 2),
        rank=2,
        scale=0.7,
        rho=1.5,
        radius=0.8,
        aligned=False,
    ):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.sigma, self.apply = ACTIVATIONS[activation]
        self.mode, self.scale, self.rho, self.depth = mode, scale, rho, len(widths) - 1
        layers = list(pairwise(widths))
        self.w = [draw(o, i) / math.sqrt(i) for i, o in layers]
        self.b = [0.3 * draw(o) for _, o in layers]
        self.a0 = [draw(rank, i) / math.sqrt(i) for i, _ in layers]
        self.b0 = [draw(o, rank) / math.sqrt(rank) for _, o in layers]
        if aligned:
            # Rank-one matrices that pass on the direction the one below puts out: all norms multiply.
            unit = [torch.eye(d, dtype=torch.float64)[0] for d in widths]
            head = torch.eye(rank, dtype=torch.float64)[0]
            self.w = [0.9 * torch.outer(unit[t + 1], unit[t]) for t in range(self.depth)]
            self.b = [0.2 * unit[t + 1] for t in range(self.depth)]
            self.a0 = [1.1 * torch.outer(head, unit[t]) for t in range(self.depth)]
            self.b0 = [1.3 * torch.outer(unit[t + 1], head) for t in range(self.depth)]
        if mode in ("freeze_a", "subspace"):
            self.b0 = [torch.zeros_like(m) for m in self.b0]
        if mode == "freeze_b":
            self.a0 = [torch.zeros_like(m) for m in self.a0]
        if mode == "train_both" and not aligned:
            self.b0 = [0.5 * m for m in self.b0]
        self.trained, self.rank, self.radius = TRAINED[mode], rank, radius
        # The first letters of the names keep the order of the layers.
        copies = copies_of(seed, SIZE, {chr(97 + t): tuple(b.shape) for t, b in enumerate(self.b0)})
        self.copies = [(torch.from_numpy(c.index), torch.from_numpy(c.weight).double()) for c in copies.values()]
        norms = [(operator_norm(b), operator_norm(a)) for b, a in zip(self.b0, self.a0, strict=True)]
        pick, pairs = {"freeze_a": 1, "freeze_b": 0, "subspace": 1}, mode in ("train_both", "core")
        self.network = LoraNetwork(
            widths, rank, mode,
            [operator_norm(w) for w in self.w],
            [float(b.norm()) for b in self.b],
            norms if pairs else [pair[pick[mode]] for pair in norms],
            [(radius, radius) if mode == "train_both" else radius] * self.depth,
            scale, rho, self.sigma, SIZE,
        )  # fmt: skip
        logs = self.network.log_lipschitz()
        self.lambdas = [
            dict(zip(self.trained, map(math.exp, entry if mode == "train_both" else (entry,)), strict=True))
            for entry in logs
        ]
        self.keys = [(t, f) for t in range(1 if mode == "subspace" else self.depth) for f in self.trained]
        self.draw = draw

    def shape(self, key):
        t, f = key
        return {"B": self.b0[t].shape, "A": self.a0[t].shape, "M": (self.rank, self.rank), "T": (SIZE,)}[f]

    def factors(self, t, shift):
        """B and A of layer t, where the trained parts are ``shift`` away from their start."""
        a = self.a0[t] + shift.get((t, "A"), 0.0)
        if self.mode == "core":
            return self.b0[t] @ shift.get((t, "M"), torch.zeros(self.rank, self.rank, dtype=torch.float64)), a
        if self.mode == "subspace" and shift:
            index, weight = self.copies[t]
            return shift[0, "T"][index] * weight, a
        return self.b0[t] + shift.get((t, "B"), 0.0), a

    def ball(self, matrix):
        return matrix * min(1.0, self.radius / float(matrix.norm().clamp_min(1e-300)))

    def output(self, x, shift):
        h = x
        for t in range(self.depth):
            b, a = self.factors(t, shift)
            h = self.w[t] @ h + self.scale * (b @ (a @ h)) + self.b[t]
            if t < self.depth - 1:
                h = self.apply(h)
        return h

    def ratio(self, x, p, q):
        allowed = sum(self.lambdas[t][f] * (p[t, f] - q[t, f]).norm() for t, f in self.keys)
        return (self.output(x, p) - self.output(x, q)).norm() / (allowed + 1e-300)

    def ascend(self, x, p, q, steps=150, rate=0.05, fixed=()):
        """Projected normalized gradient ascent on the ratio; the best value met."""
        best = 0.0
        moving = [k for k in self.keys if k not in fixed]
        for _ in range(steps):
            leaves = [x, *(p[k] for k in moving), *(q[k] for k in moving)]
            for leaf in leaves:
                leaf.requires_grad_(True)
            value = self.ratio(x, p, q)
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            best = max(best, float(value.detach()))
            with torch.no_grad():
                moved = [
                    (leaf + rate * g / g.norm().clamp_min(1e-12)) if g is not None else leaf
                    for leaf, g in zip(leaves, grads, strict=True)
                ]
                x = moved[0] * min(1.0, self.rho / float(moved[0].norm()))
                n = len(moving)
                p = {**p, **{k: self.ball(m) for k, m in zip(moving, moved[1 : n + 1], strict=True)}}
                q = {**q, **{k: self.ball(m) for k, m in zip(moving, moved[n + 1 :], strict=True)}}
            p = {k: v.detach() for k, v in p.items()}
            q = {k: v.detach() for k, v in q.items()}
            x = x.detach()
        return best

    def random_point(self):
        return {key: self.ball(2 * self.draw(*self.shape(key))) for key in self.keys}

    def random_input(self):
        x = self.draw(self.w[0].shape[1])
        return self.rho * x / x.norm()


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.7, -1.3])
def test_gradient_ascent_never_exceeds_the_constant(mode, activation, scale):
    for seed in range(3):
        attack = Attack(seed, mode, activation, scale=scale)
        best = attack.ascend(attack.random_input(), attack.random_point(), attack.random_point(), steps=60)
        # A start from nearby points measures the derivative.
        p = attack.random_point()
        q = {k: attack.ball(v + 1e-3 * attack.draw(*v.shape)) for k, v in p.items()}
        best = max(best, attack.ascend(attack.random_input(), p, q, steps=60))
        assert 0.005 < best <= 1 + 1e-9


# One vector cannot fill a factor of every direction, so that its constant is attained in a case of its own, below.
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "subspace"])
@pytest.mark.parametrize("scale", [0.7, -1.3])
def test_one_layer_attains_the_constant(mode, scale):
    # L = 1: a factor moves the output by |s| a_1 rho ||P - P'||, if all point one way. Ascent finds it.
    attack = Attack(3, mode, "relu", widths=(4, 3), scale=scale)
    start = attack.random_point()
    other = dict(start)
    for factor in attack.trained:
        # Move this factor only; in train_both the other one climbs to the edge of its ball.
        key = (0, factor)
        other = {k: v.clone() for k, v in start.items()}
        other[key] = attack.ball(-start[key])
        best = Pair(attack, key).climb(start, other)
        # Seen: 0.9999 and more.
        assert 0.99 <= best <= 1 + 1e-9


class Pair:
    """Two points that differ in one factor only; all other factors are shared and climb together."""

    def __init__(self, attack, key):
        self.attack, self.key = attack, key

    def climb(self, p, q, steps=800):
        attack, key = self.attack, self.key
        x, shared, mine, yours, best = attack.random_input(), dict(p), p[key], q[key], 0.0
        rest = [k for k in attack.keys if k != key]
        for step in range(steps):
            leaves = [x, mine, yours, *(shared[k] for k in rest)]
            leaves = [leaf.detach().requires_grad_(True) for leaf in leaves]
            x, mine, yours = leaves[:3]
            shared = dict(zip(rest, leaves[3:], strict=True))
            value = attack.ratio(x, {**shared, key: mine}, {**shared, key: yours})
            best = max(best, float(value.detach()))
            rate = 0.1 / (1 + step / 50)
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            with torch.no_grad():
                moved = [
                    leaf if g is None else leaf + rate * g / g.norm().clamp_min(1e-12)
                    for leaf, g in zip(leaves, grads, strict=True)
                ]
                x = attack.rho * moved[0] / moved[0].norm()
                mine, yours = attack.ball(moved[1]), attack.ball(moved[2])
                shared = {k: attack.ball(m) for k, m in zip(rest, moved[3:], strict=True)}
        return best


def test_a_vector_attains_its_constant_where_it_fills_one_direction_of_each_layer():
    """L = 1, d_1 = 1: B is a row, B A x = |A x| ||B|| at the right x. Each of the Q = p entries is its own."""
    attack = Attack(3, "subspace", "relu", widths=(4, 1), rank=5)
    key = (0, "T")
    start = attack.random_point()
    best = Pair(attack, key).climb(start, {key: attack.ball(-start[key])})
    assert 0.99 <= best <= 1 + 1e-9


@pytest.mark.parametrize("depth", [2, 3])
def test_a_vector_moves_all_layers_at_once_as_the_root_of_squares_says(depth):
    """Linear layers of width 1 and rank 1 without weights below: the gradient in theta is that of all B's together."""
    network = LoraNetwork(
        [1] * (depth + 1), 1, "subspace", [2.0] * depth, [0.0] * depth, [3.0] * depth, [1e-6] * depth,
        subspace_size=depth,
    )  # fmt: skip
    theta = torch.full((depth,), 1e-7, dtype=torch.float64, requires_grad=True)
    output = torch.prod(2.0 + 3.0 * theta)
    (gradient,) = torch.autograd.grad(output, theta)
    assert math.exp(network.log_lipschitz()[0]) == pytest.approx(float(gradient.norm()), rel=1e-4)
    assert math.exp(network.log_lipschitz()[0]) >= float(gradient.norm())


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "subspace"])
@pytest.mark.parametrize("depth", [2, 4])
def test_aligned_relu_networks_attain_the_constant(mode, depth):
    """With all matrices aligned the bound is met in every layer, for every factor: no norm can go."""
    attack = Attack(0, mode, "relu", widths=(3,) * (depth + 1), aligned=True)
    eye = torch.eye(3, dtype=torch.float64)
    x = attack.rho * eye[0]
    edge = {}
    for t, f in attack.keys:
        matrix = torch.zeros(*attack.shape((t, f)), dtype=torch.float64)
        matrix[0, 0] = attack.radius
        edge[t, f] = matrix
    for key in attack.keys:
        inward = {**edge, key: 0.995 * edge[key]}
        ratio = float(attack.ratio(x, edge, inward))
        # All other factors at the edge of their balls: met to rounding.
        assert 1 - 1e-9 <= ratio <= 1 + 1e-9
    everywhere = float(attack.ratio(x, edge, {k: 0.995 * v for k, v in edge.items()}))
    assert 0.95 <= everywhere <= 1 + 1e-9


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_bounded_activations_attain_the_constant_of_the_last_layer(activation):
    # All hidden units saturated: ||h|| = c sqrt(d). The last layer reads the all-ones direction.
    attack = Attack(0, "freeze_a", activation, widths=(2, 6, 3), rho=1.0)
    attack.w[0] = torch.full((6, 2), 50.0, dtype=torch.float64)
    attack.a0[1] = torch.outer(torch.ones(2, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    network = attack.network
    network = LoraNetwork(
        network.widths, 2, "freeze_a", [operator_norm(w) for w in attack.w], network.bias_norms,
        [operator_norm(a) for a in attack.a0], network.radii, network.scale, 1.0, network.activation,
    )  # fmt: skip
    attack.lambdas = [{"B": math.exp(entry)} for entry in network.log_lipschitz()]
    x = torch.tensor([1.0, 1.0], dtype=torch.float64) / math.sqrt(2)
    zero = {k: torch.zeros_like(attack.b0[k[0]]) for k in attack.keys}
    step = {**zero, (1, "B"): torch.full_like(attack.b0[1], 0.1)}
    assert 0.99 <= float(attack.ratio(x, zero, step)) <= 1 + 1e-9


def exact(mode, scale, rho, sigma, norms, radii, weights, biases, widths):
    """Lambda_t by the formulas of theory 2, at 50 digits."""
    mp.mp.dps = 50
    s, depth = abs(mp.mpf(scale)), len(weights)
    reach = []
    for norm, radius in zip(norms, radii, strict=True):
        if mode == "freeze_a":
            reach.append((mp.mpf(radius), mp.mpf(norm)))
        elif mode == "freeze_b":
            reach.append((mp.mpf(norm), mp.mpf(radius)))
        elif mode == "core":  # the reach of B is that of B_0 M
            reach.append((mp.mpf(norm[0]) * mp.mpf(radius), mp.mpf(norm[1])))
        elif mode == "subspace":
            reach.append((mp.mpf(radius), mp.mpf(norm)))
        else:
            reach.append(tuple(mp.mpf(n) + mp.mpf(m) for n, m in zip(norm, radius, strict=True)))
    layer = [mp.mpf(w) + s * b * a for w, (b, a) in zip(weights, reach, strict=True)]
    k, zero = mp.mpf(sigma.lipschitz), abs(mp.mpf(sigma.at_zero))
    hidden = [mp.mpf(rho)]
    for t in range(depth - 1):
        h = k * (layer[t] * hidden[t] + mp.mpf(biases[t])) + zero * mp.sqrt(widths[t + 1])
        hidden.append(h if sigma.bound is None else min(h, mp.mpf(sigma.bound) * mp.sqrt(widths[t + 1])))
    result = []
    for t in range(depth):
        above = k ** (depth - 1 - t) * mp.fprod(layer[t + 1 :])
        b, a = reach[t]
        frozen = {"freeze_a": (a,), "freeze_b": (b,), "train_both": (a, b), "subspace": (a,)}
        both = (mp.mpf(norms[t][0]) * a,) if mode == "core" else frozen[mode]
        result.append([s * other * hidden[t] * above for other in both])
    if mode == "subspace":
        return [[mp.log(mp.sqrt(mp.fsum(x**2 for (x,) in result)))]]
    return [[mp.log(x) for x in of_layer] for of_layer in result]


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("mode", MODES)
def test_the_constants_against_50_digits(mode, activation):
    sigma = ACTIVATIONS[activation][0]
    widths, weights, biases = (7, 5, 4, 3), [1.3, 0.2, 2.0], [0.1, 3.0, 0.7]
    pair = mode == "train_both"
    norms = [(0.4, 1.5), (0.1, 0.6), (2.0, 1.0)] if pair or mode == "core" else [0.4, 1.5, 2.0]
    radii = [(0.3, 0.2), (1.0, 0.5), (0.7, 0.1)] if pair else [0.3] * 3 if mode == "subspace" else [0.3, 1.0, 0.7]
    network = LoraNetwork(widths, 3, mode, weights, biases, norms, radii, -0.5, 0.9, sigma, SIZE)
    truth = exact(mode, -0.5, 0.9, sigma, norms, radii, weights, biases, widths)
    got = [list(entry) if pair else [entry] for entry in network.log_lipschitz()]
    for mine, theirs in zip(got, truth, strict=True):
        assert mine == pytest.approx([float(x) for x in theirs], rel=1e-9)
    sizes = {
        "freeze_a": [15, 12, 9],
        "freeze_b": [21, 15, 12],
        "train_both": [15, 21, 12, 15, 9, 12],
        "core": [9, 9, 9],
        "subspace": [SIZE],
    }[mode]
    assert len(network.blocks(2.5)) == len(sizes)
    flat = [r for entry in radii for r in (entry if pair else (entry,))]
    logs = [x for entry in truth for x in entry]
    for block, size, radius, log_lambda in zip(network.blocks(2.5), sizes, flat[: len(sizes)], logs, strict=True):
        assert block[0] == size
        assert block[1] == pytest.approx(float(log_lambda + mp.log(2.5) + mp.log(radius)), rel=1e-9)
    assert network.n_params == sum(sizes)
    assert network.depth == 3


def test_zeros_are_constants_and_never_nan():
    zero = LoraNetwork([2, 3, 2], 1, "freeze_a", [0, 0], [0, 0], [0, 1], [0, 0], 0.5, 0.0)
    assert zero.log_lipschitz() == [-math.inf, -math.inf]
    assert [k for _, k in zero.blocks()] == [-math.inf, -math.inf]
    still = LoraNetwork([2, 3, 2], 1, "freeze_a", [1, 1], [0, 0], [1, 1], [0, 1], 0.0)
    assert still.log_lipschitz() == [-math.inf, -math.inf]
    both = LoraNetwork([2, 3], 1, "train_both", [1], [0], [(0, 2)], [(1, 0)])
    assert both.log_lipschitz() == [(math.log(2), 0.0)]
    assert both.blocks()[1] == (2.0, -math.inf)


def test_products_that_overflow_stay_finite_in_logs():
    deep = LoraNetwork([4] * 2001, 2, "freeze_a", [1e3] * 2000, [0] * 2000, [1e3] * 2000, [1e3] * 2000)
    logs = deep.log_lipschitz()
    # Lambda_t = 1e3 (1e3 + 1e6)^1999 for every layer.
    assert logs == pytest.approx([math.log(1e3) + 1999 * math.log(1e3 + 1e6)] * 2000, rel=1e-12)


def test_layers_without_an_adapter_pass_the_signal_on():
    network = LoraNetwork([2, 3, 4, 2], 2, "freeze_b", [2, 3, 5], [0, 0, 0], [None, 0.5, None], [None, 0.2, None])
    assert network.n_params == 6
    # Lambda_2 = ||B_2|| rho ||W_1|| ||W_3||.
    assert network.log_lipschitz() == pytest.approx([math.log(0.5 * 2 * 5)])
    assert len(network.blocks()) == 1


def test_a_curve_in_the_rank():
    ranks = np.array([1, 2, 8])
    curve = LoraNetwork([4, 3, 2], ranks, "freeze_a", [1, 1], [0, 0], [np.sqrt(ranks)] * 2, [1, 1])
    for i, rank in enumerate(ranks):
        single = LoraNetwork([4, 3, 2], rank, "freeze_a", [1, 1], [0, 0], [np.sqrt(rank)] * 2, [1, 1])
        for (q, k), (q1, k1) in zip(curve.blocks(), single.blocks(), strict=True):
            assert q[i] == q1
            assert np.broadcast_to(k, 3)[i] == pytest.approx(k1, rel=1e-15)


GOOD = {
    "widths": [2, 3, 2], "rank": 1, "mode": "freeze_a", "weight_norms": [1, 1], "bias_norms": [0, 0],
    "factor_norms": [1, 1], "radii": [1, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "freeze"}, r"mode must be one of 'freeze_a', .*'common', got 'freeze'"),
        ({"rank": 0}, r"rank must be an integer in \[1, inf\), got 0"),
        ({"rank": 1.5}, r"rank must be an integer .* got 1.5"),
        ({"widths": [2]}, r"widths must hold d_0 .. d_L"),
        ({"widths": [2, 0, 2]}, r"widths must be an integer in \[1, inf\), got 0"),
        ({"weight_norms": [1]}, r"weight_norms must have one entry per layer, 2, got 1"),
        ({"weight_norms": [1, -1]}, r"weight_norms must lie in \[0, inf\), got -1"),
        ({"bias_norms": [0, math.inf]}, r"bias_norms must lie in \[0, inf\), got inf"),
        ({"factor_norms": [1, math.nan]}, r"factor_norms must lie .* got nan"),
        ({"radii": [1, -0.5]}, r"radii must lie in \[0, inf\), got -0.5"),
        ({"radii": [1, None]}, r"layer 2 has only one of radii and factor_norms"),
        ({"scale": math.inf}, r"scale must lie in \(-inf, inf\), got inf"),
        ({"input_radius": -1}, r"input_radius must lie in \[0, inf\), got -1"),
        (
            {"mode": "train_both", "radii": [(1, 1, 1), (1, 1)], "factor_norms": [(1, 1)] * 2},
            r"must be pairs \(B, A\) in train_both",
        ),
        ({"mode": "core"}, r"factor_norms must be pairs \(B, A\) in core"),
        ({"mode": "subspace", "radii": [1, 2], "subspace_size": 2}, r"radii must be the same for every layer"),
        ({"mode": "subspace", "subspace_size": 6}, r"subspace_size 6 does not fit the 5 entries"),
    ],
)
def test_bad_networks_are_refused(change, words):
    LoraNetwork(**GOOD)
    with pytest.raises(InputError, match=words):
        LoraNetwork(**{**GOOD, **change})


def test_bad_activations_and_losses_are_refused():
    with pytest.raises(InputError, match=r"lipschitz must lie in \(0, inf\), got 0"):
        Activation(lipschitz=0.0)
    with pytest.raises(InputError, match=r"bound must lie in \[0.5, inf\), got 0.2"):
        Activation(at_zero=0.5, bound=0.2)
    with pytest.raises(InputError, match=r"at_zero must lie in"):
        Activation(at_zero=math.inf)
    with pytest.raises(InputError, match=r"loss_lipschitz must lie in \(0, inf\), got 0"):
        LoraNetwork(**GOOD).blocks(0.0)


def test_the_standard_activations():
    assert (RELU.lipschitz, RELU.at_zero, RELU.bound) == (1.0, 0.0, None)
    assert (TANH.lipschitz, TANH.at_zero, TANH.bound) == (1.0, 0.0, 1.0)
    x = np.linspace(-30, 30, 60001)
    sigmoid = 1 / (1 + np.exp(-x))
    assert np.max(np.diff(sigmoid) / np.diff(x)) == pytest.approx(SIGMOID.lipschitz, rel=1e-6)
    assert (SIGMOID.at_zero, SIGMOID.bound) == (0.5, 1.0)
