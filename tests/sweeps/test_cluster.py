"""Sweeps on a real Ray cluster of this machine: a head without cores, and two nodes that train."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import yaml

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'lorabound[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402

from lorabound.errors import InputError, ModelError  # noqa: E402
from lorabound.sweeps import Sweep, SweepConfig, execute  # noqa: E402
from lorabound.sweeps import cluster as room  # noqa: E402
from tests import commands  # noqa: E402

CORES = 1


@pytest.fixture(scope="module")
def cluster():
    """Its nodes are processes of this machine that do not know of each other's model or folder."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=CORES)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def config(letters_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    drawn = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in drawn.integers(0, 26, drawn.integers(3, 8))) for _ in range(300)})
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(folder / "letters.csv")
    return SweepConfig(
        data=str(folder / "letters.csv"), model=str(letters_bert), head="trained", n_test=40, n_train=[40, 120],
        ranks=[1, 2], seeds=4, epochs=3, batch_size=8, lr=0.01, precision="float32", cross_fit=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The rows of the same sweep in this process."""
    return execute.run_sweep(config, tmp_path_factory.mktemp("alone") / "out").rows()


def spread_out(config, cluster):
    return config.model_copy(update={"executor": "ray", "address": cluster.address})


def check_same(rows, others):
    """Equal but for rounding, which follows from which runs train together."""
    assert [row.key for row in rows] == [row.key for row in others]
    for row, other in zip(rows, others, strict=True):
        assert row.status == other.status == "done"
        np.testing.assert_array_equal(row.first_order, other.first_order)
        np.testing.assert_allclose(row.test_log_losses, other.test_log_losses, atol=1e-4)
        np.testing.assert_allclose(row.first_log_losses, other.first_log_losses, atol=1e-4)
        assert abs(row.train_ce - other.train_ce) < 1e-4
        assert (row.n_folds, row.rank, row.n_params) == (other.n_folds, other.rank, other.n_params)


def workers_of(cluster):
    """Processes of Ray that hold a model."""
    found = [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]]
    return [process for process in found if process.info["cmdline"][0].startswith("ray::Worker")]


def test_workers_that_are_killed_cost_nothing_but_time(cluster, config, alone, tmp_path):
    told, killed = [], []

    def observe(state):
        told.append(state)
        if state.work_done > 0 and not killed:  # whoever trains, and whoever still loads the model
            killed.extend(process.pid for process in workers_of(cluster))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    store = execute.run_sweep(spread_out(config, cluster), tmp_path / "out", observe)
    assert killed
    check_same(store.rows(), alone)
    assert told[-1].runs_done == told[-1].runs_total == len(alone)
    resources = store.about["resources"]
    assert resources["workers"] == sum(resources["machines"].values()) * CORES
    assert not ray.is_initialized()  # what was joined is left


def test_other_weights_on_a_machine_are_refused(cluster, config, tmp_path, monkeypatch):
    of = room.Parcel.of
    monkeypatch.setattr(room.Parcel, "of", lambda task: replace(of(task), model_sha256="0" * 64))
    with pytest.raises(ModelError, match="finds other weights under .*bert"):
        execute.run_sweep(spread_out(config, cluster), tmp_path / "out")
    assert [row.rank for row in Sweep.open(tmp_path / "out").rows()] == []


def test_another_lorabound_on_a_machine_is_refused():
    facts = room.Facts(1, 1, "node7", "cpu", room._code())
    assert room._same_code(facts) is facts
    with pytest.raises(InputError, match="node7 has another lorabound .*install the same on all machines"):
        room._same_code(replace(facts, code="0.1.0, code 00000000"))


def test_a_cluster_that_does_not_answer_is_named(config, tmp_path):
    with pytest.raises(InputError, match="no Ray cluster answers at 127.0.0.1:1 .*ray start --head"):
        execute.run_sweep(config.model_copy(update={"executor": "ray", "address": "127.0.0.1:1"}), tmp_path / "out")


@pytest.mark.slow
def test_a_machine_that_leaves_and_one_that_joins(config, alone, tmp_path):
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    leaves = made.add_node(num_cpus=CORES)
    made.wait_for_nodes()
    changed = []

    def observe(state):
        if state.runs_done > 4 and not changed:
            changed.append(True)
            made.remove_node(leaves, allow_graceful=False)
            made.add_node(num_cpus=CORES)

    try:
        store = execute.run_sweep(spread_out(config, made), tmp_path / "out", observe)
        assert changed
        check_same(store.rows(), alone)
    finally:
        made.shutdown()


@pytest.mark.slow
def test_a_driver_that_is_killed_and_started_again(cluster, config, alone, tmp_path):
    out = tmp_path / "out"
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(spread_out(config, cluster).model_dump(mode="json", exclude_defaults=True)))
    driver = commands.start(["sweep", settings, "--out", out])
    while not (out / "sweep.sqlite").exists() or len(Sweep.open(out).keys()) < 3:
        assert driver.is_alive()
        time.sleep(0.05)
    driver.kill()
    driver.join()
    begun = Sweep.open(out).keys()
    assert 3 <= len(begun) < len(alone)
    again = commands.start(["sweep", settings, "--out", out])
    again.join()
    assert again.exitcode == 0
    check_same(Sweep.open(out).rows(), alone)
    assert not workers_of(cluster)  # those of the driver that was killed have gone with it


def test_an_address_that_nothing_uses_is_refused():
    with pytest.raises(InputError, match="address is that of a Ray cluster: give executor: ray"):
        SweepConfig(address="10.0.0.5:6379")


def test_without_ray_one_sentence_says_what_to_install(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lorabound.sweeps.cluster", raising=False)
    with pytest.raises(InputError, match=r"--executor ray needs Ray: pip install 'lorabound\[ray\]'"):
        execute.run_sweep(config.model_copy(update={"executor": "ray"}), tmp_path / "out")


def test_the_recipes_start_what_this_command_line_knows():
    recipes = Path(__file__).parents[2] / "recipes/cluster"
    assert subprocess.run(["bash", "-n", recipes / "slurm.sh"], check=False).returncode == 0
    job = yaml.safe_load((recipes / "rayjob.yaml").read_text())
    script = (recipes / "slurm.sh").read_text().replace("\\\n", " ")
    from_slurm = next(line for line in script.splitlines() if "lorabound sweep" in line and not line.startswith("#"))
    for line in (job["spec"]["entrypoint"], from_slurm.partition(" -- ")[2]):
        words = shlex.split(line)
        assert words[:2] == ["lorabound", "sweep"]
        known = subprocess.run(
            [sys.executable, "-m", "lorabound", "sweep", "--help"], capture_output=True, text=True
        ).stdout
        assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", known))
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
