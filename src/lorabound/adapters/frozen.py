"""The random factor, drawn from a seed by a definition this project owns.

Definition (version 1). The raw stream is NumPy's Philox bit generator (its stream is the same in every
NumPy release) keyed by the first 16 bytes of SHA-256("lorabound/factor/1", seed, module name), joined by
NUL bytes. Each 64-bit word w becomes u = (floor(w / 2^11) + 1/2) / 2^53, a number strictly inside (0, 1), and
then, by the inverse distribution function of the law, one entry; entries fill the factor row by row.

Hence row i does not depend on the number of rows: the factor of rank r is the first r rows of the factor
of any larger rank (up to the law's scale), and ranks are compared with common random numbers. Module names
key the stream, so adapting more layers leaves the factors of the others as they were.

The factor is returned as (rank, width): `A` itself, or the transpose of `B` when `B` is the random one.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.special import ndtri

from lorabound.errors import InputError
from lorabound.notation import RANDOM_LAWS, Law


def random_factor(
    seed: int, module: str, rank: int, width: int, law: Law, links: int = 1
) -> Float32[np.ndarray, "rank width"]:
    """Draw the (rank, width) random factor of one layer.

    Args:
        seed: seed of the draw; the same seed, module and law give the same rows on every machine.
        module: dotted name of the layer in its model.
        rank: number of rows r.
        width: number of columns: d_in for `A`, d_out for the transpose of `B`.
        law: law of the entries: "kaiming_uniform", PEFT's default: uniform on +-1/sqrt(width);
            "gaussian": i.i.d. N(0, 1/rank^2), PEFT's `init_lora_weights="gaussian"`. The standard normal
            law of Kratsios et al. 2025 with s = 1 is this one with s = rank.
        links: number of links T of a chain, which divides ``rank``: entries have the law of one link, whose rank is
            rank / T.
    Raises:
        InputError: an unknown law.
    """
    if law not in RANDOM_LAWS:
        raise InputError(f"the law of random entries must be one of {', '.join(RANDOM_LAWS)}, got {law!r}")
    digest = hashlib.sha256(b"\0".join([b"lorabound/factor/1", str(seed).encode(), module.encode()])).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "big")).random_raw(rank * width)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    entries = ndtri(uniform) / (rank // links) if law == "gaussian" else (2.0 * uniform - 1.0) / math.sqrt(width)
    return entries.astype(np.float32).reshape(rank, width)


def factor_sha256(factors: dict[str, NDArray[np.float32]]) -> str:
    """SHA-256 over module names and little-endian float32 bytes, modules in alphabetical order."""
    digest = hashlib.sha256()
    for module in sorted(factors):
        factor = factors[module]
        digest.update(f"{module}\0{factor.shape}\0".encode())
        digest.update(np.ascontiguousarray(factor, dtype="<f4").tobytes())
    return digest.hexdigest()
