"""From adapters to a certificate: what can be certified, by which methods, on which rows; read from the top.

Mistakes are told before torch is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lorabound.certificates.certificate import Certificate
from lorabound.certificates.fingerprints import adapter_sha256, rows_sha256
from lorabound.certificates.found import Asked, Observe, find_adapter, kept, read_fresh, read_sample, refuse_changed
from lorabound.certificates.methods import METHODS, chosen
from lorabound.certificates.replaced import refuse_to_replace
from lorabound.certificates.rows import FreshRows, of_completions
from lorabound.data import Labelled
from lorabound.errors import InputError
from lorabound.sweeps.choices import choices
from lorabound.sweeps.grid import Run
from lorabound.sweeps.progressive import by_blocks, why_not
from lorabound.sweeps.records import ADAPTERS
from lorabound.sweeps.store import FILE as STORE
from lorabound.sweeps.sweep import Sweep


def certify_adapters(folders: Sequence[str], asked: Asked, observe: Observe = lambda _: None) -> Certificate:
    """The certificate of one adapter, or of the best of several on fresh rows. Raises as :func:`lorabound.certify`."""
    if len(folders) > 1:
        if asked.data is not None:
            raise InputError("--data holds the rows that one adapter was trained on: name one adapter, or leave it out")
        return _best_on_fresh_rows(folders, asked, observe)
    if (Path(folders[0]) / STORE).is_file():
        return _best_of_sweep(folders[0], asked, observe)
    found = find_adapter(folders[0], asked.use)
    methods = chosen(asked.methods, {"fresh rows": asked.holdout is not None, **kept(found)})
    refuse_changed(found, methods)
    only_fresh = all(method.needs == "fresh rows" for method in methods)
    table: Labelled | None = None
    if not only_fresh or asked.data is not None:
        table = read_sample(
            found,
            asked.data,
            asked.text_column,
            asked.label_column,
            asked.empty,
            asked.rename_labels,
            by_name=asked.methods is not None,
        )
    if only_fresh:
        return _best_on_fresh_rows(folders, asked, observe, table)
    fresh = any(method.needs == "fresh rows" for method in methods)
    if asked.holdout is not None and not fresh:
        raise InputError("--holdout gives rows for the method holdout: add it to --methods, or leave --holdout out")
    rows = read_fresh(folders, asked, table, observe) if fresh else None
    sample = {"data": table and rows_sha256(table.examples, table.labels)}
    refuse_to_replace(asked.out, sample | _fresh(rows), [adapter_sha256(found.path)])
    from lorabound.certificates.measure import certificate_of  # imports torch

    return certificate_of(found, methods, asked, table, rows, asked.delta / len(methods), observe)


def _fresh(rows: FreshRows | None) -> dict[str, str]:
    """The hash of the fresh rows, as the record of a certificate has it."""
    return {"holdout": rows_sha256(rows.examples, rows.labels)} if rows else {}


def _best_on_fresh_rows(
    folders: Sequence[str], asked: Asked, observe: Observe, table: Labelled | None = None
) -> Certificate:
    """The best of K adapters by fresh rows, at delta/K each."""
    if asked.holdout is None:
        raise InputError(
            "several adapters are compared on rows that nobody used: give them with --holdout FILE, or name one adapter"
        )
    if asked.methods is not None and list(asked.methods) != ["holdout"]:
        raise InputError("several adapters are certified by holdout only: name one adapter for other methods")
    rows = read_fresh(folders, asked, table, observe)
    refuse_to_replace(asked.out, _fresh(rows), [adapter_sha256(Path(folder)) for folder in folders])
    from lorabound.certificates.measure import best_on_fresh_rows  # imports torch

    return best_on_fresh_rows(rows, asked, observe)


def _best_of_sweep(folder: str, asked: Asked, observe: Observe) -> Certificate:
    """The run of a sweep with the least certificate at its largest size, at delta/K for the K runs there."""
    sweep = Sweep.open(folder)
    if sweep.config.task == "completions":
        raise InputError(of_completions(folder, sweep.folder))
    config = sweep.config
    if config.epochs == 1:  # the last steps of a single pass are nearer to the adapter than folds or smaller sizes
        config = config.model_copy(update={"cross_fit": None})
    method = "cross-fit" if config.cross_fit else "blocks" if by_blocks(config) else "progressive"
    if asked.holdout is not None or asked.methods not in (None, [method]):
        raise InputError(
            f"{folder} is a sweep, which is certified by {method}: name one of its adapters for other methods, as "
            f"{folder}/{ADAPTERS}/NAME"
        )
    if (reason := why_not(config)) and (config.shots or method == "progressive"):
        raise InputError(f"{folder}: {method} cannot be had. {reason}")
    found = choices(sweep.rows(), config, asked.delta)
    if not found:
        raise InputError(
            f"{folder} holds no run that {method} can certify: finish it, or sweep again into another --out"
        )
    if (largest := max(sweep.config.sizes)) not in found:
        raise InputError(
            f"{folder}: no run at N = {largest:,}, the largest size, can be certified (each of them diverged, is "
            "missing or had too few steps), and a smaller size taken for that reason would be chosen by results. "
            "Finish the sweep, or name one run of a smaller size that its result did not choose, as "
            f"{folder}/{ADAPTERS}/NAME"
        )
    choice = found[largest]
    row = choice.row
    run = Run(**{name: getattr(row, name) for name in Run.__dataclass_fields__})
    adapter = find_adapter(Path(folder) / ADAPTERS / run.name, asked.use)
    refuse_changed(adapter, [METHODS[method]])
    refuse_to_replace(asked.out, {"data": None}, [adapter_sha256(adapter.path)])
    share = asked.delta / choice.n_candidates
    from lorabound.certificates.measure import certificate_of  # imports torch

    made = certificate_of(adapter, [METHODS[method]], asked, None, None, share, observe)
    note = f"It is the only run at N = {row.n_train:,}."
    if choice.n_candidates > 1:
        note = (
            f"The best of {choice.n_candidates} runs at N = {row.n_train:,} by this certificate. The choice is "
            f"counted: each has delta / {choice.n_candidates}."
        )
    if sweep.about.get("extended"):
        note += " The grid was extended after its first runs: the limit holds if that was not decided by their results."
    return replace(
        made,
        notes=(note, *made.notes),
        record={**made.record, "candidates": choice.n_candidates},
        gain=choice.gain,
        gain_by=method if choice.gain else None,
    )
