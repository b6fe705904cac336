"""What a certificate is asked to be of, looked at before any model is loaded: adapter, run, rows. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lorabound.adapters import Adapter, folder_sha256
from lorabound.certificates.fingerprints import adapter_sha256
from lorabound.certificates.methods import Method, Needs
from lorabound.certificates.rows import AdapterUse, FreshRows, read_adapter, read_fresh_rows, sweep_of, task_of
from lorabound.data import Empty, Labelled, load_examples, renamed
from lorabound.errors import AdapterError, DataError, InputError
from lorabound.notation import Base
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.progressive import block_certificate, why_not
from lorabound.sweeps.records import AdapterTask, fingerprint
from lorabound.sweeps.row import Row
from lorabound.sweeps.sweep import Sweep

Observe = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What :func:`lorabound.certify` was asked for, beside the adapters; its arguments say what each is."""

    data: str | None = None
    holdout: str | None = None
    out: str | None = None
    methods: Sequence[str] | None = None
    delta: float = 0.05
    text_column: str | None = None
    label_column: str = "label"
    empty: Empty = "refuse"
    rename_labels: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    prompt: str | None = None
    classes: Sequence[str] | None = None
    max_length: int | None = None
    base: Base | None = None
    memory: float | None = None

    @property
    def read(self) -> dict[str, Any]:
        """How the rows of a file are read, as JSON values."""
        return {
            "text_column": self.text_column,
            "label_column": self.label_column,
            "empty": self.empty,
            "rename_labels": dict(self.rename_labels),
        }

    @property
    def use(self) -> AdapterUse:
        """How an adapter from elsewhere reads an example."""
        return AdapterUse(
            model=self.model, prompt=self.prompt, classes=self.classes, max_length=self.max_length, base=self.base
        )


@dataclass(frozen=True, kw_only=True)
class Found:
    """An adapter folder that has been read, and the run of the sweep that it stands in.

    Attributes:
        path: folder of the adapter.
        adapter: its factors.
        task: how it reads an example.
        sweep, run: its sweep and its run; None for an adapter from elsewhere.
        changed: whether its files are known to be others than those that training left.
    """

    path: Path
    adapter: Adapter
    task: AdapterTask
    sweep: Sweep | None
    run: Row | None
    changed: bool = False


def find_adapter(path: str | Path, use: AdapterUse) -> Found:
    """Read an adapter folder, and find the run that trained it.

    Raises:
        AdapterError, InputError: it cannot be used, or nothing says how it reads an example.
    """
    path = Path(path)
    adapter = read_adapter(path)
    task = task_of(path, adapter, use)
    folder = sweep_of(path)
    if folder is None or not (folder / "sweep.sqlite").is_file():
        return Found(path=path, adapter=adapter, task=task, sweep=None, run=None)
    sweep = Sweep.open(folder)
    name = path.resolve().name
    named = {run.name: run for run in runs_of(sweep.config)}
    run = named.get(name)
    row = next((row for row in sweep.rows() if _same(row, run)), None) if run else None
    changed = row is not None and row.adapter_sha256 not in (None, folder_sha256(path))
    return Found(path=path, adapter=adapter, task=task, sweep=sweep, run=row, changed=changed)


def refuse_changed(found: Found, methods: Sequence[Method]) -> None:
    """See that what a sweep kept of a training is told of the adapter that this training ended with.

    Raises:
        AdapterError: the files of the adapter changed since, and a method speaks of its training.
    """
    named = [method.name for method in methods if method.needs in ("a run", "folds", "blocks")]
    if found.changed and named:
        raise AdapterError(
            f"{found.path} is not what training left (its files have another hash than {found.path.parent.parent} "
            f"recorded): something changed it, and {', '.join(named)} would speak of another adapter; sweep again, or "
            "certify it by rows that nobody used, --holdout FILE"
        )


def kept(found: Found) -> dict[Needs, bool]:
    """What a sweep kept of the training of an adapter that proves something: losses, folds, blocks of nested sizes."""
    if found.sweep is None or found.run is None:
        return {}
    config, run = found.sweep.config, found.run
    return {
        "a run": run.first_errors is not None and why_not(config) is None,
        "folds": run.fold_errors is not None and not config.shots,
        "blocks": block_certificate(run, found.sweep.rows(), config) is not None,
    }


def _same(row: Row, run: Run) -> bool:
    return all(getattr(row, field.name) == getattr(run, field.name) for field in fields(Run))


def read_sample(
    found: Found,
    data: str | None,
    text_column: str | None = None,
    label_column: str = "label",
    empty: Empty = "refuse",
    rename_labels: Mapping[str, str] | None = None,
    *,
    by_name: bool = True,
) -> Labelled | None:
    """The rows of a file, for an adapter from elsewhere; None for a run of a sweep, which knows its own.

    Args:
        by_name: whether methods that want these rows were named; else fresh rows would do, and mostly better.
    Raises:
        DataError, InputError: no rows are named, they cannot be used, or hold one class only.
    """
    if found.run is not None:
        return None
    if data is None:
        raise InputError(
            f"{found.path} does not stand in the folder of a sweep that trained it: give "
            + ("" if by_name else "rows that nobody used, --holdout FILE, or ")
            + "the rows it was trained on, --data FILE"
        )
    table = renamed(load_examples(found.task.takes, data, text_column, label_column, empty), rename_labels or {})
    if len(set(table.labels)) < 2:
        raise DataError(f"{data} has one class only ({table.labels[0]!r}): nothing can be learnt or certified from it")
    return table


def read_fresh(folders: Sequence[str], asked: Asked, table: Labelled | None, observe: Observe) -> FreshRows:
    """Adapters and fresh rows; rows of ``table``, which the adapter was trained on, are not fresh."""
    assert asked.holdout is not None
    seen: Collection[str] = {fingerprint(example) for example in table.examples} if table else ()
    return read_fresh_rows(
        folders,
        asked.holdout,
        asked.text_column,
        asked.label_column,
        asked.use,
        observe,
        asked.empty,
        asked.rename_labels,
        seen,
    )


def subject_record(found: Found, model_sha256: str) -> dict[str, Any]:
    """What a certificate speaks of, as JSON values."""
    counted = found.sweep.config.min_class_rows if found.sweep and found.run else 1
    return {
        **({"min_class_rows": counted} if counted > 1 else {}),
        "adapter": {"folder": str(found.path), "sha256": dict(adapter_sha256(found.path))},
        "model": {"name": found.task.model, "sha256": model_sha256},
        "task": found.task.model_dump(mode="json"),
    }
