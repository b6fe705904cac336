"""From a configuration to a task: data, the model that reads it, the layers that get adapters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lorabound.adapters import Adapter, QuantizedBase, Residuals, SingularDirections, new_adapter
from lorabound.data import DataCheck, Split, counted
from lorabound.engine import Examples
from lorabound.errors import DataError, InputError
from lorabound.models import (
    CorruptImages,
    Inputs,
    Kind,
    LoadedClassifier,
    TooLong,
    adapted_layers,
    default_device,
    load_classifier,
    residuals,
    resolve_precision,
)
from lorabound.modes import Mode
from lorabound.notation import RESIDUAL_LAW
from lorabound.stack import directions_of_weights, modules_of
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.material import Material, divide_again, read_material
from lorabound.sweeps.notes import cut_note

# A head that starts at 0 has further to go than factors: on 200 Debian package descriptions of 12 sections (MiniLM, 6
# epochs, lr 0.002, freeze_a, rank 2, layers 4 and 5) training and test error were 0.49 and 0.70 with the head at lr,
# 0.105 and 0.28 at 0.02, 0.005 and 0.292 at 0.1.
NEW_HEAD_LR = 0.02


@dataclass(frozen=True)
class Task:
    """Everything a sweep is about.

    Attributes:
        config: configuration with every setting filled in.
        kind: kind of the model.
        shapes: module name -> (d_out, d_in) of the adapted layers.
        weights: singular directions of the weights of the adapted layers.
        samples: largest training set of every sample; smaller ones are its first rows.
        unlabelled: examples without labels; None without any.
        n_skipped: images left out because they cannot be decoded.
        n_long: examples left out because they have too many tokens.
        own_test_set: whether a named task brought its test set along.
        check: findings on the data before the model was loaded.
        residuals: what rounding took from the adapted layers, where adapters start from it.
    """

    config: SweepConfig
    kind: Kind
    data: Split
    classifier: LoadedClassifier
    shapes: dict[str, tuple[int, int]]
    weights: SingularDirections
    samples: tuple[Examples, ...]
    test_set: Examples
    unlabelled: Inputs | None
    n_skipped: int
    n_long: int
    own_test_set: bool
    check: DataCheck
    residuals: Residuals | None = None

    @property
    def inputs(self) -> list[Inputs]:
        """All inputs that its runs read."""
        return [
            *(sample.inputs for sample in self.samples),
            self.test_set.inputs,
            *([] if self.unlabelled is None else [self.unlabelled]),
        ]

    @property
    def cut(self) -> dict[str, Any] | None:
        """The record of cut texts that :func:`lorabound.sweeps.notes.cut_note` reads; None for images."""
        limit = self.classifier.limit
        if limit is None:
            return None
        return {
            "test": [self.test_set.inputs.n_cut, len(self.test_set.labels)],
            "train": [sum(s.inputs.n_cut for s in self.samples), sum(len(s.labels) for s in self.samples)],
            "max_tokens": limit.tokens,
            "model_tokens": limit.model_tokens,
            "by": limit.by,
            "end": limit.cuts_end,
        }

    @property
    def notes(self) -> list[str]:
        """Sentences on what was unusual about data and model, and on texts that were cut."""
        cut = self.cut and cut_note(self.cut)
        long = f"Left out {counted(self.n_long, 'example')} of more than {self.config.most_tokens:,} tokens "
        long += "(--drop-long): every error is over examples that are no longer."
        return [*self.check.remarks, *self.classifier.notes, *([cut] if cut else []), *([long] if self.n_long else [])]

    def new_adapter(self, rank: int, mode: Mode, seed: int) -> Adapter:
        """An untrained adapter of this task, with the head it starts from where heads are trained."""
        base = self.config.base
        if self.residuals:
            made = self.residuals.adapter(rank, mode, seed, self.config.alpha_over_r)
        else:
            made = new_adapter(
                self.shapes,
                rank,
                mode,
                seed,
                self.config.law,
                self.config.alpha_over_r,
                weights=self.weights,
                subspace_size=self.config.subspace_size,
                links=self.config.links,
            )
        quantized = QuantizedBase(format=base, sha256=self.classifier.sha256) if base else None
        return replace(made, head=self.classifier.head, base=quantized)


def load_task(
    config: SweepConfig, observe: Callable[[str], None] = lambda _: None, material: Material | None = None
) -> Task:
    """Read the data, load the model, and make the one ready for the other.

    Args:
        material: the data of ``config``, where they have been read already.
    Raises:
        DataError, ModelError, InputError: the configuration cannot be carried out.
    """
    if material is None:
        observe("reading the data")
        material = read_material(config)
    classifier: LoadedClassifier | None = None
    classes: list[str] = []
    skipped: set[str] = set()
    n_long = 0
    while True:
        config, data = material.config, material.divided
        most = len(data.train_examples) if config.shots else max(config.sizes)
        blocks = [slice(sample * most, (sample + 1) * most) for sample in range(config.samples)]
        if classifier is None or classes != data.classes:
            observe("loading the model")
            classifier, classes = load_model(config, material.kind, data.classes), data.classes
        observe("making the examples ready")
        try:
            samples = tuple(
                Examples(classifier.prepare(data.train_examples[block]), data.train_labels[block]) for block in blocks
            )
            test_set = Examples(classifier.prepare(data.test_examples), data.test_labels)
            unlabelled = classifier.prepare(data.unlabelled_examples) if data.unlabelled_examples else None
            break
        except CorruptImages as error:
            if not config.skip_corrupt:
                raise
            skipped |= error.names
            material = divide_again(material, error.names)
        except TooLong as error:
            if not config.drop_long:
                raise
            before = len(material.table) + len(material.test_table or ())
            try:
                material = divide_again(material, set(error.examples))
            except DataError as few:
                found = counted(n_long + len(error.examples), "example")
                raise DataError(
                    f"{few}; {found} of more than {config.most_tokens:,} tokens had to be left out (--drop-long)"
                ) from None
            n_long += before - len(material.table) - len(material.test_table or ())
    config = config.model_copy(
        update={"precision": classifier.precision, "logit_scale": classifier.logit_scale} | _head_lr(config, classifier)
    )
    shapes = adapted_layers(modules_of(classifier.module), material.kind, config.targets, config.layers, config.encoder)
    if classifier.head and classifier.head.name in shapes:
        raise InputError(f"{classifier.head.name} is the head, which is trained whole: leave it out of targets")
    rounding = None
    if config.law == RESIDUAL_LAW and config.base:
        observe("comparing the model with its rounded weights")
        rounding = residuals(config.model, classifier.module, shapes, config.base, max(config.ranks))
    return Task(
        config,
        material.kind,
        data,
        classifier,
        shapes,
        directions_of_weights(classifier.module, shapes),
        samples,
        test_set,
        unlabelled,
        len(skipped),
        n_long,
        material.own_test_set,
        material.check,
        rounding,
    )


def _head_lr(config: SweepConfig, classifier: LoadedClassifier) -> dict[str, float]:
    """The step size of a trained head where none is given: its own where it starts at 0, else that of the adapters."""
    head = classifier.head
    if head is None or config.head_lr is not None:
        return {}
    return {"head_lr": config.lr if head.weight.any() else NEW_HEAD_LR}


def load_model(config: SweepConfig, kind: Kind, classes: list[str]) -> LoadedClassifier:
    """The frozen model of a sweep, on the device of this machine.

    Raises:
        ModelError: no such model, or it cannot be loaded.
    """
    device = default_device()
    classes = [] if kind.reads == "dialogues" else classes
    return load_classifier(
        config.model,
        classes,
        config.prompt,
        config.logit_scale,
        config.most_tokens,
        device,
        resolve_precision(config.precision, device),
        config.head,
        True,
        config.base,
    )
