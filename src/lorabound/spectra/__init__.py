"""Size and used rank of LoRA updates s B A, from the factors alone and without torch."""

from lorabound.spectra.adapter import AdapterSpectra, LayerSpectrum, inspect_adapter
from lorabound.spectra.product import Spectrum, product_spectrum
from lorabound.spectra.table import print_spectra, write_spectra

__all__ = [
    "AdapterSpectra",
    "LayerSpectrum",
    "Spectrum",
    "inspect_adapter",
    "print_spectra",
    "product_spectrum",
    "write_spectra",
]
