"""The random factor: one definition, the same everywhere, nested in rank, with the law it says."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from lorabound.adapters import factor_sha256, random_factor
from lorabound.notation import RANDOM_LAWS


def test_definition_word_by_word():
    """The docstring's definition, followed by hand with hashlib, Philox and the statistics module."""
    import hashlib
    from statistics import NormalDist

    key = int.from_bytes(hashlib.sha256(b"lorabound/factor/1\x007\x00encoder.q").digest()[:16], "big")
    words = np.random.Philox(key=key).random_raw(6)
    u = [((int(w) >> 11) + 0.5) / 2**53 for w in words]
    normal = np.array([NormalDist().inv_cdf(x) / 2 for x in u]).reshape(2, 3)
    np.testing.assert_allclose(random_factor(7, "encoder.q", 2, 3, "gaussian"), normal, rtol=1e-6)
    uniform = np.array([(2 * x - 1) / 3**0.5 for x in u]).reshape(2, 3)
    np.testing.assert_allclose(random_factor(7, "encoder.q", 2, 3, "kaiming_uniform"), uniform, rtol=1e-6)


@pytest.mark.parametrize("law", RANDOM_LAWS)
def test_rank_r_is_the_first_r_rows(law):
    large = random_factor(0, "layer", 16, 24, law)
    for rank in (1, 2, 5, 16):
        scale = 16 / rank if law == "gaussian" else 1.0
        np.testing.assert_allclose(random_factor(0, "layer", rank, 24, law), scale * large[:rank], rtol=1e-6)


def test_seeds_and_modules_are_independent_draws():
    draws = [random_factor(seed, module, 8, 500, "gaussian") for seed in (0, 1) for module in ("a", "b")]
    for i in range(4):
        for j in range(i):
            correlation = np.corrcoef(draws[i].ravel(), draws[j].ravel())[0, 1]
            assert abs(correlation) < 5 / np.sqrt(4000)  # 5 standard errors


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        ("gaussian", lambda x: stats.norm.cdf(x, scale=1 / 50)),
        ("kaiming_uniform", lambda x: stats.uniform.cdf(x, -1 / 20, 2 / 20)),
    ],
)
def test_law(law, cdf):
    """Kolmogorov-Smirnov on 20,000 entries; the seed is fixed, so this passes or fails once and for all."""
    entries = random_factor(3, "layer", 50, 400, law).ravel().astype(float)
    assert stats.kstest(entries, cdf).pvalue > 1e-3


def test_another_process_draws_the_same():
    code = (
        "from lorabound.adapters.frozen import random_factor, factor_sha256;"
        "print(factor_sha256({'m': random_factor(11, 'm', 4, 30, 'gaussian')}))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert elsewhere.strip() == factor_sha256({"m": random_factor(11, "m", 4, 30, "gaussian")})
