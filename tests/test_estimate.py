"""What a sweep would take, before it is done; recipes that name several data sets."""

import sys
from pathlib import Path

import pytest
import yaml

from clip_models import save_clip
from lorabound.cli import main
from lorabound.data import NAMED
from lorabound.errors import InputError
from lorabound.sweep import SweepConfig, read_config, read_configs
from lorabound.sweep.estimate import estimate

RECIPES = Path(__file__).parent.parent / "recipes"


def test_arithmetic_of_a_text_encoder_is_counted_by_hand():
    config = SweepConfig(
        ranks=[1, 4], modes=["freeze_a"], seeds=3, n_train=[100], n_test=50, epochs=2, layers=[4, 5], max_length=32
    )
    seen = estimate(config)
    weights = 2 * (4 * 384 * 384 + 2 * 384 * 1536)
    passes = 6 * (2 * 2 * 100 + 100 + 50)
    assert seen.n_runs == 6
    assert seen.tflop == pytest.approx(2 * passes * 32 * weights / 1e12)
    assert seen.n_params == (2 * 3 * 384, 4 * 2 * 3 * 384)
    assert seen.hours > 0


def test_a_tower_without_adapters_costs_nothing(tmp_path):
    folder = str(save_clip(tmp_path / "clip"))
    base = {"model": folder, "data": "dtd", "shots": [2], "targets": ["q"], "n_test": 10}
    vision, text, both = (estimate(SweepConfig(**base, encoder=name)) for name in ("vision", "text", "both"))
    assert both.tflop == pytest.approx(vision.tflop + text.tflop)
    assert vision.n_train == [2 * 47]
    local = estimate(SweepConfig(**base | {"data": "digits"}))
    assert local.n_train == [20]


def test_the_papers_recipe_names_the_eleven_and_prints_its_plan(tmp_path, capsys, monkeypatch):
    folder = save_clip(tmp_path / "clip")
    recipe = RECIPES / "paper-figure.yaml"
    names = yaml.safe_load(recipe.read_text())["data"]
    assert len(names) == 11
    assert set(names) <= set(NAMED)
    monkeypatch.setattr(
        sys, "argv", ["lorabound", "sweep", str(recipe), "--model", str(folder), "--ranks", "2,4", "--dry-run"]
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert "220 runs" in shown
    assert not list(tmp_path.glob("*.sqlite"))


def test_recipes_are_valid_and_lists_of_data_become_sweeps(tmp_path):
    for recipe in [*RECIPES.glob("*.yaml"), *RECIPES.glob("*/*.yaml")]:
        assert read_configs(recipe, {})
    path = tmp_path / "two.yaml"
    path.write_text("data: [digits, textiles]\nshots: 2\n")
    assert {name: c.data for name, c in read_configs(path, {}).items()} == {"digits": "digits", "textiles": "textiles"}
    assert list(read_configs(path, {"data": "words"})) == [""]
    path.write_text("data: [digits, digits]\n")
    with pytest.raises(InputError, match="each named once"):
        read_configs(path, {})


def test_shots_and_sizes_exclude_one_another_and_flags_win(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("shots: [4]\n")
    assert read_config(path, {"n_train": "100"}).shots is None
    assert read_config(path, {"shots": "2,8"}).shots == [2, 8]
    path.write_text("shots: [4]\nn_train: [100]\n")
    with pytest.raises(InputError, match="shots and n_train both say"):
        read_config(path, {})


@pytest.mark.parametrize(("text", "layers"), [("all", None), ("top3", "top3"), ("4,5", [4, 5]), ("5", [5])])
def test_layers_are_all_indices_or_a_position(text, layers):
    assert read_config(None, {"layers": text}).layers == layers
    assert read_config(None, {"layers": 5}).layers == [5]
    with pytest.raises(InputError, match="int values separated by commas"):
        read_config(None, {"layers": "4,up"})
