"""A headless Chromium that tests drive: DevTools messages over a pipe (Chromium's --remote-debugging-pipe)."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest


class Browser:
    """One page. ``do`` sends a command and returns its answer; ``eval`` runs JavaScript and returns its value."""

    def __init__(self, into, out):
        self._into, self._out, self._last, self._rest = into, out, 0, b""
        self.console = []
        self._session = None
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Page", "Runtime", "Log"):
            self.do(f"{room}.enable")

    def do(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._into, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def eval(self, code):
        found = self.do("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url, ready="document.readyState === 'complete'"):
        self.do("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && {ready}")

    def wait(self, condition, seconds=30):
        """Until an expression is true; an error, as in a page that is not there yet, is not true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.eval(condition):
                    return
            except AssertionError:
                pass
            time.sleep(0.05)
        raise TimeoutError(condition)

    def _read(self):
        while b"\0" not in self._rest:
            part = os.read(self._out, 1 << 16)
            assert part, "Chromium ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        if message.get("method") == "Runtime.exceptionThrown":
            self.console.append(message["params"]["exceptionDetails"])
        if message.get("method") in ("Runtime.consoleAPICalled", "Log.entryAdded"):
            self.console.append(message["params"])
        return message


@contextmanager
def browser(folder, *options):
    """A browser whose profile is in ``folder`` and whose names lead nowhere but to this machine."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium: .ci/run installs it")
        pytest.skip("no chromium on this machine; CI has one")
    theirs_in, into = os.pipe()
    out, theirs_out = os.pipe()

    def as_3_and_4():
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs_in, theirs_out)]  # none of them is 3 or 4
        for one, place in zip(high, (3, 4), strict=True):
            os.dup2(one, place)

    process = subprocess.Popen(
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe", *options,
        ],
        preexec_fn=as_3_and_4, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(into, out)
    finally:
        process.kill()
        process.wait()
        os.close(into)
        os.close(out)
