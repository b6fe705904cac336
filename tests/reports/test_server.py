"""A page served while its sweep runs: real requests, hostile ones too, a sweep that writes, and a real browser."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from lorabound.errors import InputError
from lorabound.recommendations.stored import write_recommendation
from lorabound.reports import live
from lorabound.reports.live import LivePage, refuse_no_folder
from lorabound.reports.server import PageServer
from lorabound.sweeps import Sweep
from tests.browser import browser
from tests.commands import run
from tests.recommendation_cases import made_in
from tests.reports.test_report import build
from tests.stores import rewrite


@contextmanager
def served(folder, host="127.0.0.1"):
    with PageServer(LivePage(folder), host, 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path="/", method="GET", **headers):
    """Status, headers and body; the path is sent as it stands."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def raw(server, request):
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def held_back(store, **of):
    """Runs taken out of a store, to be added while somebody looks."""
    found = [row for row in store.rows() if all(getattr(row, name) == value for name, value in of.items())]
    rewrite(store, *(("delete from runs where key = ?", (row.key,)) for row in found))
    return found


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    build(folder, ranks=(1, 2), sizes=(100,), seeds=(0, 1)).close()
    (folder / "secret.txt").write_text("secret")
    with served(folder) as server:
        yield server, folder


def test_the_page_and_its_state(there):
    server, folder = there
    before = contents(folder)
    status, headers, page = ask(server)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<td>" in page
    assert b"freeze_a" in page
    assert page.rstrip().endswith(b"</html>")
    state = json.loads(ask(server, "/state")[2])
    assert state["said"] == "All 9 runs are there."  # 2 modes x 2 ranks x 2 seeds, and the bare model
    assert f'"version": "{state["version"]}"'.encode() in page
    assert ask(server, "/?anything#else")[0] == 200
    assert contents(folder) == before  # nothing is written
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store"


def test_head_is_get_without_a_body(there):
    server, _ = there
    _, got, page = ask(server)
    status, headers, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == got["Content-Length"] == str(len(page))


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "__init__"]
)
def test_every_other_method_is_refused(there, method):
    status, headers, _ = ask(there[0], method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", [
    "/sweep.sqlite", "/secret.txt", "/report.html", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//secret.txt",
    "//127.0.0.1/secret.txt", "/./secret.txt", "/state/../secret.txt", "/secret.txt?/state", "/secret.txt%00", "/.lock", "secret.txt",
    "../secret.txt", "file:///etc/passwd", "/etc/passwd", "http://127.0.0.1/", "/\\..\\secret.txt", "/state/", "/index.html", "*",
])  # fmt: skip
def test_no_file_is_ever_served(there, path):
    status, _, body = ask(there[0], path)
    assert (status, body) == (404, b"There is one page here: /\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost", "LOCALHOST:8765", "[::1]:80", "192.168.1.7"])
