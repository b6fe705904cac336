"""The complexity of LoRA on a transformer: the search of ``ascent`` on a real model, stacked.

The class: ``x -> 1 - p(label)`` of the frozen model, or of a completion the mean of 1 - p over its tokens; adapters on
the named layers, A Gaussian and frozen (N(0, std^2/d_in), so that ||A||_op is about std), ||B_t||_F <= M in every
layer. No upper bound of ``bounds`` covers a transformer, so 1/2, true for every loss in [0, 1], stands in its place.
The network is the one that runs: in bfloat16 where that is what the sweep would use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lorabound.adapters import Adapter, Factors
from lorabound.engine import Examples, Pool, WithPrefix, keep_freed_memory
from lorabound.engine.batches import TOKENS_PER_PASS
from lorabound.engine.layout import cut
from lorabound.models import Classifier
from lorabound.modes import LARGEST_MODE, MODES, PAPER_MODE
from lorabound.stack import Stack
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.defaults import kind_of, resolved
from lorabound.sweeps.estimate import LONG
from lorabound.sweeps.notes import about_time
from lorabound.sweeps.task import load_task
from lorabound.worst_case.measured.ascent import N_ASCENTS, largest_signed_means
from lorabound.worst_case.measured.complexity import Complexity, growth, row
from lorabound.worst_case.measured.family import TRIVIAL, About, signs_of
from lorabound.worst_case.options import ComplexityConfig

NAME = "adapters"
# A search that is done soon, where the one that was asked for is not.
_QUICK = ComplexityConfig(ranks=[1, 4], n_train=[16, 64], signs=8, steps=25)


class TransformerClass:
    """K searches through the adapters attached to a model: see ``ascent.StackedClass``."""

    def __init__(
        self, classifier: Classifier, stack: Stack, examples: Examples, radius: float, most: int = TOKENS_PER_PASS
    ) -> None:
        self._most = most  # tokens in a pass
        self._classifier, self._layers, self._examples = classifier, list(stack.layers.values()), examples
        self.shapes = [tuple(layer.trained_b.shape[1:]) for layer in self._layers]
        self.radii = [torch.full((len(stack),), radius) for _ in self._layers]
        self._order = np.argsort(examples.inputs.lengths[: len(examples.labels)], kind="stable")

    def signed_means(self, factors: Sequence[Tensor], signs: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """(1/N) sum_n s_n (ell_n - 1/2) and its gradient in every B."""
        k, n = signs.shape
        for layer, factor in zip(self._layers, factors, strict=True):
            layer.trained_b.data.copy_(factor)
            layer.trained_b.grad = None
        values = torch.zeros(k)
        order = np.tile(self._order, (k, 1))
        for part in cut(self._examples.inputs, order, self._most):
            losses = self._losses(order[:, part])
            parts = (signs[:, torch.from_numpy(self._order[part])] * (losses - 0.5)).sum(1) / n
            parts.sum().backward()  # type: ignore[no-untyped-call]
            values += parts.detach()
        return values, [layer.trained_b.grad for layer in self._layers]  # type: ignore[misc]

    def _losses(self, index: Int[np.ndarray, "k rows"]) -> Float[Tensor, "k rows"]:
        """1 - p of the rows ``index[k]`` for every search k."""
        if self._classifier.answers == "tokens":
            found = self._classifier.completion_losses(self._examples.inputs, index)  # type: ignore[attr-defined]
            return found.misses.view(index.shape)  # type: ignore[no-any-return]
        logits = self._classifier.logits(self._examples.inputs, index.reshape(-1)).view(*index.shape, -1)
        labels = torch.from_numpy(self._examples.labels[index]).unsqueeze(-1)
        return 1 - logits.softmax(-1).gather(-1, labels).squeeze(-1)


def described(config: SweepConfig) -> str:
    """What is measured, for a reader: the model, the data, how a class is asked for, the layers."""
    settings = resolved(config, kind_of(config))
    layers = "all layers" if settings.layers is None else f"layers {settings.layers}"
    asked = f"class prompt {settings.prompt!r}"
    if settings.task is not None:
        asked = f"labels, asked for as {settings.template!r}" if settings.template else "completions"
    return f"{config.model} on {config.data} ({asked}), {layers}"


def about(config: SweepConfig, settings: ComplexityConfig) -> About:
    """What a reader is told of the family."""
    completes = kind_of(config).reads == "dialogues"
    loss = "1 - p, averaged over the tokens of a completion" if completes else "1 - p(label)"
    return About(
        name=NAME,
        title=f"Adapters of {config.model}",
        sentence=f"Adapters of {described(config)}: loss {loss}, entries of A with standard deviation "
        f"{settings.std:g}/sqrt(d_in), ||B||_F <= {settings.radius:g} in every layer. No upper bound is known for a "
        "transformer but 1/2.",
        bounded=False,
    )


def measure_transformer(
    config: SweepConfig, settings: ComplexityConfig, observe: Callable[[str], None] = lambda _: None
) -> Complexity:
    """Measure every rank and N on the model, data, layers and targets of ``config``.

    Samples are prefixes of one pool. Pairs of sign draws are shared out among the cores, as many at once as fit into
    the memory. Where a search starts depends on how they are shared out; every value it finds is attained.

    Raises:
        DataError, ModelError, InputError: the configuration cannot be carried out.
    """
    keep_freed_memory()
    asked = config.model_copy(update={"n_train": settings.n_train, "n_test": 2})
    task = load_task(asked, observe=observe)
    classifier, shapes, pool = task.classifier, task.shapes, task.samples[0]
    pairs = settings.signs // 2
    found: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    with Pool(classifier, list(shapes), [pool.inputs], pairs, config.memory) as workers:
        allotment = workers.fit(task.new_adapter(max(settings.ranks), LARGEST_MODE, 0))
        # A pair is two members of a stack.
        n_shares = max(len(workers.workers), -(-pairs // max(1, allotment.width // 2)))
        shares = np.array_split(np.arange(pairs), min(pairs, n_shares))
        jobs = [(n, [int(pair) for pair in share]) for n in sorted(settings.n_train, reverse=True) for share in shares]
        seconds = _seconds_per_loss(workers.workers[0], pool, shapes, settings, shares[0], allotment.tokens_per_pass)
        left = seconds * _losses_met(settings)
        quicker = f"; {_flags(_QUICK)} takes {about_time(seconds * _losses_met(_QUICK))}" if left > LONG else ""
        observe(f"searching: {about_time(left)} on this machine if nothing else runs{quicker}")

        def search(worker: WithPrefix, job: tuple[int, list[int]]) -> list[tuple[int, Tensor]]:
            return _search(worker, pool.head(job[0]), shapes, settings, job[1], allotment.tokens_per_pass)

        for (n, share), values in workers.run(jobs, search):
            left -= seconds * _losses_met(settings) * n / sum(settings.n_train) * len(share) / pairs
            time_left = f"; {about_time(left)} left" if left > 1 else ""
            observe(f"N = {n}: {len(share)} of {pairs} pairs of sign draws{time_left}")
            for rank, value in values:
                found.setdefault((rank, n), []).append((share[0], value))
    rows = []
    for (rank, n), parts in sorted(found.items()):
        drawn = torch.cat([value for _, value in sorted(parts, key=lambda part: part[0])], dim=1)
        q = MODES[PAPER_MODE].n_params(rank, shapes.values())
        rows.append(row(drawn.reshape(-1), family=NAME, rank=rank, n_train=n, n_params=q, upper=TRIVIAL))
    return Complexity(
        settings=settings,
        families=(about(config, settings),),
        rows=rows,
        growth=growth(rows),
        notes=tuple(task.notes),
    )


def _losses_met(settings: ComplexityConfig) -> int:
    """Losses of single examples that a search computes: for each draw of signs, at every step of every ascent."""
    return len(settings.ranks) * sum(settings.n_train) * settings.signs * N_ASCENTS * (settings.steps + 1)


def _flags(settings: ComplexityConfig) -> str:
    """How the command line asks for these settings."""
    ranks, sizes = (",".join(map(str, values)) for values in (settings.ranks, settings.n_train))
    return f"--ranks {ranks} --n-train {sizes} --signs {settings.signs} --steps {settings.steps}"


def _seconds_per_loss(
    classifier: Classifier,
    pool: Examples,
    shapes: dict[str, tuple[int, int]],
    settings: ComplexityConfig,
    share: NDArray[np.int64],
    most: int,
) -> float:
    """Seconds that one example takes, forward and backward, in a stack of this share of the pairs, with all cores at
    work: the second of two points of a search over the smallest sample. On a CPU by the processor's time."""
    on_cpu = next(classifier.module.parameters()).device.type == "cpu"
    clock, cores = (time.process_time, torch.get_num_threads()) if on_cpu else (time.perf_counter, 1)
    examples = pool.head(min(settings.n_train))
    adapters = _adapters(shapes, max(settings.ranks), settings, [int(pair) for pair in share])
    with Stack(classifier.module, adapters, classifier.towers) as stack:
        members = TransformerClass(classifier, stack, examples, settings.radius, most)
        signs = torch.ones(len(adapters), len(examples.labels))
        factors = [torch.zeros(len(adapters), *shape) for shape in members.shapes]
        members.signed_means(factors, signs)
        start = clock()
        members.signed_means(factors, signs)
    return (clock() - start) / cores / signs.numel()


