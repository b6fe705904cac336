"""The command that shows a sweep's page while the sweep runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.consoles import note, say
from lorabound.cli.options import Grouped

# The port and the interface where none is given; also in ``lorabound.reports.server``, which is imported when it runs.
_PORT, _LOOPBACK = 8765, "127.0.0.1"

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
def serve(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep or of a recommendation, finished or running.")],
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = _PORT,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. With any other than the default, anyone who reaches it can read the page."
        ),
    ] = _LOOPBACK,
) -> None:
    """Show the page of a sweep or of a recommendation in the browser while it runs.

    The page is read from the folder and changes as runs arrive; nothing is written. It is for this machine only, unless
    --host says otherwise. Ctrl-C ends it.
    """
    from lorabound.reports.live import LivePage, refuse_no_folder
    from lorabound.reports.server import PageServer, is_loopback

    refuse_no_folder(folder)
    with PageServer(LivePage(folder), host, port) as server:
        if not is_loopback(host):
            note(f"Anyone who reaches {host} over the network can read this page: it asks for no password.", "yellow")
        try:
            say(f"{server.url}  shows {folder} and follows it; Ctrl-C ends it")
            server.serve_forever()
        except KeyboardInterrupt:
            note("Ended. The folder is as it was.")
