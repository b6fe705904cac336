"""The adapter that the user takes along: trained on all rows, or the largest pilot as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lorabound.adapters import folder_sha256, save_adapter
from lorabound.data import Labelled
from lorabound.engine import Examples
from lorabound.errors import AdapterError, InputError
from lorabound.files import drafted, write_text
from lorabound.models import name_for_others
from lorabound.recommendations.certificate import take_away, write_final
from lorabound.recommendations.layout import Layout
from lorabound.recommendations.pilots import with_lr
from lorabound.sweeps.execute import task_of_run
from lorabound.sweeps.executors import open_executor
from lorabound.sweeps.grid import Run
from lorabound.sweeps.records import write_rows, write_task
from lorabound.sweeps.row import Row
from lorabound.sweeps.task import Task

FINAL = "final.json"


def train_final(
    task: Task,
    layout: Layout,
    run: Run,
    lr: float,
    folder: Path,
    delta: float,
    n_choices: int,
    notes: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Train one adapter on all rows, those that tested the pilots as well; write its folder and its certificate.

    Args:
        delta, n_choices: the certificate's limit has delta/n_choices.
        notes: sentences on rows that were left out, for the certificate.
    Raises:
        InputError: training diverged.
        OutputError, AdapterError: the folder cannot be written.
    """
    task = with_lr(task, lr, layout.material.asked.head_lr)
    config, table = task.config, layout.material.table
    labels = np.zeros(len(table), dtype=np.int64)
    if isinstance(table, Labelled):
        index = {name: i for i, name in enumerate(task.data.classes)}
        labels = np.array([index[label] for label in table.labels], dtype=np.int64)
    examples = Examples(task.classifier.prepare(list(table.examples)), labels)
    alone = config.model_copy(update={"ranks": [run.rank], "cross_fit": None, "blocks": False})
    whole = replace(task, config=alone, samples=(examples,), test_set=examples.head(1), unlabelled=None)
    with open_executor([whole], 1, folder.parent, tell) as executor:
        executor.fit(whole)
        [(_, [trained])] = executor.run(whole, [[run]], lambda *_: None)
    if trained.diverged:
        raise InputError(
            f"training {run.mode} of rank {run.rank} on all {run.n_train:,} rows diverged: give smaller learning "
            f"rates, as --lrs {lr / 10:.2g},{lr / 3:.2g}"
        )
    assert trained.adapter is not None
    take_away(folder.parent)
    save_adapter(trained.adapter, folder, name_for_others(config.model), type(task.classifier.module))
    write_rows(folder, list(table.examples), [])
    write_task(folder, task_of_run(task, run))
    if trained.first_pass is not None:
        name, n_params = f"{run.mode} of rank {run.rank}", trained.adapter.n_params
        write_final(trained.first_pass, table.examples, config, delta, n_choices, n_params, name, folder.parent, notes)


def record_final(folder: Path, key: str) -> None:
    """Say that the final adapter is there: what decided it, and the hash of its files.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(folder.parent / FINAL, json.dumps({"key": key, "sha256": folder_sha256(folder)}) + "\n")


def is_there(folder: Path, key: str) -> bool:
    """Whether the folder holds this final adapter, as training left it."""
    try:
        record = json.loads((folder.parent / FINAL).read_text(encoding="utf-8"))
        return bool(record == {"key": key, "sha256": folder_sha256(folder)})
    except (OSError, ValueError, AdapterError):
        return False


def copy_adapter(source: Path, folder: Path) -> None:
    """The adapter of a pilot, as it is.

    Raises:
        OutputError: the folder cannot be written.
    """
    take_away(folder.parent)
    with drafted(folder) as draft:
        shutil.copytree(source, draft)


def record_rows(folder: Path, layout: Layout, row: Row) -> None:
    """Which rows the copied adapter of a pilot was trained on, and by which others it may have been chosen.

    Raises:
        OutputError: the file cannot be written.
    """
    material = next(one for one in layout.materials if row.seed in one.config.seeds)
    data, cut = material.divided, row.n_train
    others = [
        *data.train_examples[cut:],
        *data.test_examples,
        *(material.test_table.examples if material.test_table else ()),
    ]
    write_rows(folder, data.train_examples[:cut], others)
