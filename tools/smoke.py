"""The wheel by itself: installed into a new environment, used from another folder, where no source is in reach.

    python tools/smoke.py dist/lorabound-*.whl

Its dependencies are those of the Python that runs this, so nothing is fetched; the package itself must come from the
wheel, with everything it reads at run time: templates, scripts, the words and the page of a recommendation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

WHEEL = Path(sys.argv[1]).resolve()
# A smaller make demo: words, MiniLM, one layer, two candidates.
COMMANDS = (
    ("--version",),
    ("lower-bound", "--help"),
    ("plan", "--shapes", "384x384", "--ranks", "1,4", "--n-train", "1000"),
    (
        *("recommend", "--data", "words", "--n-train", "200", "--layers", "top1", "--ranks", "1,2"),
        *("--modes", "freeze_a", "--lrs", "0.004", "--epochs", "1"),
        *("--prompt", "This is a {} word.", "--out", "words-rank"),
    ),
    ("report", "words-rank"),
    ("inspect", "words-rank/adapter"),
)


def main() -> None:
    """Install, look where the package comes from, run the commands."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venv.create(home / "env", with_pip=False)
        python = home / "env" / "bin" / "python"
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(home / "env")}))
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(packages)
        # Read after the wheel's own files; .pth files in there (that of an editable install, too) are not read.
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        work = home / "work"
        work.mkdir()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

        def run(*arguments: str) -> str:
            ended = subprocess.run([python, *arguments], cwd=work, env=environment, capture_output=True, text=True)
            if ended.returncode:
                sys.exit(f"{' '.join(arguments)}: status {ended.returncode}\n{ended.stdout}{ended.stderr}")
            return ended.stdout.strip()

        place = Path(run("-c", "import lorabound; print(lorabound.__file__)"))
        if home.resolve() not in place.resolve().parents:
            sys.exit(f"lorabound comes from {place}, not from the wheel")
        for command in COMMANDS:
            run("-m", "lorabound", *command)
        for made in ("words-rank/report.html", "words-rank/adapter/adapter_config.json"):
            if not (work / made).is_file():
                sys.exit(f"{made} was not written")
    print(f"{WHEEL.name}: {len(COMMANDS)} commands of the wheel run")


if __name__ == "__main__":
    main()