def _search(
    classifier: Classifier,
    examples: Examples,
    shapes: dict[str, tuple[int, int]],
    settings: ComplexityConfig,
    share: list[int],
    most: int,
) -> list[tuple[int, Tensor]]:
    """Largest signed means (2, pairs) of every rank for a share of the pairs, smallest rank first."""
    n, pairs = len(examples.labels), settings.signs // 2
    signs = signs_of(settings, n).view(2, pairs, n)[:, share].reshape(-1, n)
    generator = torch.Generator().manual_seed(settings.seed)
    known: list[Tensor] | None = None
    results: list[tuple[int, Tensor]] = []
    for rank in sorted(settings.ranks):
        with Stack(classifier.module, _adapters(shapes, rank, settings, share), classifier.towers) as stack:
            members = TransformerClass(classifier, stack, examples, settings.radius, most)
            padded = known and [torch.nn.functional.pad(b, (0, rank - b.shape[-1])) for b in known]
            values, known = largest_signed_means(members, signs, settings.steps, generator, padded)
        results.append((rank, values.view(2, len(share))))
    return results


def _adapters(
    shapes: dict[str, tuple[int, int]], rank: int, settings: ComplexityConfig, share: list[int]
) -> list[Adapter]:
    """One for s and one for -s of every pair, with the same A; rank r has the first r rows of any larger rank."""
    adapters = []
    for pair in share:
        layers = {}
        for index, (name, (d_out, d_in)) in enumerate(shapes.items()):
            random = np.random.default_rng([settings.seed, 2, index, pair])
            a = settings.std / math.sqrt(d_in) * random.standard_normal((rank, d_in))
            b = np.zeros((d_out, rank), dtype=np.float32)
            layers[name] = Factors(a=a.astype(np.float32), b=b, scale=settings.scale)
        adapters.append(Adapter(layers=layers, mode=PAPER_MODE))
    return adapters * 2
