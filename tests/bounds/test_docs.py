"""The page of theorems: its numbers come from the code shown, and it names everything that is public."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import lorabound.bounds

PAGE = Path(__file__).parents[2] / "docs" / "theory.md"


def test_the_worked_numbers_of_the_page():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0
    assert tried > 30


@pytest.mark.parametrize("name", lorabound.bounds.__all__)
def test_the_page_names_what_is_public(name):
    assert f"{name}" in PAGE.read_text()


@pytest.mark.parametrize("name", lorabound.bounds.__all__)
def test_public_docstrings_name_source_and_errors(name):
    thing = getattr(lorabound.bounds, name)
    if name in ("RELU", "TANH", "SIGMOID", "Activation", "Bound", "PriceOfFreezing"):
        return
    assert "Source:" in thing.__doc__
    if name not in ("entropy_integral",):
        assert "Raises:" in thing.__doc__ or "errors as in" in thing.__doc__


def test_importing_the_bounds_needs_no_torch():
    code = "import sys, lorabound.bounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_example_of_the_readme():
    failed, tried = doctest.testfile(str(PAGE.parents[1] / "README.md"), module_relative=False)
    assert failed == 0
    assert tried > 0