def test_this_machine_by_name_or_number_is_answered(there, host):
    assert ask(there[0], Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example", "", "@", "[", "a b"],
)
def test_a_name_from_elsewhere_is_refused(there, host):
    for path in ("/", "/state"):
        status, _, body = ask(there[0], path, Host=host)
        assert status == 403
        assert b"td" not in body


def test_a_request_without_one_host_is_refused(there):
    assert raw(there[0], b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(there[0], two).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "noise", [b"", b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /" + b"a" * 70_000]
)
def test_noise_ends_nothing(there, noise, capfd):
    answer = raw(there[0], noise)
    assert not answer.startswith(b"HTTP/1.1 200")
    assert ask(there[0])[0] == 200
    assert capfd.readouterr().err == ""


def test_it_is_made_again_only_when_runs_have_come(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(live, "page_of", lambda summary: made.append(summary) or "</body>")
    store = build(tmp_path, ranks=(1,), sizes=(100,), seeds=(0, 1))
    later = held_back(store, seed=1)
    page = LivePage(tmp_path)
    first = page.page()
    assert page.page() == first
    assert len(made) == 1
    store.add(later)
    assert page.page() != first
    assert len(made) == 2


def test_a_sweep_that_writes_is_read_beside_it(tmp_path):
    store = build(tmp_path, ranks=(1,), sizes=(100,), seeds=range(500))
    later = [row for row in held_back(store, mode="freeze_a") if row.seed]
    store.close()
    faults, enough = [], Event()

    def write():
        mine = Sweep.open(tmp_path)
        try:
            for row in later:
                mine.add([row])
                if enough.wait(0.002):
                    break
        except Exception as error:
            faults.append(error)
        mine.close()

    writer = Thread(target=write)
    with served(tmp_path) as server:
        writer.start()
        pages = [ask(server)[::2] for _ in range(3)]
        enough.set()
        writer.join()
    assert faults == []
    assert [status for status, _ in pages] == [200, 200, 200]
    assert len({page for _, page in pages}) == 3


def test_a_folder_without_runs_says_what_is_coming(tmp_path):
    evil = tmp_path / "<script>alert(1)<"
    evil.mkdir()
    with served(evil) as server:
        page = ask(server)[2].decode()
        assert "No adapter is trained yet" in page
        assert "&lt;script&gt;alert(1)&lt;" in page
        assert "<script>alert" not in page
        store = build(evil, ranks=(1, 2), sizes=(100,), seeds=(0,))
        later = held_back(store, seed=0, mode="freeze_a") + held_back(store, seed=0, mode="train_both")
        page = ask(server)[2].decode()
        assert "No adapter is trained yet" in page
        assert "ranks 1, 2, N = 100" in page
        store.add(later[:1])
        assert "No adapter is trained yet" not in ask(server)[2].decode()
        store.close()


def test_a_damaged_store_is_told_and_what_was_shown_stays(tmp_path):
    build(tmp_path, ranks=(1,), sizes=(100,), seeds=(0,)).close()
    page = LivePage(tmp_path)
    shown, before = page.page(), page.state()
    whole = (tmp_path / "sweep.sqlite").read_bytes()
    for damaged in (b"damaged", whole[: len(whole) // 2]):
        (tmp_path / "sweep.sqlite").write_bytes(damaged)
        told = page.state()
        assert told.said.startswith("The runs cannot be read now")
        now = page.page()
        assert page.state().said.startswith("The runs cannot be read now")
        assert f'"version": "{page.state().version}"'.encode() in now  # else the browser would load it for ever
        assert now.count(b"The runs cannot be read now") == 1
        assert now.partition(b"follow({")[0] == shown.partition(b"follow({")[0]
        assert b"The runs cannot be read now" in LivePage(tmp_path).page()
    (tmp_path / "sweep.sqlite").write_bytes(whole)
    assert b"cannot be read" not in page.page()
    assert page.state().said == before.said


def test_a_recommendation_shows_its_pilots_then_itself(tmp_path):
    build(tmp_path / "pilots" / "lr-0.002", ranks=(1, 2), sizes=(100,), seeds=(0,)).close()
    page = LivePage(tmp_path)
    first = page.page().decode()
    assert "The recommendation is being made" in first
    assert "<td>0.4</td>" in first
    assert page.state().said == "5 runs so far."
    write_recommendation(made_in(tmp_path))
    assert "<title>lorabound: rank 4 for" in page.page().decode()
    assert page.state().said == "The recommendation is made."


def test_the_browser_follows_and_keeps_its_place(tmp_path):
    store = build(tmp_path, ranks=(1, 2, 4), sizes=(100,), seeds=(0, 1))
    later = held_back(store, seed=1, mode="freeze_a")
    search, first = (
        'document.querySelector(".tools input[type=search]")',
        'document.querySelector("table.sortable th button")',
    )
    with served(tmp_path) as server, browser(tmp_path / "browser") as page:
        page.open(server.url, "document.querySelector('.live') !== null")
        assert page.eval("document.querySelector('.live').textContent") == "10 of 13 runs are there. This page follows."
        page.eval(
            f"{first}.click(); {first}.click(); {search}.value = 'freeze'; {search}.dispatchEvent(new Event('input')); scrollTo(0, 300)"
        )
        page.eval(
            "{ const loss = document.querySelector('[name=loss]'); loss.value = 'ce'; loss.dispatchEvent(new Event('change')); }"
        )
        page.eval("window.loaded = 'before'")
        store.add(later)
        page.wait("window.loaded === undefined && document.querySelector('.live') && scrollY === 300")
        assert page.eval("document.querySelector('table.sortable th').ariaSort") == "descending"
        assert page.eval(f"{search}.value") == "freeze"
        found = page.eval(
            "[...document.querySelector('table.sortable').tBodies[0].rows].map(row => [row.hidden, row.textContent.includes('freeze')])"
        )
        assert {hidden != wanted for hidden, wanted in found} == {True}
        assert {True, False} == {hidden for hidden, _ in found}
        page.wait("document.querySelector('#chart-gap svg.marks').textContent.includes('cross-entropy')")
        assert page.console == []
    store.close()


def test_folders_that_have_no_page(tmp_path):
    with pytest.raises(InputError, match="is not there: give the folder"):
        refuse_no_folder(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file: give the folder"):
        refuse_no_folder(tmp_path / "file")
    build(tmp_path / "words").close()
    with pytest.raises(InputError, match=r"holds 1 sweep: name one, as  lorabound serve .*/words"):
        refuse_no_folder(tmp_path)


def test_the_command_says_where_and_what_is_wrong(capsys, monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, errors = run(capsys, monkeypatch, "serve", tmp_path, "--port", port)
    assert (status, errors) == (2, f"lorabound: port {port} is taken: give another one, as --port {port + 1}\n")
    status, _, errors = run(capsys, monkeypatch, "serve", tmp_path, "--host", "192.0.2.1")
    assert status == 2
    assert errors.startswith("lorabound: cannot listen on 192.0.2.1")
    status, _, errors = run(capsys, monkeypatch, "serve", tmp_path, "--port", 99999)
    assert (status, errors) == (2, "lorabound: port 99999: give a number up to 65535, as --port 8765\n")
    monkeypatch.setattr(PageServer, "serve_forever", lambda _: None)
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        status, output, errors = run(capsys, monkeypatch, "serve", tmp_path, "--port", 0, "--host", host)
        assert status == 0
        assert output.startswith(f"http://{host}:")
        assert ("Anyone who reaches 0.0.0.0 over the network can read this page" in errors) == warned


def test_ctrl_c_ends_it_cleanly(tmp_path):
    command = [sys.executable, "-m", "lorabound", "serve", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "Ctrl-C ends it" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "Ended. The folder is as it was.\n")
    assert process.returncode == 0
