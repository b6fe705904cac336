"""Train K adapters of one training set together: one page, read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from lorabound.adapters import Adapter
from lorabound.engine.batches import TOKENS_PER_PASS, epoch_batches
from lorabound.engine.chains import Chain
from lorabound.engine.evaluate import Losses, evaluate, predictions
from lorabound.engine.layout import cut
from lorabound.models import Classifier, Inputs
from lorabound.stack import Stack, stack_order


@dataclass(frozen=True)
class Examples:
    """The first n rows of ``inputs`` and their class indices (n,)."""

    inputs: Inputs
    labels: Int[np.ndarray, " n"]

    def head(self, n: int) -> Examples:
        """The first n of them."""
        return Examples(self.inputs, self.labels[:n])


@dataclass(frozen=True)
class Recipe:
    """How every adapter of a sweep is trained.

    Attributes:
        epochs: passes over the training set.
        batch_size: examples of one adapter in one step.
        lr: AdamW's step size, the peak of the schedule.
        schedule: "cosine" falls from lr to 0 over all steps (of a chain: of a link), "constant" stays.
        weight_decay: AdamW's, decoupled.
        clip_norm: an adapter's gradient is scaled down to this 2-norm; inf leaves it alone.
        head_lr: peak of the schedule for a trained head; None: ``lr``.
        augment: images are cropped and flipped at random, anew in every epoch; losses are measured on whole ones.
    """

    epochs: int
    batch_size: int
    lr: float
    schedule: Literal["cosine", "constant"] = "constant"
    weight_decay: float = 0.0
    clip_norm: float = math.inf
    augment: bool = False
    head_lr: float | None = None


@dataclass(frozen=True)
class FirstPass:
    """Losses of every training example before the update that used it, in the first pass over them.

    Place t of the pass holds example ``order[t]``; its loss is that of the adapter that stood before its step. Within a
    step the examples are sorted by length, so a window of places may begin and end between steps only: one that is cut
    inside a step would be chosen by the lengths of its examples.

    Attributes:
        order: (N,) numbers of the training examples, in the order of the steps.
        errors: (N,) bool, 0-1 losses in that order.
        log_losses: (N,) float32, cross-entropies -ln p_y in nats in that order.
        batch_size: number of examples in a step; the last step may hold fewer.
        wrong: (N,) float32, shares of wrong tokens of completions in that order; None for classes.
    """

    order: Int[np.ndarray, " n"]
    errors: Bool[np.ndarray, " n"]
    log_losses: Float32[np.ndarray, " n"]
    batch_size: int
    wrong: Float32[np.ndarray, " n"] | None = None


@dataclass(frozen=True)
class Unlabelled:
    """Inputs without labels, each with the step before which it is predicted.

    Compared with the final adapter's predictions they tell how much the late checkpoints differ from it.

    Attributes:
        inputs: m inputs that no training and no test has seen.
        steps: (m,) number of a step of the first epoch, from 0; each is drawn before training, for one input alone.
    """

    inputs: Inputs
    steps: Int[np.ndarray, " m"]


@dataclass(frozen=True)
class Trained:
    """One trained adapter and its losses.

    Attributes:
        first_pass: losses before each update; None with ``augment``, whose losses are of images that were changed and
            say nothing about new ones that are not.
        n_differing: number of unlabelled inputs that the final adapter gives another class than the checkpoint that
            stood before their step; None without such inputs.
        diverged: whether any of its losses or gradients was not finite.
    """

    adapter: Adapter
    train: Losses
    test: Losses
    first_pass: FirstPass | None = None
    n_differing: int | None = None
    diverged: bool = False


def train(
    classifier: Classifier,
    train_set: Examples,
    test_set: Examples,
    adapters: Sequence[Adapter],
    seeds: Sequence[int],
    recipe: Recipe,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
    tokens_per_pass: int = TOKENS_PER_PASS,
    unlabelled: Unlabelled | None = None,
    subsets: Int[np.ndarray, "k n"] | None = None,
) -> list[Trained]:
    """Train K adapters on the same examples, each in the order its seed gives, then measure them.

    K runs trained together end as K runs trained one by one, up to rounding: nothing in the model, the loss
    or the optimizer joins the rows of two adapters. A run whose loss, gradient or measurement is not
    finite is marked; its steps go on but never touch the others. The links of a chain share the steps evenly; at each
    link the optimizer and the schedule start anew.

    Args:
        adapters: all of the same layers and of equally many links; ranks, modes and seeds may differ.
        seeds: seeds of the order of the examples, one per adapter.
        on_step: called after every step with (steps done, steps in all).
        tokens_per_pass: rows of a step go through the model in passes of at most so many tokens, those of all
            adapters counted; their gradients add up. Bounds the memory of activations.
        subsets: rows of ``train_set`` that each adapter is trained on, equally many for all; None: every row. Losses on
            the training set are of all its rows.
        unlabelled: inputs that late checkpoints and the final adapter are compared on; runs of a stack share them.
    Returns:
        One result an adapter, in the order they were given.
    """
    order = stack_order([adapter.mode for adapter in adapters])
    adapters, seeds = [adapters[k] for k in order], [seeds[k] for k in order]
    subsets = None if subsets is None else subsets[order]
    n_adapters = len(adapters)
    n_train = len(train_set.labels) if subsets is None else subsets.shape[1]
    lengths = train_set.inputs.lengths[: len(train_set.labels)]
    total = recipe.epochs * math.ceil(n_train / recipe.batch_size)
    diverged = torch.zeros(n_adapters, dtype=torch.bool)
    done = 0
    first_steps: list[_Step] = []
    early = np.zeros((n_adapters, len(unlabelled.steps) if unlabelled else 0), dtype=np.int32)
    with Stack(classifier.module, adapters, classifier.towers) as stack:
        chain = Chain(stack, total)
        for epoch in range(recipe.epochs):
            shown = train_set
            if recipe.augment:
                shown = replace(train_set, inputs=train_set.inputs.augmented(seeds, epoch))  # type: ignore[attr-defined]
            for index in _epoch(lengths, recipe.batch_size, seeds, epoch, subsets):
                if unlabelled and (due := np.flatnonzero(unlabelled.steps == done)).size:
                    early[:, due] = predictions(classifier, unlabelled.inputs, due, n_adapters, tokens_per_pass)
                if chain.reach(done):
                    optimizer = _optimizer(stack, recipe)
                optimizer.zero_grad()
                step = _add_gradients(classifier, shown, index, tokens_per_pass)
                chain.mask_gradients()
                norms = clip_gradients(stack, recipe.clip_norm)
                diverged |= ~(torch.isfinite(step.log_losses).all(1) & torch.isfinite(norms)).cpu()
                if epoch == 0 and not recipe.augment:
                    first_steps.append(step)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * _schedule(recipe.schedule, chain.progress(done))
                chain.step(optimizer)
                done += 1
                on_step(done, total)
        train_losses = evaluate(classifier, train_set.inputs, train_set.labels, n_adapters, tokens_per_pass)
        test_losses = evaluate(classifier, test_set.inputs, test_set.labels, n_adapters, tokens_per_pass)
        differing: list[int] | None = None
        if unlabelled:
            rows = np.arange(len(unlabelled.steps))
            late = predictions(classifier, unlabelled.inputs, rows, n_adapters, tokens_per_pass)
            differing = (early != late).sum(1).tolist()
        first_passes = _first_passes(first_steps, recipe.batch_size)
        return [
            Trained(
                stack.extract(k),
                train_losses[k],
                test_losses[k],
                first_pass=first_passes[k] if first_passes else None,
                n_differing=differing[k] if differing else None,
                diverged=bool(diverged[k]) or not (train_losses[k].finite and test_losses[k].finite),
            )
            for k in sorted(range(n_adapters), key=order.__getitem__)
        ]


def _optimizer(stack: Stack, recipe: Recipe) -> torch.optim.AdamW:
    """A fresh optimizer of all that the stack trains; heads have their own step size."""
    heads = {id(parameter) for parameter in (stack.head.parameters() if stack.head else ())}
    groups = [
        {"params": chosen, "lr": peak, "peak": peak}
        for of_head, peak in ((False, recipe.lr), (True, recipe.head_lr or recipe.lr))
        if (chosen := [p for p in stack.parameters() if (id(p) in heads) == of_head])
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)


def _epoch(
    lengths: Int[np.ndarray, " n"],
    batch_size: int,
    seeds: Sequence[int],
    epoch: int,
    subsets: Int[np.ndarray, "k m"] | None,
) -> list[Int[np.ndarray, "k _"]]:
    """The batches of one epoch: of all rows, or of each adapter's own, whose lengths then differ between adapters."""
    if subsets is None:
        return epoch_batches(lengths, batch_size, seeds, epoch)
    of_each = [
        [rows[index] for index in epoch_batches(lengths[rows], batch_size, [seed], epoch)]
        for rows, seed in zip(subsets, seeds, strict=True)
    ]
    return [np.concatenate(parts) for parts in zip(*of_each, strict=True)]


