"""What Python users do with checks: make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath

from lorabound.certificates.fresh import FreshCheck
from lorabound.certificates.predictions import LABEL, PREDICTED, check_predictions
from lorabound.errors import InputError


def check(
    adapters: str | PathLike[str] | Sequence[str | PathLike[str]],
    data: str | PathLike[str] | None = None,
    *,
    predicted: Sequence[str] = (PREDICTED,),
    text_column: str | None = None,
    label_column: str = LABEL,
    delta: float = 0.05,
    model: str | None = None,
    prompt: str | None = None,
    classes: Sequence[str] | None = None,
    max_length: int | None = None,
    drop_empty: bool = False,
    rename_labels: Mapping[str, str] | None = None,
    observe: Callable[[str], None] = lambda _: None,
) -> FreshCheck:
    """Limit the error of adapters, or of any models, on new data; the limits hold for the best of several, too.

    Args:
        adapters: folder of a PEFT LoRA adapter, or several folders; without ``data``, the file of a table that holds
            labels and the answers of any models.
        data: file of labelled rows that nobody used to train or to choose, in the form that a sweep takes.
        predicted: columns of the table that hold answers, one per model.
        text_column: column of texts or images; None takes text or image.
        label_column: column of labels.
        delta: probability that one of the limits is wrong, in (0, 1).
        model: frozen model, where the adapter's folder does not name it.
        prompt: class prompt with one ``{}``, for an adapter that no sweep made.
        classes: names of the classes, for an adapter that no sweep made.
        max_length: number of tokens after which a text is cut, for an adapter that no sweep made.
        drop_empty: whether rows without text, image or label are left out, and counted.
        rename_labels: label in the data -> label as the adapters know it.
        observe: function that is told what goes on.
    Raises:
        AdapterError, ModelError, DataError, InputError: an adapter, its model or the data cannot be used, or no row
            is fresh.

    >>> import lorabound as lb, polars as pl
    >>> answers = pl.DataFrame({"label": ["cat", "dog"] * 50, "predicted": ["cat", "dog"] * 48 + ["cat"] * 4})
    >>> answers.write_csv("answers.csv")
    >>> lb.check("answers.csv")
    FreshCheck: predicted, 2 of 100 fresh rows wrong; error on new data <= 0.06162 with probability 0.95
    """
    named = [adapters] if isinstance(adapters, str | PathLike) else list(adapters)
    if data is None:
        if len(named) != 1:
            raise InputError("check: give data with rows that the adapters have not seen, or one table of answers")
        return check_predictions(fspath(named[0]), predicted, label_column, delta)
    if not named:
        raise InputError("check: name at least one adapter")
    from lorabound.certificates.holdout import check_adapters  # imports torch
    from lorabound.certificates.rows import AdapterUse

    use = AdapterUse(model=model, prompt=prompt, classes=classes, max_length=max_length)
    return check_adapters(
        [fspath(name) for name in named],
        fspath(data),
        text_column,
        label_column,
        delta,
        use,
        observe,
        "drop" if drop_empty else "refuse",
        rename_labels,
    )
