"""The Trainer collects garbage when it starts and ends: what was imported is set aside, or that takes most of the time."""

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imports_are_no_garbage():
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
