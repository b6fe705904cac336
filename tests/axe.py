"""axe-core for tests that look for faults of accessibility: an npm package, kept in an ignored folder."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "4.14.1"
_FOLDER = Path(__file__).parent.parent / ".axe"


def axe():
    """The script of axe-core; it is fetched by npm where it is not there yet."""
    script = _FOLDER / f"node_modules/axe-core-{VERSION}/axe.min.js"
    if not script.exists() and shutil.which("npm") is None:
        pytest.skip("npm is missing, which fetches axe-core")
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.exists():
            package = f"axe-core-{VERSION}@npm:axe-core@{VERSION}"
            command = ["npm", "install", "--no-save", "--ignore-scripts", "--prefix", str(_FOLDER), package]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return script.read_text()
