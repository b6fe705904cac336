"""Everything that a recommendation could have chosen, by all commands on its folder: what its limit pays for.

    FOLDER/pilots/choices.json    one grid per command that asked for another one

A limit on the adapter that is best on the test rows holds at delta/K, where K counts all adapters among which it could
have been taken, fixed before these rows were looked at. One command fixes its grid at the start. A second one with
other ranks, modes, learning rates or seeds on the same folder adds to it: all of them are counted, and a reader is told
that the second grid must not have been decided by results of the first one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from lorabound.errors import StoreError
from lorabound.files import is_whole, sealed, write_text

FILE = "choices.json"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What one command may choose from.

    Attributes:
        modes, ranks, sizes: modes, ranks and training sizes of the pilots.
        lrs: learning rates that might be tried, whatever the pilots show; six digits each.
        seed: seed of the run whose adapter the limit speaks of.
    """

    modes: tuple[str, ...]
    ranks: tuple[int, ...]
    sizes: tuple[int, ...]
    lrs: tuple[str, ...]
    seed: int

    @property
    def choices(self) -> set[tuple[str, int, int, str, int]]:
        """All adapters it speaks of."""
        return set(product(self.modes, self.ranks, self.sizes, self.lrs, (self.seed,)))


@dataclass(frozen=True)
class Choices:
    """The grids of all commands on a folder, the first one first."""

    grids: tuple[Grid, ...]

    @property
    def count(self) -> int:
        """K, number of adapters that could have been chosen."""
        return len(set[object]().union(*(grid.choices for grid in self.grids)))

    @property
    def changed(self) -> bool:
        """Whether something that the first command did not offer was added when pilots were there."""
        return any(not grid.choices <= self.grids[0].choices for grid in self.grids[1:])


def record_choices(folder: Path, grid: Grid) -> Choices:
    """Add a grid to those of the folder of pilots, before any of its pilots is trained.

    Grids of commands that trained nothing are forgotten: nothing could have been learnt from them.

    Raises:
        StoreError: the file that is there cannot be read.
        OutputError: it cannot be written.
    """
    path = folder / FILE
    known = _read(path) if any(folder.glob("lr-*/adapters/*")) else []
    grids = known if grid in known else [*known, grid]
    record = sealed({"format": 1, "grids": [asdict(one) for one in grids]})
    write_text(path, json.dumps(record, indent=1) + "\n")
    return Choices(tuple(grids))


def grid_of(modes: Sequence[str], ranks: Sequence[int], sizes: Sequence[int], lrs: Iterable[float], seed: int) -> Grid:
    """The grid with everything in order."""
    return Grid(
        modes=tuple(sorted(modes)),
        ranks=tuple(sorted(ranks)),
        sizes=tuple(sorted(sizes)),
        lrs=tuple(f"{lr:.6g}" for lr in sorted(lrs)),
        seed=seed,
    )


def _read(path: Path) -> list[Grid]:
    if not path.is_file():
        return []
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        if not is_whole(record, ("format", "grids")):
            raise ValueError("it is not what was written")
        grids = record["grids"]
        return [grid_of(one["modes"], one["ranks"], one["sizes"], map(float, one["lrs"]), one["seed"]) for one in grids]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): choose another --out") from None
