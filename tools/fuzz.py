"""Fuzz everything that reads files, within a time: files of each kind in turn, or bytes that coverage chooses.

    python tools/fuzz.py --seconds 600              # changes at random, each kind in turn
    python tools/fuzz.py --only "adapter*" --seed 3
    python tools/fuzz.py --only store --coverage    # coverage-guided by atheris alone (pip install 'lorabound[fuzz]')

A case fails that raises anything but an error of ours, runs code, writes outside its folder, takes three gigabytes or a
minute. Prints the seed of every failure; ends with the number of cases of each kind and how many were refused.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="*", help="names of kinds, with * for any letters")
    parser.add_argument("--coverage", action="store_true", help="let atheris choose the bytes of one kind")
    options = parser.parse_args()
    from tests.fuzz.changes import changed
    from tests.fuzz.targets import targets

    chosen = {name: target for name, target in targets().items() if fnmatch.fnmatch(name, options.only)}
    if not chosen:
        parser.error(f"no kind {options.only!r}, only {', '.join(targets())}")
    place = Path(tempfile.mkdtemp(prefix="fuzz-")) / "place"
    if options.coverage:
        return guided(next(iter(chosen.values())), place, options.seconds)
    cases: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    failures = 0
    end = time.monotonic() + options.seconds
    seed = options.seed << 32
    turn = 0
    while time.monotonic() < end:
        turn += 1
        for name, target in chosen.items():
            if name.startswith("model") and turn % 4:  # slower than the others
                continue
            for _ in range(1 if name.startswith("model") else 4):
                seed += 1
                cases[name] += 1
                try:
                    refused[name] += target.refusal(changed(target.content, random.Random(seed)), place) is not None
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    failures += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    said = f"{type(error).__name__}: {str(error)[:200]}"
                    print(f"{name}, seed {seed}: {said} ({where.filename}:{where.lineno})", flush=True)
    for name in chosen:
        print(f"{cases[name]:7,} cases, {refused[name]:7,} refused  {name}")
    print(f"{sum(cases.values()):,} cases of {len(chosen)} kinds, {failures} failures, seed {options.seed}")
    return 1 if failures else 0


def guided(target, place: Path, seconds: float) -> int:
    """Let atheris choose bytes by what they reach; it ends the process at the first failure, and leaves the input."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed (pip install 'lorabound[fuzz]'): --coverage is left out")
        return 0
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    (corpus / "0").write_bytes(target.content)
    # Modules that are loaded already are watched as they are: functions are instrumented one by one.
    for name, module in list(sys.modules.items()):
        if name.startswith("lorabound.") and module is not None:
            for thing in vars(module).values():
                if getattr(thing, "__module__", None) == name and hasattr(thing, "__code__"):
                    atheris.instrument_func(thing)
    flags = [
        sys.argv[0],
        str(corpus),
        f"-max_total_time={int(seconds)}",
        "-max_len=65536",
        "-rss_limit_mb=6000",
        "-verbosity=1",
    ]
    atheris.Setup(flags, lambda content: target.refusal(content, place) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
