"""The store: rows come back as they went in, and a broken or full disk costs nothing that was there."""

import sqlite3

import numpy as np
import pytest

from lorabound.errors import StoreError
from lorabound.sweeps import Row, Sweep, SweepConfig, tables
from lorabound.sweeps.store import FILE, only_writer
from lorabound.sweeps.tables import FORMAT
from tests.stores import as_format

ABOUT = {"config": SweepConfig().model_dump(mode="json"), "data_sha256": "d", "n_removed": 3}


def row(key="k", seed=0, n_test=11, **changes):
    random = np.random.default_rng(seed)
    values = dict(
        key=key, rank=2, mode="freeze_a", n_train=100, seed=seed, n_params=8, train_error=0.1, test_error=0.2,
        train_risk=0.3, test_risk=0.4, train_ce=0.5, test_ce=0.6, seconds=1.5, status="done",
        test_errors=random.random(n_test) < 0.5, test_log_losses=random.random(n_test).astype(np.float32),
    )  # fmt: skip
    return Row(**{**values, **changes})


def test_rows_come_back_as_they_went_in(tmp_path):
    store = Sweep.open_or_create(tmp_path, ABOUT)
    rows = [
        row("a", 0),
        row("b", 1, test_error=None, status="diverged", test_errors=None, test_log_losses=None),
    ]
    store.add(rows)
    store.close()
    again = Sweep.open(tmp_path)
    assert again.keys() == {"a", "b"}
    assert again.about["n_removed"] == 3
    assert again.config == SweepConfig()
    for stored, given in zip(again.rows(), rows, strict=True):
        np.testing.assert_array_equal(stored.test_errors, given.test_errors)
        np.testing.assert_array_equal(stored.test_log_losses, given.test_log_losses)
        assert stored.status == given.status
        assert stored.test_error == given.test_error


def test_a_failed_write_leaves_all_of_it_out(tmp_path):
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row("a")])
    broken = row("c")
    object.__setattr__(broken, "rank", None)  # what the table refuses, past the type checks of tests
    with pytest.raises(StoreError, match="the runs already there are safe"):
        store.add([row("b"), broken])
    assert store.keys() == {"a"}


def test_a_full_disk_leaves_the_store_readable(tmp_path):
    """SQLite's own page limit raises the error of a full disk ("database or disk is full")."""
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row("a")])
    pages = store._connection.execute("pragma page_count").fetchone()[0]
    store._connection.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(StoreError, match="full; the runs already there are safe, make room"):
        store.add([row(f"big{i}", n_test=50_000) for i in range(5)])
    store.close()
    again = Sweep.open(tmp_path)
    assert again.keys() == {"a"}
    again.add([row("b")])
    assert again.keys() == {"a", "b"}


def test_a_folder_of_sweeps_is_told_which_one_to_give(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(b"")
    with pytest.raises(StoreError, match=r"holds no sweep \(.*\), its folder a does: give .*/a$"):
        Sweep.open(tmp_path)


def test_missing_corrupt_and_foreign_stores(tmp_path):
    with pytest.raises(StoreError, match="holds no sweep"):
        Sweep.open(tmp_path)
    (tmp_path / FILE).write_bytes(b"this is no database, whatever it is" * 50)
    with pytest.raises(StoreError, match="is not a readable sweep store"):
        Sweep.open(tmp_path)
    (tmp_path / FILE).unlink()
    sqlite3.connect(tmp_path / FILE).execute("create table other (x)")
    with pytest.raises(StoreError, match="is not a readable sweep store"):
        Sweep.open(tmp_path)


def test_a_store_that_was_killed_while_it_was_made(tmp_path):
    (tmp_path / FILE).touch()
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row("a")])
    assert store.keys() == {"a"}


def test_a_store_damaged_inside_is_noticed(tmp_path):
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row(f"k{i}", n_test=4000) for i in range(20)])
    store.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[8192:60_000] = bytes(60_000 - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError):
        Sweep.open(tmp_path)


def test_a_store_of_another_format_is_left_alone(tmp_path):
    store = Sweep.open_or_create(tmp_path, ABOUT)
    with store._connection:
        tables.put(store._connection, {"format": "99"})
    store.close()
    with pytest.raises(StoreError, match="another format"):
        Sweep.open(tmp_path)


def test_a_store_of_format_3_is_read_and_goes_on(tmp_path):
    """It knows no hash of an adapter; the first row that is added brings the column."""
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row("a")])
    as_format(store, 3)
    store.close()
    again = Sweep.open(tmp_path)
    assert again.rows()[0].adapter_sha256 is None
    again.add([row("b", adapter_sha256="0" * 64)])
    assert [run.adapter_sha256 for run in again.rows()] == [None, "0" * 64]
    assert again.about["format"] == FORMAT
    assert "adapter_sha256" not in again.frame().columns


def test_a_store_that_another_process_brings_to_this_format_meanwhile(tmp_path):
    """Whoever has it open reads and writes it as it is then: rows are held against their hashes, entries get one."""
    store = Sweep.open_or_create(tmp_path, ABOUT)
    store.add([row("a")])
    as_format(store, 5)
    early, other = Sweep.open(tmp_path), Sweep.open(tmp_path)
    assert not early.sealed
    other.add([row("b")])
    assert early.sealed
    assert [run.key for run in early.rows()] == ["a", "b"]
    early.note("extended", True)
    early.add([row("c")])
    assert other.about["extended"] is True
    assert [run.key for run in Sweep.open(tmp_path).rows()] == ["a", "b", "c"]
    other._connection.execute("update runs set seconds = 7.0 where key = 'a'")
    other._connection.commit()
    with pytest.raises(StoreError, match="is not what was written"):
        early.rows()


def test_two_writers(tmp_path):
    with only_writer(tmp_path / "new"), pytest.raises(StoreError, match="another sweep is writing"):  # noqa: SIM117
        with only_writer(tmp_path / "new"):
            pass
    with only_writer(tmp_path / "new"):
        pass
