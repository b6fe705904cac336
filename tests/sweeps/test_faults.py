"""Faults injected for real: kills, a full disk, a read-only folder, two processes, a clock set back, memory that ends.

``make faults`` runs all of them; the fast tier a few.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lorabound.adapters import load_adapter
from lorabound.errors import InputError, OutputError, StoreError
from lorabound.reports.frame import PAGE
from lorabound.reports.page import write_page
from lorabound.sweeps import Sweep, SweepConfig, execute, measuring
from lorabound.sweeps.repair import repair
from lorabound.sweeps.store import FILE
from lorabound.sweeps.summary import summarize
from tests import commands
from tests.conftest import TinyClassifier
from tests.sweeps.test_sweep import measured


def may_mount():
    """Whether this process may mount file systems (CAP_SYS_ADMIN, bit 21), which root in a container may not."""
    status = Path("/proc/self/status")
    effective = (
        next((x for x in status.read_text().splitlines() if x.startswith("CapEff:")), "") if status.exists() else ""
    )
    return bool(int(effective.partition(":")[2].strip() or "0", 16) >> 21 & 1)


root = pytest.mark.skipif(not may_mount(), reason="this process may not mount a file system")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A sweep of four stacks on the toy encoder."""
    drawn = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in drawn.integers(0, 26, drawn.integers(3, 8))) for _ in range(300)})
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(tmp_path / "letters.csv")
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: TinyClassifier())
    monkeypatch.setattr("lorabound.engine.pool.n_workers", lambda *_: 2)
    return SweepConfig(
        data=str(tmp_path / "letters.csv"), n_test=60, ranks=[1, 3], modes=["freeze_a", "train_both"], seeds=2,
        n_train=[20, 40], targets=["query", "value"], epochs=2, batch_size=8, lr=0.01,
    )  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a file system of so many KiB in a folder, or mounts it again with other options."""
    mounted = []

    def make(folder, size=None, again=None):
        folder.mkdir(exist_ok=True)
        options = f"remount,{again}" if again else f"size={size}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        mounted.append(folder)
        return folder

    yield make
    for folder in dict.fromkeys(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def same(left, right, atol=1e-4):
    """Whether two stores hold the same runs with the same losses up to rounding."""
    rows = list(zip(left.rows(), right.rows(), strict=True))
    for a, b in rows:
        assert (a.key, a.status) == (b.key, b.status)
        np.testing.assert_allclose(a.test_log_losses, b.test_log_losses, atol=atol)
        np.testing.assert_array_equal(a.first_order, b.first_order)
    return len(rows)


# Kills


def count(path):
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return connection.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error:
        return 0


def arguments(words, out):
    return [
        "sweep", "--data", words, "--out", out, "--ranks", "1,2", "--modes", "freeze_a,train_both", "--seeds", "2",
        "--n-train", "20,30", "--n-test", "100", "--epochs", "2", "--layers", "4,5", "--batch-size", "8",
        "--precision", "float32",
    ]  # fmt: skip


def start_sweep(words, out):
    return commands.start(arguments(words, out))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The data of a sweep of the real model, and the sweep that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = folder / "words.csv"
    letters = random.Random(0)
    rows = {"".join(letters.choices("aeiouklmnst", k=letters.randint(3, 9))) for _ in range(400)}
    pl.DataFrame({"text": sorted(rows), "label": ["x" if "a" in w else "y" for w in sorted(rows)]}).write_csv(words)
    process = start_sweep(words, folder / "out")
    process.join()
    assert process.exitcode == 0
    assert len(Sweep.open(folder / "out").rows()) == 2 + 2 * 8
    return words, folder / "out"


@pytest.mark.parametrize("n_rows", [3, 11])
def test_killed_at_a_random_moment_and_resumed_is_the_same(undisturbed, tmp_path, n_rows):
    """The real command on the real model, SIGKILLed a random moment after a number of rows is there, and run again."""
    words, whole = undisturbed
    seed = time.time_ns()
    print(f"seed of the moment: {seed}")
    killed = tmp_path / "killed"
    process = start_sweep(words, killed)
    while process.is_alive() and count(killed / "sweep.sqlite") < n_rows:
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.kill()
    process.join()
    process = start_sweep(words, killed)
    process.join()
    assert process.exitcode == 0
    assert measured(Sweep.open(killed)) == measured(Sweep.open(whole))
    saved = sorted(p.name for p in (killed / "adapters").iterdir())
    assert saved == sorted(p.name for p in (whole / "adapters").iterdir())
    for name in saved:
        if (killed / "adapters" / name).is_dir():
            load_adapter(killed / "adapters" / name)


def kill_and_go_on(words, whole, folder, n_kills, seed):
    """Kill sweeps at random moments, each started where the last one was killed, until so many were; then finish.

    Returns the number of kills after which some but not all runs were there.
    """
    drawn = random.Random(seed)
    n_runs = len(Sweep.open(whole).rows())
    kills = midway = round_ = 0
    while kills < n_kills:
        out = folder / f"killed-{round_}"
        process = start_sweep(words, out)
        started = time.monotonic()
        process.join(drawn.uniform(0.2, 6.0))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            midway += 0 < count(out / FILE) < n_runs
            print(f"kill {kills} after {time.monotonic() - started:.1f} s: {count(out / FILE)} of {n_runs} runs there")
        if (not process.is_alive() and process.exitcode == 0) or kills == n_kills:
            process = start_sweep(words, out)
            process.join()
            assert process.exitcode == 0
            assert measured(Sweep.open(out)) == measured(Sweep.open(whole))
            assert repair(out).stores[0].whole
            round_ += 1
    return midway


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills(undisturbed, tmp_path):
    words, whole = undisturbed
    midway = kill_and_go_on(words, whole, tmp_path, 20, seed=time.time_ns())
    assert midway >= 3


def test_sigterm_stops_like_ctrl_c(undisturbed, tmp_path):
    """As batch systems send it before they kill: nothing is lost, the way on is said, and the rows are the same."""
    words, whole = undisturbed
    with subprocess.Popen(
        [sys.executable, "-m", "lorabound", *map(str, arguments(words, tmp_path / "out"))],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # as the others: the stacks decide the rounding
    ) as process:
        assert process.stderr is not None
        while " of rank " not in (line := process.stderr.readline()):
            assert line, "ended before it trained"
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert "What was finished is kept in" in said
    assert "Traceback" not in said
    process = start_sweep(words, tmp_path / "out")
    process.join()
    assert measured(Sweep.open(tmp_path / "out")) == measured(Sweep.open(whole))


# Disks


@root
@pytest.mark.parametrize("size", [120, *(pytest.param(size, marks=pytest.mark.slow) for size in range(40, 800, 40))])
def test_a_disk_that_is_full_at_any_moment_costs_no_run(config, small_disk, tmp_path, size):
    """At the store, an adapter, the rows or the page: one sentence; with room again the same command goes on."""
    whole = execute.run_sweep(config, tmp_path / "whole")
    folder = small_disk(tmp_path / "disk", size)

    def fill():
        write_page(summarize(execute.run_sweep(config, folder / "out")), folder / "out" / PAGE)

    with pytest.raises((StoreError, OutputError), match="^cannot write .*([Ff]ull|No space left).*make room"):
        fill()
    if (folder / "out" / FILE).is_file() and (folder / "out" / FILE).stat().st_size:
        there = Sweep.open(folder / "out")
        assert {row.key for row in there.rows()} <= {row.key for row in whole.rows()}
        there.close()
        assert repair(folder / "out").stores[0].fault is None
    small_disk(folder, again="size=50m")
    fill()
    assert same(Sweep.open(folder / "out"), whole) == len(whole.rows())


@root
def test_a_disk_without_room_for_stored_activations(config, small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("lorabound.engine.pool.free_bytes", lambda *_: 1e9)
    monkeypatch.setattr("lorabound.engine.pool.WithPrefix", lambda classifier, adapted, sets, _, folder: prefix(
        classifier, adapted, sets, 0.0, folder
    ))  # fmt: skip
    folder = small_disk(tmp_path / "disk", 64)
    with pytest.raises(InputError, match="has no room for .* of stored activations .*make room"):
        execute.run_sweep(config, folder / "out")


def prefix(*given):
    from lorabound.engine import WithPrefix

    return WithPrefix(*given)


def test_a_limit_on_the_size_of_files(tmp_path):
    """The same without root: the system refuses what is written beyond it."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from tests.sweeps.test_store import ABOUT, row; from lorabound.sweeps import Sweep\n"
        "from lorabound.errors import LoraboundError; store = Sweep.open_or_create(sys.argv[1], ABOUT)\n"
        "try:\n"
        "    for i in range(100): store.add([row(f'{i:03}', n_test=2000)])\n"
        "except LoraboundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path / FILE}: ")
    assert "run the same command again to go on" in done.stdout
    there = Sweep.open(tmp_path)
    assert 0 < len(there.rows()) < 10
    there.add(there.rows())


