"""Files changed at random: bytes, and the values of JSON and YAML."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_DEEP: Any = 0
for _ in range(60):
    _DEEP = [_DEEP]
WILD = (
    None, True, False, -1, 0, 1, 2**31, 10**12, 2**70, 0.5, 1e308, -1e308, float("nan"), float("inf"), "", "x", "..",
    "../../outside", "/tmp/outside", "\x00", "\x1b[31m", "é" * 300, "((a+)+)+$", "(a|a)*b", "{", "{}{}", "%s", "None", "'", '"',
    [], [None], [[]], {}, {"": ""}, {"a": {"b": 1}}, [1, "a", None], _DEEP, "a" * 5000,
)  # fmt: skip


def changed_bytes(content: bytes, drawn: random.Random) -> bytes:
    """One to four changes: bits flipped, parts cut, doubled, overwritten or put in."""
    made = bytearray(content)
    for _ in range(drawn.randint(1, 4)):
        at = drawn.randrange(len(made) + 1)
        # Headers matter most.
        at = min(at, drawn.choice([16, 64, 512, len(made)]))
        match drawn.randrange(8):
            case 0 if made:
                made[min(at, len(made) - 1)] ^= 1 << drawn.randrange(8)
            case 1:
                del made[at:]
            case 2:
                del made[at : at + drawn.randint(1, 40)]
            case 3:
                made[at:at] = drawn.randbytes(drawn.randint(1, 40))
            case 4:
                made[at:at] = made[at : at + drawn.randint(1, 400)]
            case 5:
                number = drawn.choice([2**31 - 1, 2**32 - 1, 10**12, 2**63 - 1, 0, 1])
                made[at : at + 8] = number.to_bytes(8, drawn.choice(["little", "big"]))
            case 6:
                made[at : at + 4] = b"\xff" * 4
            case 7:
                made[at : at + drawn.randint(1, 200)] = bytes(drawn.randint(0, 200))
    return bytes(made)


def changed_values(record: Any, drawn: random.Random) -> Any:
    """One to three values, or names, of a record of lists and mappings in place of others."""
    made = json.loads(json.dumps(record))
    for _ in range(drawn.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        todo = [made]
        while todo:
            one = todo.pop()
            keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else []
            for key in keys:
                places.append((one, key))
                todo.append(one[key])
        if not places:
            return copy.deepcopy(drawn.choice(WILD))
        holder, key = drawn.choice(places)
        match drawn.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[drawn.choice(["", "x", "../x", "r", "data", "format"])] = holder.pop(key)
            case 2:
                other, name = drawn.choice(places)
                if other is not holder and (name in other if isinstance(other, dict) else name < len(other)):
                    holder[key] = json.loads(json.dumps(other[name]))
            case 3 if isinstance(holder[key], int | float):
                holder[key] = drawn.choice([-1, 0.5, 2, 10, 1000, -1.0]) * holder[key]
            case _:
                holder[key] = copy.deepcopy(drawn.choice(WILD))
    return made


def changed(content: bytes, drawn: random.Random) -> bytes:
    """A file changed at random: by its values where it is JSON, half of the time, by its bytes otherwise."""
    if drawn.random() < 0.7:
        try:
            record = json.loads(content)
        except ValueError:
            pass
        else:
            return json.dumps(changed_values(record, drawn)).encode()
    return changed_bytes(content, drawn)
