"""One kind of settings: what YAML, flags and Python give becomes one checked record, or sentences."""

import doctest
import inspect
from typing import ClassVar

import pytest

from lorabound import config
from lorabound.config import ADAPTERS, Settings, read_settings, read_yaml, setting
from lorabound.errors import InputError
from lorabound.sweeps import SweepConfig


class Small(Settings):
    ALTERNATIVES: ClassVar = (("grams", "ounces"),)

    grams: int | None = setting(None, "Weight.", ADAPTERS, shown="what is there")
    ounces: float | None = setting(None, "Weight.", ADAPTERS)
    times: int = setting(2, "How often.", ADAPTERS, ge=1)


def test_the_examples():
    failed, tried = doctest.testmod(config)
    assert failed == 0
    assert tried > 0


def test_flags_lie_over_a_file_and_over_settings(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("grams: 3\ntimes: 4\n")
    assert read_settings(Small, path, {"times": None}) == Small(grams=3, times=4)
    assert read_settings(Small, path, {"times": 7}) == Small(grams=3, times=7)
    assert read_settings(Small, Small(times=5), {"grams": 1}) == Small(grams=1, times=5)
    assert read_settings(Small, path, {"ounces": 0.5}) == Small(ounces=0.5, times=4)
    assert read_settings(Small, Small(grams=2), {"ounces": 0.5}) == Small(ounces=0.5)


def test_all_faults_are_told_at_once_with_their_origin(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("gram: 3\ntimes: 0\n")
    with pytest.raises(InputError) as refused:
        read_settings(Small, path, {"ounces": "x"})
    assert str(refused.value) == (
        f"options: ounces = 'x': it must be a number; {path}: times = 0: it must be at least 1; "
        "there is no setting 'gram': did you mean grams?"
    )
    with pytest.raises(InputError, match="there is no setting 'abc' or 'xyz'; known are grams, ounces, times$"):
        Small(abc=1, times=3, xyz=2)
    with pytest.raises(InputError, match=r"^options: give grams or ounces, not both$"):
        read_settings(Small, None, {"grams": 1, "ounces": 1.0})
    path.write_text("- 3\n")
    with pytest.raises(InputError, match=r"expected 'name: value' lines"):
        read_settings(Small, path, {})


def test_python_is_told_in_sentences_too():
    with pytest.raises(InputError, match=r"^ranks = 0: it must be at least 1; there is no setting 'rank': did"):
        SweepConfig(ranks=[0], rank=3)
    assert SweepConfig(modes="freeze_a", seeds=2) == SweepConfig(modes=["freeze_a"], seeds=[0, 1])


def test_help_of_a_settings_class_says_what_each_setting_does():
    said = SweepConfig.__doc__
    assert said.startswith("The settings of a sweep")
    assert str(inspect.signature(SweepConfig)).startswith("(*, data='words', text_column='text'")
    assert "    ranks: LoRA ranks to compare. [default: 1,2,4,8]" in said
    assert (
        "    clip_norm: Largest norm of an adapter's gradient; a larger one is scaled down to it. [default: no limit]"
        in said
    )


def test_a_setting_that_stands_twice_is_refused_with_its_lines(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("data: words\nn-train: 8\nseeds: 2\nn_train: 9\nseeds: 3\n")
    with pytest.raises(InputError, match=r"n_train \(lines 2, 4\); seeds \(lines 3, 5\)"):
        read_yaml(path)
    path.write_text("data: words\nn-train: 8\n")
    assert read_yaml(path) == {"data": "words", "n_train": 8}
