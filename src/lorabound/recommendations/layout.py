"""Which rows pilots train on, which ones test them, and which ones the final adapter learns from. No torch.

Without rows for testing, N rows are divided at random: P for the pilots, m that test all of them; every seed has test
rows of its own, as folds of cross-validation. The final adapter is trained on all N. Nothing is lost to testing, and
what was measured speaks of adapters trained on P rows. With
``holdout`` or ``test_fraction`` the pilots grow to all rows for training, the largest one is the final adapter, and
what was measured speaks of the adapter itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from lorabound.errors import AdapterError, DataError, InputError
from lorabound.recommendations.config import RecommendConfig
from lorabound.recommendations.schedule import least_rows, pilot_sizes
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import fitted
from lorabound.sweeps.material import Material, leaving_out, read_material, with_sizes

# Of all rows, for testing pilots; at most so many.
_TEST_SHARE, _MOST_TEST = 4, 5000
_LEAST_TEST = 10
# With fewer rows than this, so many seeds: every row is a test row once.
_FEW, _SEEDS_OF_FEW = 2000, 4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the rows are divided.

    Attributes:
        materials: data and settings of the pilots, divided: one for all seeds, or one per seed.
        n_rows: N, rows that the final adapter is trained on.
        sizes: training sizes of the pilots, smallest first.
        refit: whether the final adapter is trained anew, on the rows of pilots and tests together.
        tested_on: rows that the pilots are tested on, in words.
    """

    materials: tuple[Material, ...]
    n_rows: int
    sizes: list[int]
    refit: bool
    tested_on: str

    @property
    def material(self) -> Material:
        """That of the first seed."""
        return self.materials[0]

    @property
    def n_test(self) -> int:
        """Number of test rows of all seeds, without those that stand among the training rows too."""
        return sum(len(material.divided.test_examples) for material in self.materials)


def laid_out(
    asked: RecommendConfig, config: SweepConfig, given: Collection[str] = (), without: Collection[Any] = ()
) -> Layout:
    """Read the data and divide them.

    Args:
        given: settings that were asked for. Without ``ranks`` those that the layers do not allow are left out; without
            ``seeds`` there are more of them where rows are few.
        without: names of images, or dialogues, that cannot be read or are too long.
    Raises:
        DataError: data that cannot be used, or too few rows.
        ModelError, InputError, AdapterError: settings that do not fit model or data.
    """
    config = config.model_copy(update={"test_data": asked.holdout})
    material = read_material(config if "ranks" in given else _with_possible_ranks(config))
    material = leaving_out(material, without) if without else material
    own = material.test_table is not None
    if own and asked.test_fraction is not None:
        raise InputError(f"{config.data} has a test set of its own: leave test_fraction out")
    n_all, n_classes = len(material.table), len(material.divided.classes)
    n_used = _used(asked, n_all)
    least = least_rows(n_classes)
    if own:
        assert material.test_table is not None
        pool, n_test = n_used, min(len(material.test_table), 4 * _MOST_TEST)
    elif asked.test_fraction is not None:
        n_test = max(round(asked.test_fraction * n_used), 2)
        pool = n_used - n_test
    else:
        n_test = _usual_test(n_used)
        pool = n_used - n_test
    if pool < least:
        needed = least if own else next(n for n in count(least) if n - _usual_test(n) >= least)
        classes = f" of {n_classes} classes" if n_classes > 1 else ""
        which = f"{n_used:,} of the {n_all:,} rows of {config.data} are" if n_used < n_all else f"{n_all:,} rows are"
        raise DataError(
            f"{config.data}: {which} too few to compare ranks on: {needed:,} rows{classes} are needed at least"
        )
    sizes = pilot_sizes(pool, n_classes, config.batch_size, config.epochs)
    refit = not own and asked.test_fraction is None
    seeds = list(range(_SEEDS_OF_FEW)) if "seeds" not in given and n_used < _FEW else sorted(config.seeds)
    folds = min(len(seeds), n_used // n_test) if refit else 1
    parts = [seeds[place::folds] for place in range(folds)]
    return Layout(
        materials=tuple(
            _for_seeds(with_sizes(material, sizes, n_test, n_used, place * n_test), part)
            for place, part in enumerate(parts)
        ),
        n_rows=n_used if refit else pool,
        sizes=sizes,
        refit=refit,
        tested_on=_tested_on(asked, own),
    )


def _usual_test(n_rows: int) -> int:
    return min(max(n_rows // _TEST_SHARE, _LEAST_TEST), _MOST_TEST)


def _for_seeds(material: Material, seeds: list[int]) -> Material:
    return replace(
        material,
        asked=material.asked.model_copy(update={"seeds": seeds}),
        config=material.config.model_copy(update={"seeds": seeds}),
    )


def _used(asked: RecommendConfig, n_all: int) -> int:
    if asked.n_train is None:
        return n_all
    if asked.n_train > n_all:
        raise InputError(f"n_train = {asked.n_train:,}: the data have {n_all:,} rows; give fewer, or leave it out")
    return asked.n_train


def _tested_on(asked: RecommendConfig, own: bool) -> str:
    if asked.holdout:
        return f"rows of {asked.holdout}"
    if own:
        return "rows of the test set"
    if asked.test_fraction is not None:
        return f"rows set aside ({asked.test_fraction:.3g} of the data)"
    return "rows that the pilots were not trained on"


def _with_possible_ranks(config: SweepConfig) -> SweepConfig:
    """Without the largest ranks, as long as a layer does not allow them."""
    while True:
        try:
            fitted(config)
            return config
        except (AdapterError, InputError):
            if len(config.ranks) == 1:
                raise
            config = config.model_copy(update={"ranks": config.ranks[:-1]})
