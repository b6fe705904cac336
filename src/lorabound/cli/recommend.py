"""The command most people come for: which rank, which factor to freeze, for my data and my model."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lorabound.cli.consoles import out, say
from lorabound.cli.options import ConfigFile, Flags, Grouped, options, takes
from lorabound.cli.progress import kept_when_stopped, progress
from lorabound.cli.usage import refuse_no_configuration
from lorabound.errors import InputError
from lorabound.recommendations.config import DECIDED, RecommendConfig, read_recommendation
from lorabound.sweeps.config import SweepConfig

if TYPE_CHECKING:
    from lorabound.modes import Mode
    from lorabound.recommendations import Recommendation
    from lorabound.trainers import TrainerFile

_TRAINER_FILES = "Files of trainers"

_DEFAULTS = {"ranks": [1, 2, 4, 8, 16, 32, 64], "seeds": "2; 4 with fewer than 2,000 rows"}

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(
    options(RecommendConfig), options(SweepConfig, leave_out=(*DECIDED, "links", "subspace_size"), defaults=_DEFAULTS)
)
def recommend(
    flags: Flags,
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Argument(help="YAML file of settings; options overrule it.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the answer, the adapter and the pilots.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; say what would be trained and how long it takes.")
    ] = False,
    axolotl: Annotated[
        Path | None,
        typer.Option(help="YAML file of axolotl: data, model and training as it says.", rich_help_panel=_TRAINER_FILES),
    ] = None,
    llamafactory: Annotated[
        str | None,
        typer.Option(
            help="YAML file of LLaMA-Factory, or dataset_info.json:NAME with a --model.",
            rich_help_panel=_TRAINER_FILES,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Put rank and alpha back into that YAML file.", rich_help_panel=_TRAINER_FILES),
    ] = False,
) -> None:
    """Say which rank to take and which factor to freeze, for your data and your model.

    Small trainings (pilots) of every rank show how the error falls with more data; the better ranks are trained on
    more rows, the best one on all. It ends with the rank, what error to expect, and a trained PEFT adapter. The same
    command goes on where it was stopped.

    It compares what PEFT trains: modes freeze_a, freeze_b and train_both, laws kaiming_uniform and gaussian. Compare
    other modes, laws and chains with lorabound sweep.
    """
    refuse_no_configuration(settings, sys.argv[1:], context)
    if settings and config:
        raise InputError(f"two files of settings, {settings} and {config}: give one")
    if out_dir is None and not dry_run:
        raise InputError("say where the answer and the adapter go: --out DIR")
    if out_dir is not None:
        from lorabound.recommendations.stored import refuse_folder_of_sweep

        refuse_folder_of_sweep(out_dir)
    file = _trainer_file(axolotl, llamafactory, out_dir)
    overruled = [name for name, value in flags.items() if file and _differs(file, name, value)]
    if write and (file is None or file.path is None):
        raise InputError(
            "--write puts the rank into a YAML file of a trainer: name it with --axolotl or --llamafactory"
        )
    if write and file is not None and file.unread_data:
        raise InputError(
            f"{file.path} names data that cannot be read ({', '.join(file.unread_data)}), so the rank would be for "
            "other rows than it trains on: leave --write out, or those data sets"
        )
    if file is not None:
        for remark in file.remarks:
            say(remark)
        flags = file.settings | ({"holdout": file.validation_data} if file.validation_data else {}) | flags
    asked, pilots, given = read_recommendation(settings or config, flags)
    from lorabound.recommendations.layout import laid_out
    from lorabound.reports.show import show

    layout = laid_out(asked, pilots, given)
    for line in layout.material.sentences:
        say(line)
    if dry_run or out_dir is None:
        from lorabound.recommendations.outlook import outlook_of

        show(outlook_of(asked, layout), out)
        return
    from lorabound.recommendations.verbs import carry_out
    from lorabound.reports.recommendation_page import write_recommendation_page

    with kept_when_stopped(out_dir), progress(out_dir) as observe:
        made = carry_out(asked, layout, out_dir, observe, partial(laid_out, asked, pilots, given))
    page = write_recommendation_page(made)  # first: whoever reads a few lines of the answer gets it too
    show(made, out)
    say(f"Page: {page}")
    if write and file is not None:
        _write_back(made, file, overruled)


def _trainer_file(axolotl: Path | None, llamafactory: str | None, out_dir: Path | None) -> TrainerFile | None:
    """What the file of a trainer says, its data sets in one file; None without one."""
    if axolotl is None and llamafactory is None:
        return None
    if axolotl is not None and llamafactory is not None:
        raise InputError("--axolotl and --llamafactory name two trainings: give one of them")
    from lorabound.trainers import merged, read_axolotl, read_llamafactory

    file = read_axolotl(axolotl) if axolotl is not None else read_llamafactory(str(llamafactory))
    if not file.other_data:
        return file
    if out_dir is None:
        raise InputError("the file names several data sets, which are put into one file first: give --out DIR for it")
    return merged(file, out_dir / "rows.jsonl")


def _differs(file: TrainerFile, name: str, value: object) -> bool:
    """Whether an option makes pilots train otherwise than the file says; ranks and rates are what is compared."""
    compared = {*RecommendConfig.model_fields, "ranks", "modes", "seeds", "lr"} - {"n_train"}
    return name == "n_train" or (name not in compared and file.settings.get(name) != value)


def _write_back(made: Recommendation, file: TrainerFile, overruled: list[str]) -> None:
    """Rank and alpha, and the learning rate where others were tried, into the file of the trainer.

    Args:
        overruled: settings that options set otherwise than the file, which trains as it says.
    """
    from lorabound.trainers import write_back

    assert file.path is not None
    lr = made.lr if made.lr_trials else None
    mode = cast("Mode", made.mode)
    written = write_back(file.path, file.trainer, rank=made.rank, scale=made.alpha / made.rank, mode=mode, lr=lr)
    say(written.sentence)
    for remark in written.remarks:
        say(remark)
    if overruled:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(overruled))
        say(
            f"The rank was found with other settings than the file's ({names}): as the file trains, another "
            "one may be better."
        )