@pytest.fixture
def read_only():
    """A function that makes a folder one that this process may read and not write; root needs a mount for it."""
    folders, is_root = [], os.geteuid() == 0
    if is_root and not may_mount():
        pytest.skip("root writes to every folder, and this root may not mount one read-only")

    def make(folder):
        folders.append(folder)
        if is_root:
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            return
        for place in [*folder.rglob("*"), folder]:
            place.chmod(0o555)

    yield make
    for folder in folders:
        if is_root:
            subprocess.run(["umount", "-l", folder], check=True)
            continue
        for place in [folder, *folder.rglob("*")]:
            place.chmod(0o755)


def test_a_read_only_folder_is_read_and_not_written(config, read_only, tmp_path):
    out = tmp_path / "out"
    before = measured(execute.run_sweep(config, out))
    more = config.model_copy(update={"seeds": [0, 1, 2]})
    read_only(out)
    store = Sweep.open(out)
    assert measured(store) == before
    for do in (
        lambda: write_page(summarize(store), out / PAGE),
        lambda: execute.run_sweep(more, out),
        lambda: repair(out),
        lambda: store.note("extended", True),
    ):
        with pytest.raises((OutputError, StoreError), match="cannot write"):
            do()


# Company


def test_two_processes_on_one_store(undisturbed, tmp_path):
    words, whole = undisturbed
    processes = [start_sweep(words, tmp_path / "out") for _ in range(2)]
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [0, 2]
    assert measured(Sweep.open(tmp_path / "out")) == measured(Sweep.open(whole))


