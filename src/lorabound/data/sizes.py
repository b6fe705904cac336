"""How many rows to train on and how many to test on, where nobody said: what fits the data."""

from __future__ import annotations

from collections.abc import Sequence

from lorabound.errors import DataError

# Of all rows, for testing; at least and at most so many where the data allow it.
_TEST_SHARE = 4
TEST_LEAST, TEST_MOST = 50, 2000
# Rows to train on at most when nobody says how many: minutes on an ordinary machine.
TRAIN_MOST = 500
# A second, smaller training size costs a fifth more and shows how the gap shrinks; with fewer rows per class than this
# it would measure something else.
_ROWS_PER_CLASS = 5
# Fewer test rows than this say nothing.
_TEST_FLOOR = 10


def fit_sizes(
    name: str,
    n_rows: int,
    n_classes: int,
    n_train: Sequence[int] | None,
    n_test: int | None,
    n_own_test: int | None = None,
    samples: int = 1,
) -> tuple[list[int], int]:
    """The training sizes and the test size: what was given, and what fits beside it.

    Without either, a quarter of the rows is for testing (at most 2,000; at least 50 unless that is over half), and
    training takes the largest round number that fits, at most 500, and a fifth of it where every class still has 5 rows
    on average. Given training sizes leave the rest for testing where a quarter does not fit.

    Args:
        name: name of the data, for messages.
        n_rows: number of rows to train on and, without a test set of its own, to test on.
        n_own_test: number of rows of the test set where it comes from elsewhere.
        samples: number of training samples of the largest size that must fit side by side.
    Raises:
        DataError: they do not fit; the message says what does.
    """
    most = samples * max(n_train, default=0) if n_train else 0
    if n_own_test is not None:
        size = min(TEST_MOST, n_own_test) if n_test is None else n_test
        pool = n_rows
    else:
        usual = _usual_test(n_rows)
        left = n_rows - most
        following = min(usual, left) if left >= min(_TEST_FLOOR, usual) else usual
        size = following if n_test is None else n_test
        pool = n_rows - size
    if samples > 1 and pool >= 1 and size >= 2 and pool < max(most, samples):
        raise DataError(_too_many_samples(name, n_rows, n_train, size, pool, samples))
    if pool < max(most, 1) or size < 2:
        raise DataError(_misfit(name, n_rows, n_train, n_test, size, pool))
    if n_train:
        return list(n_train), size
    largest = round_down(min(pool // samples, TRAIN_MOST))
    smaller = round_down(largest // 5) if largest >= 5 else 0
    worth_it = smaller >= max(_ROWS_PER_CLASS * n_classes, 10)
    return [smaller, largest] if worth_it else [largest], size


def round_down(number: int, digits: int = 1) -> int:
    """The largest number of so many significant digits, followed by zeros, that is not above ``number``."""
    unit: int = 10 ** max(len(str(number)) - digits, 0)
    return number // unit * unit


def _usual_test(n_rows: int) -> int:
    return min(max(n_rows // _TEST_SHARE, min(TEST_LEAST, n_rows // 2)), TEST_MOST)


def _misfit(name: str, n_rows: int, n_train: Sequence[int] | None, n_test: int | None, size: int, pool: int) -> str:
    """The sentence that says what does not fit, what does, and how to ask for it."""
    if n_rows < 4:
        return f"{name} has {n_rows} rows: too few to train on some and to test on others"
    if not n_train or pool < 1:
        test = min(size, _usual_test(n_rows))
        smaller = f" --n-train {_advice(n_train, n_rows - test)}" if n_train and max(n_train) > n_rows - test else ""
        return (
            f"{name} has {n_rows:,} rows, and a test set of {size:,} leaves none to train on: give --n-test "
            f"{test}{smaller}{'' if smaller else ', or leave it out'}"
        )
    advice = _advice(n_train, pool)
    beside = "" if pool == n_rows else f" beside {size:,} test rows"
    fewer = f", or a smaller --n-test than {n_test}" if n_test is not None and max(n_train) < n_rows else ""
    return (
        f"{name} has {n_rows:,} rows: at most {pool:,} can be trained on{beside}, not {max(n_train):,}; give "
        f"--n-train {advice}{fewer}"
    )


def _too_many_samples(name: str, n_rows: int, n_train: Sequence[int] | None, size: int, pool: int, samples: int) -> str:
    """The sentence for samples that do not fit side by side, with the numbers that do."""
    largest = max(n_train) if n_train else 1
    beside = "" if pool == n_rows else f" beside {size:,} test rows"
    fewer = f"--samples {pool // largest}, " if pool // largest > 0 else ""
    sizes = f"a largest --n-train of {round_down(pool // samples, 2)}, " if pool >= samples else ""
    return (
        f"{name} has {n_rows:,} rows: {samples:,} samples of {largest:,} that share no row need {samples * largest:,}, "
        f"and {pool:,} can be trained on{beside}; give {fewer}{sizes}or more data".replace(", or", " or", 1)
    )


def _advice(n_train: Sequence[int], pool: int) -> str:
    """The sizes that fit into the pool, and the largest round one in place of the others."""
    fitting = [n for n in n_train if n <= pool]
    best = round_down(pool, 2)
    return ",".join(map(str, [*fitting, *([best] if best not in fitting else [])]))