@dataclass(frozen=True)
class _Step:
    """Examples of one step for K adapters, (K, rows), and their losses before its update, on the device."""

    index: Int[np.ndarray, "k rows"]
    errors: Bool[Tensor, "k rows"]
    log_losses: Float[Tensor, "k rows"]
    wrong: Float[Tensor, "k rows"] | None = None


def _add_gradients(
    classifier: Classifier, examples: Examples, index: Int[np.ndarray, "k rows"], tokens_per_pass: int
) -> _Step:
    """Add the gradients of each adapter's mean loss on its rows of ``index``; returns the losses of the rows.

    Class embeddings are computed once for all passes, which leave their gradients at them. Of completions the mean is
    that over all tokens of the rows, as trainers take it.
    """
    if classifier.answers == "tokens":
        return _add_gradients_of_completions(classifier, examples, index, tokens_per_pass)
    classes = classifier.class_embeddings()
    compared = classes.detach().requires_grad_(classes.requires_grad)
    errors, log_losses = [], []
    for part in cut(examples.inputs, index, tokens_per_pass):
        rows = index[:, part]
        logits = classifier.logits(examples.inputs, rows.reshape(-1), compared).view(*rows.shape, -1)
        labels = torch.from_numpy(examples.labels[rows]).to(logits.device)
        losses = F.cross_entropy(logits.mT, labels, reduction="none")
        (losses.sum(1) / index.shape[1]).sum().backward()
        errors.append(logits.detach().argmax(-1) != labels)
        log_losses.append(losses.detach())
    if compared.grad is not None:
        classes.backward(compared.grad)  # type: ignore[no-untyped-call]
    return _Step(index, torch.cat(errors, 1), torch.cat(log_losses, 1))


