"""A page over HTTP while it changes: the page at ``/``, whether it has changed at ``/state``, and nothing else.

Only GET and HEAD are answered. No path is ever looked up on the disk. A request must be for this machine by name or
for an address by number, so that a page from elsewhere whose name leads here (DNS rebinding) reads nothing.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from lorabound.errors import InputError
from lorabound.reports.live import LivePage

LOOPBACK, PORT = "127.0.0.1", 8765
_LARGEST = 65535
_METHODS = ("GET", "HEAD")
# Scripts of the page are in the page, and draw charts by functions that they make; nothing else is loaded.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Seconds after which a client that sends nothing is left.
_PATIENCE = 10.0


class PageServer(ThreadingHTTPServer):
    """A server of one page.

    Attributes:
        page: what is served.
        names: names by which a request may ask, beside addresses by number.
    """

    daemon_threads = True

    def __init__(self, page: LivePage, host: str = LOOPBACK, port: int = PORT) -> None:
        """Listen.

        Args:
            page: what is served.
            host: address of the interface.
            port: port; 0 takes a free one.
        Raises:
            InputError: the port is none or taken, or the address is none of this machine.
        """
        if not 0 <= port <= _LARGEST:
            raise InputError(f"port {port}: give a number up to {_LARGEST}, as --port {PORT}")
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(f"port {port} is taken: give another one, as --port {port + 1}") from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise InputError(f"port {port} is not allowed here: give one above 1023, as --port {PORT}") from None
            raise InputError(
                f"cannot listen on {host} ({error.strerror or error}): give an address of this machine, as "
                f"--host {LOOPBACK}"
            ) from None
        own = () if is_loopback(host) else (host, socket.gethostname(), socket.getfqdn())
        self.names = {"localhost", *(name.lower() for name in own)}

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def server_bind(self) -> None:
        """Bind without a look-up of the machine's name, which may wait for a network."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else is a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "lorabound", ""
    protocol_version, timeout = "HTTP/1.1", _PATIENCE

    def do_GET(self) -> None:
        """The page, or its state."""
        path = urlsplit(self.path).path if self.path.startswith("/") else ""
        if not self._is_for_us():
            self._say(HTTPStatus.FORBIDDEN, "Ask for this page by the address that lorabound serve has printed.\n")
        elif path == "/":
            self._answer(HTTPStatus.OK, self.server.page.page(), "text/html")
        elif path == "/state":
            state = json.dumps(asdict(self.server.page.state())).encode("utf-8")
            self._answer(HTTPStatus.OK, state, "application/json")
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is one page here: /\n")

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.close_connection = True  # what follows may be a body
        self._say(
            HTTPStatus.METHOD_NOT_ALLOWED, "This page can be read, and nothing else.\n", Allow=", ".join(_METHODS)
        )

    def _is_for_us(self) -> bool:
        """Whether the host that is asked for is this machine by name, or any address by number."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0].strip()}").hostname or ""
            if name in self.server.names:
                return True
            ip_address(name)
        except ValueError:
            return False
        return True

    def _say(self, status: HTTPStatus, line: str, **headers: str) -> None:
        self._answer(status, line.encode("utf-8"), "text/plain", **headers)

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is told of requests."""
