"""PEFT's patterns of module names, from a file that nobody vouches for: a regular expression may take longer than the
age of the world, or all of the memory, so that none is run in this process.

A pattern without repetition and choice is harmless. Every other goes to a Python of its own, which gets so many seconds
and so much memory for all patterns and names of an adapter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from lorabound.errors import AdapterError

_SECONDS, _BYTES, _LONGEST = 5, 2**29, 10_000
# Nothing is repeated and there is no choice, so that there is one way to match.
_PLAIN = re.compile(r"(?:[\w\-.^$]|\\[^\W\d_]|\\[.\-])*")
_MATCH = f"""
import json, re, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({_BYTES}, {_BYTES}))
except (ImportError, ValueError, OSError):
    pass
patterns, names = json.load(sys.stdin)
try:
    made = [re.compile(rf"(.*\\.)?({{pattern}})$") for pattern in patterns]
except (re.error, OverflowError, RecursionError) as error:
    sys.exit(f"must map regular expressions to numbers ({{error}})")
json.dump([next((i for i, one in enumerate(made) if one.match(name)), None) for name in names], sys.stdout)
"""


def first_matches(patterns: Sequence[str], names: Sequence[str], where: str) -> list[int | None]:
    """PEFT's rule: number of the first pattern that matches the end of a name, at a dot; None where none does.

    Args:
        patterns: keys of ``rank_pattern`` or ``alpha_pattern``.
        names: names of modules.
        where: place of the patterns, for messages.
    Raises:
        AdapterError: a pattern that is no regular expression, or that takes too long or too much memory.
    """
    if not all(map(_PLAIN.fullmatch, patterns)):
        return _matched_elsewhere(patterns, names, where)
    made = [re.compile(rf"(.*\.)?({pattern})$") for pattern in patterns]
    return [next((i for i, one in enumerate(made) if one.match(name)), None) for name in names]


def _matched_elsewhere(patterns: Sequence[str], names: Sequence[str], where: str) -> list[int | None]:
    if sum(map(len, patterns)) > _LONGEST:
        raise AdapterError(f"{where} holds {sum(map(len, patterns)):,} characters of regular expressions: name modules")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _MATCH],
            input=json.dumps([list(patterns), list(names)]),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode == 0:
            return [None if i is None else int(i) for i in json.loads(done.stdout)]
        said = done.stderr.strip().splitlines()[-1:]
        if said and said[0].startswith("must map"):
            raise AdapterError(f"{where} {said[0]}")
        reason = "takes too much memory"
    except subprocess.TimeoutExpired:
        reason = f"does not come to an end within {_SECONDS} seconds"
    raise AdapterError(f"{where}: one of {', '.join(map(repr, patterns))[:80]} {reason}: name the modules themselves")
