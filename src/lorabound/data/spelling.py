"""Labels that may be one class spelled in several ways."""

from __future__ import annotations

import difflib
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from lorabound.data.phrases import counted

# Two spellings are compared where the seldom one has at most this share of the rows of the other.
_SELDOM = 0.1
_ALIKE = 0.84
# Labels that are compared with all others at most: each takes milliseconds beside a thousand classes.
_MOST_COMPARED = 200


def spellings(
    counts: Mapping[str, int], prompts: bool, faults: list[str], flags: list[str], remarks: list[str]
) -> set[str]:
    """Say which labels differ in case, white space, hyphens only, and which seldom ones look like others misspelt.

    Returns:
        The labels that a sentence gives another spelling for.
    """
    groups = defaultdict(list)
    for label in sorted(counts, key=lambda label: -counts[label]):
        groups[_plain(label)].append(label)
    same = [group for group in groups.values() if len(group) > 1]
    for first, *others in same:
        said = ", ".join(f"{label!r} ({counted(counts[label], 'row')})" for label in (first, *others))
        if prompts and len(first) > 1:
            faults.append(f"{said} differ in case, spaces or hyphens only")
            flags.extend(f"--rename-label {shlex.quote(f'{other}={first}')}" for other in others)
        else:
            remarks.append(f"{said} differ in case, spaces or hyphens only, and are kept as different classes.")
    explained = {other for _, *others in same for other in others}
    firsts = {key: group[0] for key, group in groups.items()}
    seldom = sorted(firsts, key=lambda key: counts[firsts[key]])[:_MOST_COMPARED]
    for key in seldom:
        label = firsts[key]
        others = [other for other in firsts if other != key and counts[label] <= _SELDOM * counts[firsts[other]]]
        meant = _misspelt(key, others)
        if meant is not None:
            explained.add(label)
            rename = f"--rename-label {shlex.quote(f'{label}={firsts[meant]}')}"
            remarks.append(
                f"{label!r} ({counted(counts[label], 'row')}) may be {firsts[meant]!r} "
                f"({counted(counts[firsts[meant]], 'row')}) spelled otherwise: if so, add  {rename}"
            )
    return explained


def _misspelt(word: str, others: Sequence[str]) -> str | None:
    """The plural or singular of ``word`` among others, or a spelling that is very near; their digits must agree."""
    for other in others:
        if word in (f"{other}s", f"{other}es") or other in (f"{word}s", f"{word}es"):
            return other
    if len(word) < 4:
        return None
    near = difflib.get_close_matches(word, others, 1, _ALIKE)
    digits = [[character for character in text if character.isdigit()] for text in (word, *near)]
    return near[0] if near and digits[0] == digits[-1] else None


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())
