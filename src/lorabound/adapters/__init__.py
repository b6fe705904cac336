"""LoRA adapters as plain arrays, without torch: drawn from a seed, kept in PEFT folders, seen through their spectra."""

from lorabound.adapters.adapter import (
    BITSANDBYTES,
    Adapter,
    Factors,
    Head,
    QuantizedBase,
    Shapes,
    check_grid,
    check_rank,
    new_adapter,
)
from lorabound.adapters.entries import entries_of, entry_name, with_entries
from lorabound.adapters.folder import folder_sha256, load_adapter, save_adapter, write_provenance
from lorabound.adapters.frozen import factor_sha256, random_factor
from lorabound.adapters.peft_folder import PeftAdapter, open_adapter
from lorabound.adapters.residual import Residuals
from lorabound.adapters.singular import SingularDirections
from lorabound.adapters.spectra import AdapterSpectra, LayerSpectrum, inspect_adapter
from lorabound.adapters.spectrum import Spectrum, product_spectrum

__all__ = [
    "BITSANDBYTES",
    "Adapter",
    "AdapterSpectra",
    "Factors",
    "Head",
    "LayerSpectrum",
    "PeftAdapter",
    "QuantizedBase",
    "Residuals",
    "Shapes",
    "SingularDirections",
    "Spectrum",
    "check_grid",
    "check_rank",
    "entries_of",
    "entry_name",
    "factor_sha256",
    "folder_sha256",
    "inspect_adapter",
    "load_adapter",
    "new_adapter",
    "open_adapter",
    "product_spectrum",
    "random_factor",
    "save_adapter",
    "with_entries",
    "write_provenance",
]
