"""What is known against the packages that are installed here, and under which licences they stand.

    python tools/audit.py     # status 1 where a vulnerability is known, 0 otherwise

Vulnerabilities come from pip-audit, which asks PyPI about every package; without it, or without a network, that is said
and the licences alone are listed: those of what lorabound needs, then those of its extras.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution

# Licences under which a package may be used by anybody for anything, by words that name them.
_PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CC0|PIL|Boost|BSL)\b",
    re.IGNORECASE,
)


def main() -> int:
    """Print both; returns the exit status."""
    known = vulnerabilities()
    for line in known:
        print(line)
    for extra in (False, True):
        found = licences(extra)
        print(f"\nLicences of what lorabound {'needs with its extras' if extra else 'needs'}, {len(found)} packages:")
        for licence, count in Counter(found.values()).most_common():
            named = ", ".join(sorted(name for name, of in found.items() if of == licence)[:12])
            print(f"  {count:4}  {licence}: {named}{', ...' if count > 12 else ''}")
        if odd := sorted(f"{name} ({of})" for name, of in found.items() if not _PERMISSIVE.search(of)):
            print(f"  To be looked at, as none of the usual permissive licences is named: {', '.join(odd)}")
    return 1 if any(line.startswith("VULNERABLE") for line in known) else 0


def vulnerabilities() -> list[str]:
    """One line for each that is known, or one that says how many packages were asked about."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        asked = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
        return [f"NOT AUDITED: pip-audit gave no answer ({last})"]
    answered = [one for one in asked if "skip_reason" not in one]
    lines = [
        f"VULNERABLE: {one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions'])}"
        for one in answered
        for fault in one["vulns"]
    ]
    if not answered:
        return [f"NOT AUDITED: the database was not reached, or knows none of the {len(asked)} packages"]
    left = f"; {len(asked) - len(answered)} are not in the database" if len(answered) < len(asked) else ""
    return [*lines, f"Asked about {len(answered)} packages{left}: {len(lines)} known vulnerabilities."]


def licences(extras: bool) -> dict[str, str]:
    """Licence of every package that lorabound needs, and what these need, by name."""
    found: dict[str, str] = {}
    todo = [("lorabound", extras)]
    while todo:
        name, with_extras = todo.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        for wanted in package.requires or ():
            needed, _, condition = wanted.partition(";")
            if "extra" in condition and not with_extras:
                continue
            needed = re.sub(r"[-_.]+", "-", re.split(r"[^\w.\-]", needed.strip())[0]).lower()
            if needed not in found and needed != "lorabound":
                found[needed] = _licence(needed)
                todo.append((needed, False))
    return {name: of for name, of in found.items() if of}


def _licence(name: str) -> str:
    """By the fields of its metadata, the newest first; "" for a package that is not installed here."""
    try:
        about = distribution(name).metadata
    except PackageNotFoundError:
        return ""
    named = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    text = str(about.get("License") or "").strip().split("\n")[0]
    return str(about.get("License-Expression") or ", ".join(named) or text or "not said")[:60]


if __name__ == "__main__":
    sys.exit(main())