def test_a_reader_while_runs_are_written(config, tmp_path):
    """Every look sees whole stacks, each row as it was written."""
    seen, faults, stop = [], [], threading.Event()

    def look():
        while not stop.is_set():
            if (tmp_path / "out" / FILE).is_file():
                try:
                    store = Sweep.open(tmp_path / "out")
                    seen.append(len(store.rows()))
                    store.close()
                except StoreError as error:
                    if "no such table" not in str(error):  # before the tables are made
                        faults.append(str(error))
            time.sleep(0.001)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        store = execute.run_sweep(config, tmp_path / "out")
    finally:
        stop.set()
        reader.join()
    assert faults == []
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert len(store.rows()) == 18


def test_every_moment_of_a_store_that_is_written_is_whole(config, tmp_path):
    """Rows and their seal are read as of one moment: a look between two writes of another process is no damage."""
    store = execute.run_sweep(config, tmp_path / "out")
    rows, stop = store.rows(), threading.Event()

    def write():
        own = Sweep.open(tmp_path / "out")
        for number in range(10_000):
            own.add([replace(rows[0], key=f"{number}", seed=1000 + number)])
            own.note("resources", {"number": number})
            if stop.is_set():
                break
        own.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            looked = Sweep.open(tmp_path / "out")
            assert len(looked.rows()) >= len(rows)
            assert looked.about["n_test"] == 60
            looked.close()
    finally:
        stop.set()
        writer.join()


# Time and memory


def test_a_clock_that_is_set_back(config, tmp_path, monkeypatch):
    """Nothing depends on the order of wall-clock times: files from the future, and a clock that runs backwards."""
    whole = execute.run_sweep(config, tmp_path / "whole")
    now = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setattr(time, "time_ns", lambda: next(now) * 10**9)
    part = config.model_copy(update={"seeds": [0]})
    execute.run_sweep(part, tmp_path / "out")
    for place in (tmp_path / "out").rglob("*"):
        os.utime(place, (4e9, 4e9))
    assert same(execute.run_sweep(config, tmp_path / "out"), whole) == 18
    assert repair(tmp_path / "out").stores[0].whole


def test_a_stack_without_memory_halves_and_goes_on(config, tmp_path, monkeypatch):
    whole = execute.run_sweep(config, tmp_path / "whole")
    widths, real = [], measuring.train

    def scarce(classifier, train_set, test_set, adapters, *rest, **more):
        widths.append(len(adapters))
        if len(adapters) > 1:
            raise MemoryError
        return real(classifier, train_set, test_set, adapters, *rest, **more)

    monkeypatch.setattr(measuring, "train", scarce)
    store = execute.run_sweep(config, tmp_path / "out")
    assert same(store, whole) == 18
    assert 2 <= sum(width > 1 for width in widths) <= 6  # not again in every stack
    assert widths.count(1) == 16


def test_memory_that_does_not_hold_one_adapter(config, tmp_path, monkeypatch):
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(measuring, "train", none)
    with pytest.raises(InputError, match="does not hold one adapter .*run the same command again"):
        execute.run_sweep(config, tmp_path / "out")
    monkeypatch.undo()


def test_folds_without_memory_halve_too(config, tmp_path, monkeypatch):
    asked = config.model_copy(update={"cross_fit": 4, "n_train": [40], "ranks": [2], "modes": ["freeze_a"]})
    whole = execute.run_sweep(asked, tmp_path / "whole")
    real = measuring.train

    def scarce(classifier, train_set, test_set, adapters, *rest, **more):
        if len(adapters) > 1:
            raise MemoryError
        return real(classifier, train_set, test_set, adapters, *rest, **more)

    monkeypatch.setattr(measuring, "train", scarce)
    store = execute.run_sweep(asked, tmp_path / "out")
    for a, b in zip(store.rows(), whole.rows(), strict=True):
        if a.rank:
            np.testing.assert_array_equal(a.fold_errors, b.fold_errors)


@pytest.mark.parametrize("nth", [2, *(pytest.param(nth, marks=pytest.mark.slow) for nth in (1, 3, 4))])
def test_a_worker_that_raises(config, tmp_path, monkeypatch, nth):
    """An error of one stack ends the sweep; what was finished is kept, and the same command goes on."""
    whole = measured(execute.run_sweep(config, tmp_path / "whole"))
    real, calls = measuring.train, []

    def broken(*given, **more):
        calls.append(None)
        if len(calls) == nth:
            raise ZeroDivisionError("of a worker")
        return real(*given, **more)

    monkeypatch.setattr(measuring, "train", broken)
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="of a worker"):
        execute.run_sweep(config, tmp_path / "out")
    assert threading.active_count() <= threads
    assert len(Sweep.open(tmp_path / "out").rows()) < 18
    assert measured(execute.run_sweep(config, tmp_path / "out")) == whole