def _add_gradients_of_completions(
    model: Classifier, examples: Examples, index: Int[np.ndarray, "k rows"], tokens_per_pass: int
) -> _Step:
    counts = torch.from_numpy(examples.inputs.n_learnt[index])  # type: ignore[attr-defined]
    shares = counts / counts.sum(1, keepdim=True)
    errors, log_losses, wrong = [], [], []
    for part in cut(examples.inputs, index, tokens_per_pass):
        found = model.completion_losses(examples.inputs, index[:, part])  # type: ignore[attr-defined]
        losses = found.log_losses.view(len(index), -1)
        (losses * shares[:, part].to(losses)).sum().backward()
        errors.append(found.errors.view(losses.shape))
        wrong.append(found.wrong.view(losses.shape))
        log_losses.append(losses.detach())
    return _Step(index, torch.cat(errors, 1), torch.cat(log_losses, 1), torch.cat(wrong, 1))


def _first_passes(steps: Sequence[_Step], batch_size: int) -> list[FirstPass]:
    """What the steps of the first epoch saw, one record per adapter; none without steps."""
    if not steps:
        return []
    order = np.concatenate([step.index for step in steps], axis=1)
    errors = torch.cat([step.errors for step in steps], 1).cpu().numpy()
    log_losses = torch.cat([step.log_losses for step in steps], 1).float().cpu().numpy()
    wrong = [step.wrong for step in steps if step.wrong is not None]
    shares = torch.cat(wrong, 1).float().cpu().numpy() if wrong else [None] * len(order)
    return [FirstPass(order[k], errors[k], log_losses[k], batch_size, shares[k]) for k in range(len(order))]


def clip_gradients(stack: Stack, max_norm: float) -> Float[Tensor, " k"]:
    """Scale each adapter's gradient down to ``max_norm``, on its own; returns the K norms before that."""
    squares = sum(module.gradient_squares() for module in stack.trained)
    norms: Tensor = squares.sqrt()  # type: ignore[union-attr]
    if math.isfinite(max_norm):
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        for module in stack.trained:
            module.scale_gradients(factors)
    return norms


def _schedule(name: str, progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress)) if name == "cosine" else 1.0
