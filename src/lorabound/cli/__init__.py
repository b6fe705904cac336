"""The command line: thin commands that import heavy rooms only when they run.

Each file of this room holds a group of commands; a file is imported when one of its commands is typed. Options come
from the settings' own descriptions (``options``); ``usage`` says what a mistyped command is told.
"""

from __future__ import annotations

import errno
import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lorabound import __version__
from lorabound.cli.consoles import note, say
from lorabound.cli.usage import UsageError, explain_usage
from lorabound.errors import LoraboundError, is_of_memory

# Heading -> command -> file of this room that holds it, and what it does.
COMMANDS = {
    "Commands": {
        "recommend": ("recommend", "Which rank to take, which factor to freeze, for my data."),
        "data": ("sweep", "Check a data set: can it be used, what has to be mended?"),
        "plan": ("plan", "Before training: what is guaranteed for a rank and data size."),
        "sweep": ("sweep", "Train adapters of several ranks and compare them."),
        "report": ("sweep", "Show the table of a sweep again and write its page."),
        "serve": ("serve", "Show that page in the browser while the sweep runs."),
        "export": ("sweep", "Write the runs of a sweep to CSV, Parquet or JSON."),
        "repair": ("sweep", "Mend a damaged sweep: keep what is whole."),
        "certify": ("certify", "After training: how bad can the result be on new data?"),
        "verify": ("certify", "Compute somebody's certificate again and say what differs."),
        "inspect": ("adapters", "How large is an adapter's update, how much of its rank is used?"),
    },
    "Research": {
        "lower-bound": ("theory", "Simulate Theorem 2: the gap that no method avoids."),
        "complexity": ("theory", "Measure the worst adapter of each rank, beside its bound."),
        "concentration": ("theory", "Measure what chance does to the gap of a single run."),
        "paper": ("theory", "Draw bounds, worst case and trained gaps in one figure."),
    },
}


class Commands(TyperGroup):
    """All commands; the file of one is imported when it is typed."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.found = {name: file for commands in COMMANDS.values() for name, (file, _) in commands.items()}
        self.commands = dict.fromkeys(self.found)  # type: ignore[assignment]  # known by name, made when typed

    def get_command(self, _: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name not in self.found:
            return None
        module = import_module(f"{__name__}.{self.found[cmd_name]}")
        return typer.main.get_group(module.app).commands[cmd_name]

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write what each command does, under its heading."""
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, what) for name, (_, what) in commands.items()])


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def main() -> None:
    """Run the command line; an error of ours becomes one sentence and exit status 2."""
    gc.set_threshold(100_000, 50, 50)  # imports make 400,000 objects that live to the end: a second spent on them
    try:
        sys.exit(typer.main.get_command(app).main(prog_name="lorabound", standalone_mode=False) or 0)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            sentence = explain_usage(error, sys.argv[1:])
            note(f"lorabound: {sentence}", "red")
        sys.exit(2)
    except LoraboundError as error:
        note(f"lorabound: {error}", "red")
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        note(
            "lorabound: the system gave no more memory: end other programs, raise the limit of this one, or give a "
            "smaller --memory where the command has it; what was finished is kept, and the same command goes on",
            "red",
        )
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        note(f"lorabound: {str(error.filename)[:200]}: {error.strerror}; give a shorter name", "red")
        sys.exit(2)
    finally:
        gc.freeze()  # and another at exit


@app.callback(invoke_without_command=True)
def _lorabound(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Which LoRA rank, which matrix to freeze, how much data, and how bad a fine-tune can be on new data.

    Start with one of these; each has a --help of its own.

    \b
      lorabound data FILE                          can my data be used?
      lorabound recommend --data FILE --out DIR    which rank is best for my data?
      lorabound certify ADAPTER                    how bad can my adapter be on new data?
      lorabound plan --model NAME                  what can be said before training?
    """
    if version:
        say(__version__)
        raise typer.Exit
