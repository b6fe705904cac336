"""How rows are divided between pilots, tests and the final adapter."""

import polars as pl
import pytest

from lorabound.errors import DataError, InputError
from lorabound.recommendations.config import read_recommendation
from lorabound.recommendations.layout import laid_out


def rows(path, count, classes="abc"):
    pl.DataFrame(
        {"text": [f"text number {i}" for i in range(count)], "label": [classes[i % len(classes)] for i in range(count)]}
    ).write_csv(path)
    return str(path)


def layout_of(path, **settings):
    asked, config, given = read_recommendation(None, {"data": path, **settings})
    return laid_out(asked, config, given)


def test_every_row_of_few_is_a_test_row_once_and_the_final_adapter_has_them_all(tmp_path):
    layout = layout_of(rows(tmp_path / "a.csv", 400))
    tested = [example for material in layout.materials for example in material.divided.test_examples]
    assert sorted(tested) == sorted(f"text number {i}" for i in range(400))
    assert (layout.n_rows, layout.refit, layout.n_test) == (400, True, 400)
    assert [material.config.seeds for material in layout.materials] == [[0], [1], [2], [3]]
    for material in layout.materials:
        assert not {*material.divided.test_examples} & {*material.divided.train_examples}
        assert layout.sizes[-1] == len(material.divided.train_examples) == 300


def test_seeds_have_the_same_folds_in_any_order(tmp_path):
    """The first fold has the first seed, whose adapter the limit speaks of; the stored command sorts the seeds."""
    path = rows(tmp_path / "a.csv", 400)
    layout, ordered = (layout_of(path, seeds=seeds) for seeds in ([9, 0, 7], [0, 7, 9]))
    assert [material.config.seeds for material in layout.materials] == [[0], [7], [9]]
    for one, other in zip(layout.materials, ordered.materials, strict=True):
        assert one.divided.test_examples == other.divided.test_examples


def test_rows_that_are_not_wanted_are_used_nowhere(tmp_path):
    layout = layout_of(rows(tmp_path / "a.csv", 1000), n_train=200, seeds=[5])
    [material] = layout.materials
    used = {*material.divided.train_examples, *material.divided.test_examples}
    assert len(used) == layout.n_rows == len(material.table) == 200
    other = layout_of(str(tmp_path / "a.csv"), n_train=200, seeds=[5], data_seed=1)
    assert used != {*other.material.divided.train_examples, *other.material.divided.test_examples}


def test_a_share_for_testing_stays_out_of_the_final_adapter(tmp_path):
    layout = layout_of(rows(tmp_path / "a.csv", 400), test_fraction=0.3)
    assert (layout.n_rows, layout.sizes[-1], layout.refit, layout.n_test) == (280, 280, False, 120)
    assert len(layout.materials) == 1


def test_rows_of_a_file_of_their_own_test_all_pilots(tmp_path):
    other = tmp_path / "fresh.csv"
    pl.DataFrame({"text": [f"fresh {i}" for i in range(60)], "label": list("abc") * 20}).write_csv(other)
    layout = layout_of(rows(tmp_path / "a.csv", 300), holdout=str(other))
    assert (layout.n_rows, layout.sizes[-1], layout.refit, layout.n_test) == (300, 300, False, 60)


@pytest.mark.parametrize("count", [12, 30, 41])
def test_too_few_rows_are_told_with_the_number_that_would_do(tmp_path, count):
    path = rows(tmp_path / "a.csv", count)
    with pytest.raises(DataError, match="42 rows of 3 classes are needed") as told:
        layout_of(path)
    assert f"{count} rows are too few" in str(told.value)
    assert layout_of(rows(tmp_path / "b.csv", 42)).sizes == [32]


def test_more_rows_than_there_are_cannot_be_asked_for(tmp_path):
    with pytest.raises(InputError, match="the data have 100 rows"):
        layout_of(rows(tmp_path / "a.csv", 100), n_train=101)


def test_ranks_that_no_layer_allows_are_left_out_unless_they_were_asked_for(tmp_path, letters_bert):
    path = rows(tmp_path / "a.csv", 100, classes=["Red", "green", "blue"])
    layout = layout_of(path, model=str(letters_bert))
    assert layout.material.config.ranks == [1, 2, 4, 8, 16]  # layers of 16 x 16
    with pytest.raises(Exception, match="32"):
        layout_of(path, model=str(letters_bert), ranks=[32])
