"""From a configuration to a task: data, the model that reads it, the layers that get adapters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lorabound.adapters import Adapter, new_adapter
from lorabound.data import DEFAULT_PROMPT, NAMED, Split, Table, load_images, load_table, split
from lorabound.engine import Examples
from lorabound.errors import DataError, InputError
from lorabound.models import (
    CorruptImages,
    LoadedClassifier,
    Reads,
    adapted_layers,
    default_device,
    load_classifier,
    reads,
    resolve_precision,
    target_names,
)
from lorabound.notation import Mode
from lorabound.sweep.config import SweepConfig

# The task `words`, and any other texts. Zero-shot error of MiniLM with TEXT_PROMPT, with "{}" and with WORD_PROMPT:
# sentences of Python's manual by topic (1,346 in 12 classes) 0.585, 0.583, 0.604; one-line descriptions of Debian
# packages by section (2,740 in 12 classes) 0.376, 0.428, 0.426.
WORD_PROMPT, TEXT_PROMPT = "This is a {} word.", "This text is about {}."

# A head that starts at 0 has further to go than factors: on 200 Debian package descriptions of 12 sections (MiniLM, 6
# epochs, lr 0.002, freeze_a, rank 2, layers 4 and 5) training and test error were 0.49 and 0.70 with the head at lr,
# 0.105 and 0.28 at 0.02, 0.005 and 0.292 at 0.1.
NEW_HEAD_LR = 0.02


@dataclass(frozen=True)
class Task:
    """Everything a sweep is about.

    Attributes:
        config: what was asked for, with nothing left open.
        shapes: module name -> (d_out, d_in) of the adapted layers.
        pool: the examples of the largest training set; the others are its prefixes.
        n_skipped: images left out because they cannot be decoded.
        own_test_set: whether a named task brought its test set along.
    """

    config: SweepConfig
    takes: Reads
    data: Split
    classifier: LoadedClassifier
    shapes: dict[str, tuple[int, int]]
    pool: Examples
    test_set: Examples
    n_skipped: int
    own_test_set: bool

    def new_adapter(self, rank: int, mode: Mode, seed: int) -> Adapter:
        """An untrained adapter of this task, with the head it starts from where heads are trained."""
        made = new_adapter(self.shapes, rank, mode, seed, self.config.law, self.config.alpha_over_r)
        return replace(made, head=self.classifier.head)


def load_task(config: SweepConfig, n_pool: int | None = None, observe: Callable[[str], None] = lambda _: None) -> Task:
    """Read the data, load the model, and make the one ready for the other.

    Args:
        n_pool: examples to make ready for training; None takes the largest training set of ``config``.
    Raises:
        DataError, ModelError, InputError: the configuration cannot be carried out.
    """
    takes = reads(config.model)
    if config.augment and takes == "texts":
        raise InputError("augment crops and flips images, and this model reads texts: leave it out")
    if takes == "texts" and (config.encoder != "both" or config.skip_corrupt):
        raise InputError("encoder and skip_corrupt are for images, and this model reads texts: leave them out")
    if config.head_lr is not None and config.head != "trained":
        raise InputError("head_lr is the step size of a trained head: add --head trained, or leave it out")
    observe("reading the data")
    table, test_table = read_tables(config, takes)
    config = completed(config, takes)
    shots = max(config.shots) if config.shots else None
    own_test_set = test_table is not None and not config.test_data
    classifier: LoadedClassifier | None = None
    classes: list[str] = []
    skipped: set[str] = set()
    while True:
        n_test = min(config.n_test, len(test_table)) if test_table and own_test_set else config.n_test
        data = split(table, n_pool or max(config.n_train), n_test, config.data_seed, test_table, shots)
        most = len(data.train_examples) if shots else n_pool or max(config.n_train)
        if classifier is None or classes != data.classes:
            observe("loading the model")
            classifier, classes = _load(config, data.classes), data.classes
        observe("making the examples ready")
        try:
            pool = Examples(classifier.prepare(data.train_examples[:most]), data.train_labels[:most])
            test_set = Examples(classifier.prepare(data.test_examples), data.test_labels)
            break
        except CorruptImages as error:
            if not config.skip_corrupt:
                raise
            skipped |= error.names
            table, test_table = _without(table, error.names), test_table and _without(test_table, error.names)
    sizes = [most * count // shots for count in sorted(config.shots)] if config.shots and shots else config.n_train
    config = config.model_copy(
        update={"precision": classifier.precision, "logit_scale": classifier.logit_scale, "n_train": sizes}
        | _head_lr(config, classifier)
    )
    shapes = adapted_layers(classifier.module, takes, config.targets or [], config.layers, config.encoder)
    if classifier.head and classifier.head.name in shapes:
        raise InputError(f"{classifier.head.name} is the head, which is trained whole: leave it out of targets")
    return Task(config, takes, data, classifier, shapes, pool, test_set, len(skipped), own_test_set)


def _head_lr(config: SweepConfig, classifier: LoadedClassifier) -> dict[str, float]:
    """The step size of a trained head where none is given: its own where it starts at 0, else that of the adapters."""
    head = classifier.head
    if head is None or config.head_lr is not None:
        return {}
    return {"head_lr": config.lr if head.weight.any() else NEW_HEAD_LR}


def _load(config: SweepConfig, classes: list[str]) -> LoadedClassifier:
    device = default_device()
    return load_classifier(
        config.model, classes, config.prompt or "", config.logit_scale, config.max_length, device,
        resolve_precision(config.precision, device), config.head == "trained",
    )  # fmt: skip


def read_tables(config: SweepConfig, takes: Reads) -> tuple[Table, Table | None]:
    """The data, and the test set where it has one of its own."""
    if takes == "texts":
        columns = config.text_column, config.label_column
        test = load_table(config.test_data, *columns) if config.test_data else None
        return load_table(config.data, *columns), test
    columns = config.image_column, config.label_column
    named = NAMED.get(config.data)
    if config.test_data:
        test = load_images(config.test_data, *columns)
    else:
        test = named.test() if named and named.test else None
    return load_images(config.data, *columns), test


def completed(config: SweepConfig, takes: Reads) -> SweepConfig:
    """With what the model and the data make of the settings that were not given."""
    config = config.completed(takes, default_prompt(config, takes))
    return config.model_copy(update={"targets": target_names(takes, config.targets or [])})


def default_prompt(config: SweepConfig, takes: Reads) -> str:
    """The class prompt where none is given."""
    if takes == "texts":
        return WORD_PROMPT if config.data == "words" else TEXT_PROMPT
    return NAMED[config.data].prompt if config.data in NAMED else DEFAULT_PROMPT


def _without(table: Table, names: frozenset[str]) -> Table:
    kept = [
        (example, label)
        for example, label in zip(table.examples, table.labels, strict=True)
        if isinstance(example, str) or example.name not in names
    ]
    if not kept:
        raise DataError(f"{table.name} holds no image that can be decoded")
    return Table(table.name, [example for example, _ in kept], [label for _, label in kept])
