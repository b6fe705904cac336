"""The command line from tests: in this process, in a new Python, or in a process that has made its imports already;
and what a terminal shows."""

import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lorabound.cli import main
from lorabound.reports.show import show

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lorabound.sweeps.execute", "lorabound.reports.page", "lorabound.cli"])


def run(capsys, monkeypatch, *arguments):
    """Status, standard output and standard error of one command, in this process."""
    monkeypatch.setattr(sys, "argv", ["lorabound", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


def shown(result, width=80):
    """What a terminal of so many columns shows of a result."""
    console = Console(width=width, record=True, force_terminal=True, file=open(os.devnull, "w"))
    show(result, console)
    return console.export_text()


def python(code):
    """What a new Python prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def start(arguments, threads=1, peak=None):
    """A process that runs ``lorabound`` with these arguments; its largest resident memory, in GiB, goes to a file."""
    process = SERVER.Process(target=_run, args=([str(part) for part in arguments], threads, peak))
    process.start()
    return process


def _run(arguments, threads, peak):
    import torch

    from lorabound import cli

    torch.set_num_threads(threads)
    sys.argv = ["lorabound", *arguments]
    try:
        cli.main()
    finally:
        if peak:
            Path(peak).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
