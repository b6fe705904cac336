"""What no input may do: raise anything but an error of ours, run code, write outside its folder, take gigabytes or for ever."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from lorabound.errors import LoraboundError

SECONDS, BYTES = 60, 3 * 2**30
_watched: list[tuple[tuple[str, ...], list[str]]] = []
_RUNS = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "shutil.unpack_archive",
)


class Escaped(AssertionError):
    """An input that got further than it may."""


def _audit(event: str, given: tuple) -> None:
    if not _watched:
        return
    allowed, found = _watched[-1]
    if event in _RUNS:
        if event == "subprocess.Popen" and given[1][:2] == [sys.executable, "-I"]:
            return  # our own Python for patterns of names
        if event in ("os.posix_spawn", "os.fork", "os.exec") and sys.executable in map(str, given):
            return
        found.append(f"{event} {str(given)[:200]}")
    writes = (
        event == "open"
        and len(given) > 2
        and isinstance(given[2], int)
        and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree"):
        place = str(given[0])
        if not isinstance(given[0], int) and not str(Path(place).absolute()).startswith(allowed):
            found.append(f"{event} {place}")


sys.addaudithook(_audit)


def _late(*_: object) -> None:
    raise Escaped(f"not at an end after {SECONDS} seconds")


def refusal(do: Callable[[], object], folder: Path, *, other_places: tuple[str, ...] = ()) -> str | None:
    """The sentence with which an input is refused; None where it is taken.

    Args:
        folder: where the input lies, and where files may be written.
        other_places: where files may be written as well, as caches.
    Raises:
        Escaped: anything else.
    """
    found: list[str] = []
    allowed = (str(folder), "/dev/", "/proc/", *other_places)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, limits[1]))
    _watched.append((allowed, found))
    said = None
    try:
        do()
    except LoraboundError as error:
        said = str(error)
    finally:
        _watched.pop()
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if found:
        raise Escaped("; ".join(found))
    if said is not None and (not said.strip() or len(said) > 4000 or "Traceback" in said):
        raise Escaped(f"no sentence: {said[:300]!r}")
    return said
