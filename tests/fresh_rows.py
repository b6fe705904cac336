"""Adapters checked on fresh rows in one call, for tests of any room."""

from lorabound.certificates.holdout import measure_adapters
from lorabound.certificates.rows import read_fresh_rows


def check_adapters(folders, data, delta=0.05, **read):
    """Limits for adapters by the rows of a file; ``read`` says how they are read, as in ``read_fresh_rows``."""
    return measure_adapters(read_fresh_rows(folders, data, **read)).check(delta)
