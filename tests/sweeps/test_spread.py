"""What spreads the gap: read from a sweep whose every run is the factor on the sample it says it is."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from lorabound.errors import InputError, ModelError
from lorabound.reports.page import write_page
from lorabound.reports.show import show
from lorabound.reports.spread import write_spread
from lorabound.stats import shared_test_noise, variance_components
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.spread import read_spread, refuse_unfit_designs
from tests.pages import words_of
from tests.stores import rewrite


@pytest.fixture
def sweep(crossed_design, tmp_path):
    return run_sweep(crossed_design, tmp_path / "out")


def test_the_reading_is_that_of_the_runs(crossed_design, sweep):
    result = read_spread(sweep)
    assert repr(result) == "Crossed: freeze_a rank 2, train_both rank 2; 3 seeds on 4 training samples, N = 20"
    assert [(s.mode, s.loss) for s in result.spreads] == [
        (mode, loss) for mode in crossed_design.modes for loss in ("error", "risk")
    ]
    assert (result.n_train, result.n_test) == (20, sweep.about["n_test"])
    rows = {(row.mode, row.seed, row.sample): row for row in sweep.rows() if row.rank}
    for spread in result.spreads:
        for (seed, sample), gap in np.ndenumerate(spread.gaps):
            row = rows[spread.mode, seed, sample]
            expected = getattr(row, f"test_{spread.loss}") - getattr(row, f"train_{spread.loss}")
            assert gap == pytest.approx(expected, abs=1e-7)
        grid = [[rows[spread.mode, seed, sample] for sample in range(4)] for seed in range(3)]
        if spread.loss == "error":
            noise = shared_test_noise([[row.test_errors.astype(float) for row in line] for line in grid])
            assert spread.variance == variance_components(spread.gaps, noise, 20.0)
        run = spread.variance.single_run
        assert sum(run.shares.values()) == pytest.approx(1.0)
        assert run.guarantee == pytest.approx(1 / (2 * np.sqrt(20)))
        assert run.low < spread.gaps.mean() < run.high


def test_table_page_and_files_hold_the_same_runs(sweep, tmp_path):
    result = read_spread(sweep)
    console = Console(width=100, record=True, force_terminal=True, file=io.StringIO())
    show(result, console)
    printed = console.export_text()
    assert "3 draws of the frozen factor x 4 training samples of 20 examples" in printed
    assert "freeze_a: mean gap" in printed
    paths = write_spread(result, tmp_path / "files")
    rows = list(csv.DictReader(paths[0].open()))
    assert len(rows) == 2 * 2 * 12
    gaps = [float(row["gap"]) for row in rows if (row["mode"], row["loss"]) == ("train_both", "risk")]
    np.testing.assert_array_equal(gaps, result.spreads[3].gaps.reshape(-1))
    record = json.loads(paths[1].read_text())
    assert record["spreads"][0]["mean"] == result.spreads[0].variance.mean

    summary = sweep.summary()
    console = Console(width=100, record=True, force_terminal=True, file=io.StringIO())
    show(summary, console)
    printed = " ".join(console.export_text().split())
    assert "its interval over 4 training samples too" in printed
    page = words_of(write_page(summary, tmp_path / "page.html"))
    assert "Intervals cover three chances: 3 draws of the frozen factor, 4 training samples" in page
    assert sweep.about["environment"]["torch"] in page
    sd = result.spreads[0].variance.single_run.sd
    for text in (printed, page):
        assert "What spreads the gap of one run, at N = 20" in text
        assert f"{sd.value:.3f} [{sd.low:.3f}, {sd.high:.3f}]" in text
        assert "the gap of another factor on another sample" in text


def test_with_one_sample_the_page_says_that_its_chance_is_not_covered(crossed_design, tmp_path):
    sweep = run_sweep(crossed_design.model_copy(update={"samples": 1}), tmp_path / "one")
    assert sweep.summary().spread is None
    page = sweep.folder / "report.html"
    write_page(sweep.summary(), page)
    told = "They do not cover the chance of the training sample: there is one (give --samples 3 or more)"
    assert told in words_of(page)
    alone = crossed_design.model_copy(update={"samples": 1, "seeds": [0]})
    write_page(run_sweep(alone, tmp_path / "alone").summary(), tmp_path / "alone.html")
    assert f"{told}, nor that of the seed: there is one" in words_of(tmp_path / "alone.html")


def test_an_adapter_without_all_its_runs_has_no_reading(crossed_design, sweep, tmp_path):
    row = next(row for row in sweep.rows() if row.mode == "freeze_a")
    rewrite(sweep, ("update runs set status = 'diverged' where key = ?", (row.key,)))
    result = read_spread(sweep)
    assert result.left_out == ["freeze_a, rank 2"]
    assert {spread.mode for spread in result.spreads} == {"train_both"}


def test_of_a_sweep_that_holds_more_what_is_asked_for_is_read(crossed_design, sweep):
    """A folder that was begun with other ranks and factors: no rank of it has all runs of the grid of both."""
    asked = crossed_design.model_copy(update={"ranks": [1], "seeds": [1, 2, 5], "modes": ["freeze_a"], "samples": 3})
    larger = run_sweep(asked, sweep.folder)
    result = read_spread(larger, asked)
    assert result.left_out == []
    assert {(spread.mode, spread.rank, spread.gaps.shape) for spread in result.spreads} == {("freeze_a", 1, (3, 3))}
    assert sorted(set(result.frame()["factor"])) == [1, 2, 5]
    row = next(row for row in larger.rows() if (row.rank, row.seed, row.sample) == (1, 5, 2))
    assert result.spreads[0].gaps[2, 2] == pytest.approx(row.test_error - row.train_error, abs=1e-7)
    again = read_spread(larger, crossed_design)
    assert {spread.gaps.shape for spread in again.spreads} == {(3, 4)}


def test_a_design_of_diverged_runs_says_what_to_do(sweep):
    rewrite(sweep, "update runs set status = 'diverged' where seed = 1 and sample = 2")
    with pytest.raises(ModelError, match="every mode has runs that diverged: lower --lr"):
        read_spread(sweep)
    rewrite(sweep, "delete from runs where seed = 1 and sample = 2")
    with pytest.raises(InputError, match="no adapter has all its runs yet: run the sweep again to go on"):
        read_spread(sweep)
    assert sweep.summary().spread is None


@pytest.mark.parametrize("change", [{"seeds": [0, 1]}, {"samples": 2}])
def test_designs_that_tell_nothing_are_refused(crossed_design, change):
    with pytest.raises(InputError, match=r"at least 3 factors .seeds. and 3 samples"):
        refuse_unfit_designs(crossed_design.model_copy(update=change))


@pytest.mark.parametrize(
    ("change", "read"), [({"law": "svd"}, None), ({"modes": ["freeze_a", "common"]}, ["freeze_a"])]
)
def test_factors_that_no_seed_draws_have_no_spread_over_draws(crossed_design, tmp_path, change, read):
    config = crossed_design.model_copy(update={"epochs": 1, "samples": 3} | change)
    spread = run_sweep(config, tmp_path / "out").summary().spread
    assert (spread and sorted({one.mode for one in spread.spreads})) == read
    with pytest.raises(InputError, match="takes its factor from the weights, the same for every seed"):
        refuse_unfit_designs(config)
