"""Fingerprints of atomic environments, their entropies, a bias that raises them, gains and greedy choice.

Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.entropy.bias import EntropyBias
    from tentpole.entropy.covariance import Covariance
    from tentpole.entropy.fingerprint import Fingerprint
    from tentpole.entropy.gom.fingerprint import GOM, compile_kernels
    from tentpole.entropy.gradient_features import GradientFeatures
    from tentpole.entropy.greedy_choice import even_quota, greedy
    from tentpole.entropy.mace_features import MaceFeatures
    from tentpole.entropy.settings import FingerprintSettings, make_covariance, make_fingerprint
    from tentpole.entropy.species import SpeciesCovariance
    from tentpole.entropy.species_blocks import SpeciesBlocks

_HOME = {
    "Covariance": "covariance",
    "EntropyBias": "bias",
    "Fingerprint": "fingerprint",
    "FingerprintSettings": "settings",
    "GOM": "gom.fingerprint",
    "GradientFeatures": "gradient_features",
    "MaceFeatures": "mace_features",
    "SpeciesBlocks": "species_blocks",
    "SpeciesCovariance": "species",
    "compile_kernels": "gom.fingerprint",
    "even_quota": "greedy_choice",
    "greedy": "greedy_choice",
    "make_covariance": "settings",
    "make_fingerprint": "settings",
}

__all__ = [
    "GOM",
    "Covariance",
    "EntropyBias",
    "Fingerprint",
    "FingerprintSettings",
    "GradientFeatures",
    "MaceFeatures",
    "SpeciesBlocks",
    "SpeciesCovariance",
    "compile_kernels",
    "even_quota",
    "greedy",
    "make_covariance",
    "make_fingerprint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
