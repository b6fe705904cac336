"""A damaged store: found out on every reading, and mended with nothing but rows that are as they were written."""

import random
import shutil
from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from lorabound.errors import StoreError
from lorabound.sweeps import Row, Sweep, SweepConfig, execute
from lorabound.sweeps.repair import MOVED, repair
from lorabound.sweeps.salvage import salvage
from lorabound.sweeps.store import FILE
from tests import commands
from tests.stores import as_format


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep as it is, with adapters: its folder and its settings."""
    from tests.conftest import TinyClassifier

    folder = tmp_path_factory.mktemp("damage")
    drawn = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in drawn.integers(0, 26, drawn.integers(3, 8))) for _ in range(300)})
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(folder / "letters.csv")
    config = SweepConfig(
        data=str(folder / "letters.csv"), n_test=60, ranks=[1, 3], modes=["freeze_a", "train_both"], seeds=2,
        n_train=[40, 200], targets=["query", "value"], epochs=1, batch_size=8, lr=0.01,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: TinyClassifier())
        execute.run_sweep(config, folder / "out").close()
        yield folder / "out", config


@pytest.fixture
def copied(sweep, tmp_path):
    shutil.copytree(sweep[0], tmp_path / "out")
    return tmp_path / "out"


def contents(row):
    """All of a row, for comparison."""
    values = (getattr(row, field.name) for field in fields(Row))
    return tuple((v.dtype.str, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values)


def rows_of(folder):
    store = Sweep.open(folder)
    try:
        return {row.key: contents(row) for row in store.rows()}, store.about
    finally:
        store.close()


def damages(content, count, seed):
    """(what was done, content): flips of one bit, ends cut off, sectors of zeros, in turn."""
    drawn = random.Random(seed)
    for number in range(count):
        broken = bytearray(content)
        at = drawn.randrange(len(content))
        if number % 3 == 0:
            broken[at] ^= 1 << drawn.randrange(8)
        elif number % 3 == 1:
            del broken[at:]
        else:
            broken[at // 512 * 512 : at // 512 * 512 + 512] = bytes(512)
        yield f"{('a flip', 'an end', 'a sector')[number % 3]} at {at}", bytes(broken)


def refusal(do, folder):
    """The sentence with which a store is refused; None where it is not."""
    try:
        do(folder)
    except StoreError as error:
        return str(error)
    return None


def check_damage(folder, count, seed):
    """Damage a store many times; returns how many were found out, mended, beyond mending, and the runs lost."""
    path = folder / FILE
    content = path.read_bytes()
    before, about = rows_of(folder)
    found = mended = hopeless = lost = 0
    for what, broken in damages(content, count, seed):
        path.write_bytes(broken)
        error = refusal(rows_of, folder)
        if error is None:  # it does no harm
            assert rows_of(folder) == (before, about), what
            continue
        found += 1
        assert str(path) in error, what
        assert "lorabound repair" in error or not broken, what
        error = refusal(repair, folder)
        if error is not None:
            assert "cannot be repaired" in error, what
            hopeless += 1
            continue
        after, told = rows_of(folder)
        assert after.items() <= before.items(), what
        assert told == about, what
        kept = max(folder.glob(f"{FILE}.damaged*"), key=lambda file: file.stat().st_mtime_ns)
        assert kept.read_bytes() == broken, what
        mended, lost = mended + 1, lost + len(before) - len(after)
    return found, mended, hopeless, lost


def test_damage_anywhere_is_found_or_harmless_and_mending_keeps_true_rows_only(copied):
    found, mended, hopeless, _ = check_damage(copied, 30, seed=0)
    assert found >= 15
    assert mended > 2 * hopeless


@pytest.mark.slow
def test_more_damage(copied):
    found, mended, hopeless, lost = check_damage(copied, 300, seed=1)
    print(f"\nof 300 damages {found} found out, {mended} mended with {lost} runs lost, {hopeless} beyond mending")


def test_every_flip_in_a_row_is_found(copied):
    """Those that quick_check does not see: in the losses of a run."""
    path = copied / FILE
    content = path.read_bytes()
    row = Sweep.open(copied).rows()[-1]
    at = content.index(row.test_log_losses.tobytes()[:40])
    for bit in range(8):
        broken = bytearray(content)
        broken[at + 5] ^= 1 << bit
        path.write_bytes(broken)
        store = Sweep.open(copied)
        for read in (store.rows, store.keys, store.frame, store.__repr__):
            with pytest.raises(StoreError, match="the row of the run .* is not what was written.*lorabound repair"):
                read()
        store.close()


def test_the_same_command_trains_what_was_lost_and_nothing_else(sweep, copied, capsys, monkeypatch):
    before, _ = rows_of(copied)
    path = copied / FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    path.write_bytes(content)
    status, output, errors = commands.run(capsys, monkeypatch, "repair", copied)
    assert (status, errors) == (0, "")
    after, _ = rows_of(copied)
    lost = len(before) - len(after)
    assert 0 < lost < len(before)
    assert f"was damaged and is mended: {len(after)} of {len(before)} runs are there" in " ".join(output.split())
    assert f"{path}.damaged" in "".join(output.split())
    told = []
    again = execute.run_sweep(sweep[1], copied, told.append)
    assert next(at.runs_done for at in told if at.runs_total > 1) == len(after)
    assert set(rows_of(copied)[0]) == set(before)
    assert {key: value for key, value in rows_of(copied)[0].items() if key in after} == after
    by_key = {row.key: row for row in Sweep.open(sweep[0]).rows()}
    for row in again.rows():
        assert row.test_ce == pytest.approx(by_key[row.key].test_ce, abs=1e-4)  # other stacks: rounding
    status, output, _ = commands.run(capsys, monkeypatch, "repair", copied)
    assert f"is whole: {len(before)} runs, each as it was written." in " ".join(output.split())


def test_an_adapter_that_is_not_what_its_run_left_is_trained_again(sweep, copied):
    (copied / "adapters" / "freeze_a-r1-n40-seed0" / "adapter_config.json").unlink()
    weights = copied / "adapters" / "train_both-r3-n200-seed1" / "adapter_model.safetensors"
    broken = bytearray(weights.read_bytes())
    broken[-3] ^= 4
    weights.write_bytes(broken)
    shutil.rmtree(copied / "adapters" / "freeze_a-r3-n40-seed0")
    (made,) = repair(copied).stores
    assert made.fault is None
    assert set(made.damaged) == set(made.missing) == {"freeze_a-r1-n40-seed0", "train_both-r3-n200-seed1"}
    assert made.absent == ("freeze_a-r3-n40-seed0",)
    assert made.n_adapters == 16 - 3
    assert (copied / MOVED / weights.parent.name / weights.name).read_bytes() == broken
    assert not (copied / "adapters" / "freeze_a-r1-n40-seed0").exists()
    execute.run_sweep(sweep[1], copied)
    assert repair(copied).stores[0].whole
    assert set(rows_of(copied)[0]) == set(rows_of(sweep[0])[0])


def test_a_store_of_an_older_format_is_read_and_said_to_carry_no_hashes(copied, capsys, monkeypatch):
    store = Sweep.open(copied)
    before = list(map(contents, store.rows()))
    as_format(store, 5)
    assert list(map(contents, store.rows())) == before
    store.close()
    _, output, _ = commands.run(capsys, monkeypatch, "repair", copied)
    assert "runs, of a format that keeps no hash of a run." in " ".join(output.split())
    store = Sweep.open(copied)
    store.add([])
    assert store.sealed
    assert list(map(contents, store.rows())) == before
    store.close()
    assert len(salvage((copied / FILE).read_bytes()).runs) == len(before)


def test_what_was_replaced_does_not_come_back(copied):
    store = Sweep.open(copied)
    for number in range(40):
        store.note("extended", "x" * (37 * number))
    store.add(store.rows()[::-1])
    store.close()
    found = salvage((copied / FILE).read_bytes())
    assert found.about["extended"] == f'"{"x" * 37 * 39}"'
    assert len(set(found.seals)) == 1


def test_a_folder_without_a_store(tmp_path):
    with pytest.raises(StoreError, match="holds no sweep"):
        repair(tmp_path)
