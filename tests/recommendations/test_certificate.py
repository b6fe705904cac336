"""The certificate of the final adapter: what its own training shows, with every candidate paid for."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import lorabound as lb
from lorabound.bounds import best_lam, progressive
from lorabound.certificates.stored import read_certificate
from lorabound.certificates.training import FILE
from lorabound.errors import InputError, StoreError
from lorabound.reports.recommendation_page import recommendation_page
from lorabound.sweeps import Sweep
from tests.commands import run, shown


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Strings of a, b and c; the colour says which letter comes first. Ten of them stand there twice."""
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(3, 9))) for _ in range(150)})
    path = tmp_path_factory.mktemp("letters") / "letters.csv"
    texts = [*texts, *texts[:10]]
    pl.DataFrame({"text": texts, "label": [{"a": "red", "b": "green", "c": "blue"}[t[0]] for t in texts]}).write_csv(
        path
    )
    return str(path)


@pytest.fixture(scope="module")
def settings(letters_bert):
    return {
        "model": str(letters_bert), "head": "trained", "ranks": [1, 4], "lrs": [0.02], "epochs": 3, "batch_size": 16,
        "max_length": 12, "targets": ["query", "value"], "seeds": [0],
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(letters, settings, tmp_path_factory):
    return lb.recommend(letters, out=tmp_path_factory.mktemp("made") / "out", **settings)


def test_the_limit_is_that_of_the_losses_before_each_update_with_every_choice_paid_for(made):
    stored = load_file(f"{made.folder}/{FILE}")
    losses, repeats = stored["losses"].astype(float), stored["repeats"].astype(bool)
    assert len(losses) == made.n_rows
    assert repeats.sum() == 10
    start = round(len(losses) / 2 / 16) * 16
    limits = []
    for rows in (np.ones_like(repeats), ~repeats):
        before, inside = losses[:start][rows[:start]], losses[start:][rows[start:]]
        delta = made.delta / made.n_choices
        lam = best_lam((before.sum() + 0.5) / (len(before) + 1), len(losses) - start, delta)
        limits.append(float(progressive(inside.mean(), len(inside), delta, lam=lam).value))
    assert made.own_limit == pytest.approx(max(limits))
    assert made.n_choices > 1


def test_anyone_computes_it_again(capsys, monkeypatch, made, tmp_path):
    status, out, _ = run(capsys, monkeypatch, "verify", made.folder)
    assert status == 0
    assert f"The certificate of {made.mode} of rank {made.rank} holds" in " ".join(out.split())
    shutil.copytree(made.folder, tmp_path / "out")
    path = tmp_path / "out" / FILE
    stored = load_file(path)
    save_file(stored | {"losses": np.zeros_like(stored["losses"])}, path)
    status, _, err = run(capsys, monkeypatch, "verify", tmp_path / "out")
    assert status == 2
    assert "was changed" in err


def test_another_delta_is_paid_for_without_training_again(made, letters, settings, tmp_path):
    shutil.copytree(made.folder, tmp_path / "out")
    weights = (tmp_path / "out/adapter/adapter_model.safetensors").read_bytes()
    found = lb.recommend(letters, out=tmp_path / "out", delta=0.3, **settings)
    assert (tmp_path / "out/adapter/adapter_model.safetensors").read_bytes() == weights
    assert found.own_limit < made.own_limit
    assert read_certificate(tmp_path / "out").certificate.delta == 0.3


def test_candidates_that_are_named_after_a_look_at_others_have_no_certificate(made, letters, settings, tmp_path):
    shutil.copytree(made.folder, tmp_path / "out")
    modes = ["freeze_a", "freeze_b", "train_both"]
    for _ in range(2):  # nor when the same command is given again
        wider = lb.recommend(letters, out=tmp_path / "out", **(settings | {"modes": modes}))
        assert wider.own_limit is None
        assert not (tmp_path / "out/certificate.json").exists()


def test_classes_that_were_left_out_by_counting_are_an_assumption(letters, settings, tmp_path):
    rare = pl.DataFrame({"text": ["dd", "de"], "label": ["grey", "grey"]})
    pl.concat([pl.read_csv(letters), rare]).write_csv(tmp_path / "rare.csv")
    options = settings | {"ranks": [1], "modes": ["freeze_a"], "epochs": 1}
    lb.recommend(str(tmp_path / "rare.csv"), out=tmp_path / "out", min_class_rows=3, **options)
    certificate = read_certificate(tmp_path / "out").certificate
    assert any(said.startswith("--min-class-rows 3 left out classes") for said in certificate.assumptions)


def test_an_adapter_that_is_a_pilot_has_no_certificate_of_an_earlier_one(made, letters, settings, tmp_path):
    shutil.copytree(made.folder, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/pilots")
    found = lb.recommend(letters, out=tmp_path / "out", **(settings | {"test_fraction": 0.25}))
    assert found.own_limit is None
    assert not (tmp_path / "out/certificate.json").exists()
    assert "certificate.json" not in shown(found)


def test_the_terminal_names_the_certificate(made):
    text = " ".join(shown(made).split())
    assert (made.own_limit <= 0.999) == (": certificate.json; lorabound verify" in text)


@pytest.mark.parametrize(("limit", "told"), [(0.9989, True), (0.9991, False), (1.2, False)])
def test_a_limit_that_is_shown_as_one_is_not_shown(made, limit, told):
    """Rounded up, as limits are, 0.9991 would read "at most 1.000"."""
    found = replace(made, own_limit=limit, limit=replace(made.limit, value=limit))
    text = " ".join(shown(found).split())
    assert ("Its training shows by itself" in text, "Guaranteed: the" in text, "1.000" in text) == (told, told, False)
    assert ("too few to show" in recommendation_page(found)) != told


def test_a_sweep_and_a_recommendation_do_not_share_a_folder(made, letters, settings, tmp_path):
    """Each would write its page and its answer over those of the other."""
    before = {path: path.stat().st_mtime_ns for path in Path(made.folder).rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="holds a recommendation, and a sweep needs a folder of its own"):
        Sweep.open_or_create(made.folder, {})
    with pytest.raises(StoreError, match=r"holds no sweep \(sweep.sqlite\) but a recommendation"):
        lb.open_sweep(made.folder)
    assert {path: path.stat().st_mtime_ns for path in Path(made.folder).rglob("*") if path.is_file()} == before
    (tmp_path / "sweep.sqlite").touch()
    with pytest.raises(InputError, match="holds a sweep, and a recommendation needs a folder of its own"):
        lb.recommend(letters, out=tmp_path, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.sqlite"]
