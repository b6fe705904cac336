"""The command line in a process of its own that has made its imports already: starting one takes no seconds."""

import multiprocessing
import resource
import sys
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lorabound.sweep.execute", "lorabound.report", "lorabound.cli"])


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
