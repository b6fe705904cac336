"""What Python users do with certificates: make one; see :mod:`lorabound.certificates.verify` for checking one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

from lorabound.arguments import probability
from lorabound.certificates.certificate import Certificate
from lorabound.certificates.predictions import LABEL, PREDICTED, certify_predictions
from lorabound.certificates.replaced import refuse_to_replace
from lorabound.data.files import FORMATS
from lorabound.errors import DataError, InputError
from lorabound.files import result_folder
from lorabound.notation import Base
from lorabound.sweeps.places import holds_recommendation

Place = str | PathLike[str]


def certify(
    adapter: Place | Sequence[Place],
    data: Place | None = None,
    *,
    holdout: Place | None = None,
    model: str | None = None,
    methods: Sequence[str] | None = None,
    delta: float = 0.05,
    out: Place | None = None,
    predicted: Sequence[str] = (PREDICTED,),
    text_column: str | None = None,
    label_column: str = LABEL,
    prompt: str | None = None,
    classes: Sequence[str] | None = None,
    max_length: int | None = None,
    base: Base | None = None,
    drop_empty: bool = False,
    rename_labels: Mapping[str, str] | None = None,
    memory: float | None = None,
    write_card: bool = False,
    observe: Callable[[str], None] = lambda _: None,
) -> Certificate:
    """How bad an adapter can be on data it has not seen, with a limit that holds with probability 1 - ``delta``.

    Args:
        adapter: folder of a PEFT LoRA adapter; the folder of a sweep, for the best of its runs; several adapters, for
            the best of them on ``holdout``; or the file of a table that holds labels and the answers of any models.
        data: file of the rows that the adapter was trained on, in the form that a sweep takes; a run of a sweep knows
            its own.
        holdout: file of rows that nobody used to train or to choose.
        model: frozen model, where the adapter's folder does not name it.
        methods: names of methods (:data:`lorabound.certificates.methods.METHODS`), or "all"; None takes
            ``holdout`` where fresh rows are given, else the first of ``progressive``, ``cross-fit`` and ``blocks`` that
            the sweep kept, else ``compressed`` and ``pac-bayes``. Of m methods each has delta/m.
        delta: probability that one of the limits is wrong, in (0, 1).
        out: folder that ``certificate.json`` and its files are written to; an earlier one of the same adapter and rows
            is replaced, one of something else is refused.
        predicted: columns of the table that hold answers, one per model.
        text_column: column of texts or images; None takes text or image.
        label_column: column of labels.
        prompt: class prompt with one ``{}``, for an adapter that no sweep made.
        classes: names of the classes, for an adapter that no sweep made.
        max_length: number of tokens after which a text is cut, for an adapter that no sweep made.
        base: format that the weights of the model were rounded to, "nf4" or "int8", when such an adapter was trained.
        drop_empty: whether rows without text, image or label are left out, and counted.
        rename_labels: label in the data -> label as the adapters know it.
        memory: budget of the whole process in GiB; None takes what is free.
        write_card: whether the certificate is put into the model card of the adapter, in place of an earlier one.
        observe: function that is told what goes on.
    Raises:
        AdapterError, ModelError, DataError, InputError: an adapter, its model or the data cannot be used, a method
            cannot be had, or no row is fresh.
        OutputError: ``out`` cannot be written.

    >>> import lorabound as lb, polars as pl
    >>> answers = pl.DataFrame({"label": ["cat", "dog"] * 50, "predicted": ["cat", "dog"] * 48 + ["cat"] * 4})
    >>> answers.write_csv("answers.csv")
    >>> lb.certify("answers.csv")
    Certificate: predicted, error on new data <= 0.06162 with probability 0.95 (holdout)
    """
    probability("certify", "delta", delta)
    named = [fspath(one) for one in ([adapter] if isinstance(adapter, str | PathLike) else adapter)]
    if not named:
        raise InputError("certify: name an adapter, a sweep or a table of answers")
    for name in named:
        if Path(name).suffix.lower() in FORMATS and not Path(name).exists():
            raise DataError(
                f"there is no file {name}: certify takes folders of adapters, the folder of a sweep, or a table of "
                f"answers with the columns {label_column} and {predicted[0]}"
            )
    if out is not None and holds_recommendation(fspath(out)):
        raise InputError(
            f"{fspath(out)} holds a recommendation, whose own certificate.json would be lost: give another --out"
        )
    with result_folder(out):
        if len(named) == 1 and Path(named[0]).is_file() and not named[0].endswith(".safetensors"):
            if data is not None or holdout is not None:
                raise InputError(
                    f"{named[0]} is a table of answers, which needs no other rows: leave data and holdout out"
                )
            needless = [
                name for name, value in (("--drop-empty", drop_empty), ("--rename-label", rename_labels)) if value
            ]
            if needless:
                raise InputError(
                    f"{needless[0]} is for rows of texts or images: mend such rows in the table of answers itself"
                )
            made = certify_predictions(named[0], predicted, label_column, delta)
            refuse_to_replace(out, {"table": made.record["table"]["sha256"]})
        else:
            from lorabound.certificates.certify import certify_adapters
            from lorabound.certificates.found import Asked

            asked = Asked(
                data=None if data is None else fspath(data),
                holdout=None if holdout is None else fspath(holdout),
                out=None if out is None else fspath(out),
                methods=methods,
                delta=delta,
                text_column=text_column,
                label_column=label_column,
                empty="drop" if drop_empty else "refuse",
                rename_labels=rename_labels or {},
                model=model,
                prompt=prompt,
                classes=classes,
                max_length=max_length,
                base=base,
                memory=memory,
            )
            made = certify_adapters(named, asked, observe)
        if out is not None:
            from lorabound.certificates.stored import write_certificate

            write_certificate(made, out)
    if write_card:
        from lorabound.certificates.card import write_card as put

        put(made)
    return made
