"""What every result offers by convention: a frame with one row per row of its table, and one line in the prompt."""

import numpy as np
import polars as pl
import pytest

import lorabound as lb
from lorabound.adapters import new_adapter
from lorabound.certificates import check_errors
from lorabound.data import Labelled, check_data
from lorabound.sweeps.estimate import Estimate, Estimates
from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated import simulate_lower_bound
from tests.reports.test_report import build


def bound(_):
    return lb.bounds.holdout(8, 400, 0.05), 1


def curve(_):
    return lb.bounds.lower_bound(np.array([100, 1000, 10_000])), 3


def spectra(folder):
    lb.save_adapter(new_adapter({"fc": (6, 4), "out": (3, 6)}, 2, "freeze_a", 0, "gaussian", 2.0), folder / "adapter")
    return lb.inspect_adapter(folder / "adapter"), 2


def data(_):
    return check_data(Labelled("t.csv", [f"text {i}" for i in range(9)], list("aaabbbccc"))), 3


def checked(_):
    wrong = np.arange(400) < np.array([[8], [40]])
    return check_errors(["one", "other"], wrong, n_params=[10, 20]), 2


def simulated(_):
    config = LowerConfig(widths=(4, 1), ranks=(1, 4), n_train=(100,), trials=1000)
    made = simulate_lower_bound(config)
    return made, sum(map(len, (made.admissions, made.coins, made.theorem, made.cells)))


def planned(_):
    return lb.plan("16x16", ranks=[1, 2], modes=["freeze_a"], n_train=[100, 1000]), 4


def summed_up(folder):
    return build(folder).summary(), 14  # 2 sizes x (2 modes x 3 ranks + the bare model)


def estimated(_):
    one = Estimate(3, 0, [50, 200], 20, (192, 384), 0.1, 0.2, 1.5, 60.0, "float32", None, {})
    return Estimates({"one": one, "other": one}), 2


@pytest.mark.parametrize("make", [bound, curve, spectra, data, checked, simulated, planned, summed_up, estimated])
def test_a_frame_and_a_line(make, tmp_path, capsys):
    result, rows = make(tmp_path)
    frame = result.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame.height == rows
    assert pl.List not in {dtype.base_type() for dtype in frame.dtypes}  # each fits a CSV file
    kind = type(result).__name__
    assert repr(result).startswith(f"{kind}: ")
    assert len(repr(result)) < 250
    assert "\n" not in repr(result)
    lb.show(result)
    assert len(capsys.readouterr().out) > 40


def test_the_numbers_of_a_frame_are_those_of_the_result():
    result, _ = checked(None)
    frame = result.frame()
    assert frame["n_wrong"].to_list() == [8, 40]
    assert frame["error_at_most"][0] == pytest.approx(lb.bounds.holdout(8, 400, 0.025).value)
    assert frame.filter("best")["name"].to_list() == ["one"]
    limit, _ = bound(None)
    assert limit.frame().row(0, named=True)["value"] == limit.value
    values, _ = curve(None)
    assert values.frame()["n_samples"].to_list() == [100, 1000, 10_000]
    assert values.frame()["value"].to_list() == values.value.tolist()
