"""What twice the data would buy: errors made by a known law, and where nothing can be said."""

import numpy as np
import pytest

from lorabound.sweeps import Row, SweepConfig
from lorabound.sweeps.cells import LOSSES
from lorabound.sweeps.more_data import more_data

SIZES = (100, 200, 400, 800)


def rows_of(sizes=SIZES, status="done"):
    """Errors 3 N^(-1/2) of rank 2 and 3.3 N^(-1/2) of rank 1, on 4,000 test examples, without chance in the count."""
    rows = []
    for n_train in sizes:
        for rank, factor in ((1, 3.3), (2, 3.0)):
            for seed in (0, 1):
                errors = np.arange(4000) < round(4000 * factor * n_train**-0.5)
                rows.append(
                    Row(
                        key=f"{n_train}-{rank}-{seed}", rank=rank, mode="freeze_b", n_train=n_train, seed=seed, n_params=1,
                        seconds=1.0, status=status, test_errors=errors,
                        test_log_losses=np.where(errors, 1.0, 0.1).astype(np.float32),
                    )
                )  # fmt: skip
    return rows


def test_a_curve_goes_on_as_it_went():
    found = more_data(rows_of(), SweepConfig(n_train=list(SIZES)), LOSSES[0], "freeze_b", 2)
    truth = 3 * 1600**-0.5
    assert (found.n_train, found.n_cells, found.level) == (1600, 8, 0.8)
    assert found.low < truth < found.high
    assert found.value == pytest.approx(truth, rel=0.03)  # seen: 0.0752; the prior pulls a little


@pytest.mark.parametrize(
    ("rows", "settings", "rank"),
    [
        (rows_of((100,)), {"n_train": [100]}, 2),
        (rows_of(), {"shots": [4, 16]}, 2),
        (rows_of(), {"n_train": list(SIZES)}, 8),
        (rows_of(status="diverged"), {"n_train": list(SIZES)}, 2),
    ],
)
def test_where_there_is_no_curve_nothing_is_said(rows, settings, rank):
    assert more_data(rows, SweepConfig(**settings), LOSSES[0], "freeze_b", rank) is None
