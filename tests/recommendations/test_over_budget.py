"""A budget that was passed is told, with by how much; a settings file that is none of settings, too."""

import pytest

from lorabound.config import read_yaml
from lorabound.errors import InputError
from lorabound.recommendations.verbs import _over_budget


def test_a_budget_that_was_passed_by_more_than_a_fifth_is_told():
    assert _over_budget(120, 120) == _over_budget(143, 120) == []
    (said,) = _over_budget(180, 120)
    assert "2 min were allowed" in said
    assert "about 3 minutes, 50% more" in said


@pytest.mark.parametrize("rows", ["text,label\na: b: c,d\n", "text,label\nplain,d\n", "a: 1\n"])
def test_rows_in_the_place_of_settings(tmp_path, rows):
    path = tmp_path / "clean.csv"
    path.write_text(rows)
    with pytest.raises(InputError, match=r"clean.csv is a file of rows, and settings are wanted here.*adapter: lora$"):
        read_yaml(path, example="adapter: lora")


def test_what_is_no_yaml_is_told_with_its_line_in_one_sentence(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("ranks: [1]\nlr: a: b\n")
    with pytest.raises(InputError) as refused:
        read_yaml(path)
    assert str(refused.value).startswith(f"{path} is not valid YAML (line 2: ")
    assert "unicode string" not in str(refused.value)
