"""The commands after training: certify an adapter, and check somebody's certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.certificates.config import CertifyConfig
from lorabound.cli.consoles import say, telling
from lorabound.cli.options import ConfigFile, Flags, Grouped, options, takes
from lorabound.cli.results import PageFile, give, page_is_free
from lorabound.config import read_settings
from lorabound.errors import InputError

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(options(CertifyConfig, leave_out=("adapters", "image_column")))
def certify(
    flags: Flags,
    adapters: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of PEFT LoRA adapters; the folder of a sweep; or one table of answers.", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for certificate.json, which others can check.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the certificate into the adapter's model card (README.md).")
    ] = False,
    page: PageFile = None,
) -> None:
    """Say how bad an adapter can be on new data, with a limit that holds.

    With --holdout: by rows that nobody used. A run of a sweep is certified without such rows, by its errors on each
    row before it was trained on. An adapter from elsewhere: by the length of a compressed form, or by how far training
    moved it (--data: the rows it was trained on). Of several adapters the best may be chosen by --holdout: the limits
    count the choice.
    """
    from lorabound.certificates.verbs import certify as make

    asked = read_settings(CertifyConfig, config, {**flags, "adapters": adapters})
    if not asked.adapters:
        raise InputError(
            "say what is certified: lorabound certify ADAPTER --holdout FILE with rows that nobody used, or lorabound "
            "certify FILE with the columns label and predicted"
        )
    page_is_free(page)
    with telling() as tell:
        made = make(
            asked.adapters,
            asked.data or None,
            holdout=asked.holdout or None,
            model=asked.model or None,
            methods=asked.methods,
            delta=asked.delta,
            out=out_dir,
            predicted=asked.predicted,
            text_column=asked.text_column or None,
            label_column=asked.label_column,
            prompt=asked.prompt or None,
            classes=asked.classes or None,
            max_length=asked.max_length,
            base=asked.base,
            drop_empty=asked.drop_empty,
            rename_labels=asked.rename_labels,
            memory=asked.memory,
            write_card=write_card,
            observe=tell,
        )
    give(made, page)
    if out_dir:
        say(f"-> {out_dir / 'certificate.json'}  (anyone can check it: lorabound verify {out_dir})")
    else:
        say("Add --out DIR to keep it: certificate.json, which anyone can check with  lorabound verify DIR")
    if write_card:
        say(f"-> {asked.adapters[0]}/README.md")


@app.command(cls=Grouped)
def verify(
    certificate: Annotated[Path, typer.Argument(help="certificate.json, or its folder.")],
    data: Annotated[
        str | None,
        typer.Option(help="Rows it was trained on, or the table of answers, where they have moved."),
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Rows that nobody used, where they have moved.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of the adapter, where it has moved.")] = None,
    model: Annotated[str | None, typer.Option(help="The pretrained model, where it has moved.")] = None,
    memory: Annotated[float | None, typer.Option(help="Memory that the process may use, in GiB.")] = None,
    page: PageFile = None,
) -> None:
    """Compute a certificate again from the files it speaks of, and say what differs.

    Exit status 0: nothing differs, and a limit was computed again. Otherwise 2.
    """
    from lorabound.certificates.verify import verify as check

    page_is_free(page)
    with telling() as tell:
        found = check(certificate, data, holdout=holdout, adapter=adapter, model=model, memory=memory, observe=tell)
    give(found, page)
    if not found.holds:
        raise InputError(f"{certificate} does not hold as it stands: see the table above")
