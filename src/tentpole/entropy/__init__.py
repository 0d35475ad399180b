"""Fingerprints of atomic environments, their entropies, a bias that raises them, gains and greedy choice."""

from tentpole.entropy.bias import EntropyBias
from tentpole.entropy.covariance import Covariance
from tentpole.entropy.fingerprint import Fingerprint
from tentpole.entropy.gom.fingerprint import GOM, compile_kernels
from tentpole.entropy.gradient_features import GradientFeatures
from tentpole.entropy.greedy import even_quota, greedy
from tentpole.entropy.mace_features import MaceFeatures
from tentpole.entropy.settings import FingerprintSettings, make_covariance, make_fingerprint
from tentpole.entropy.species import SpeciesCovariance
from tentpole.entropy.species_blocks import SpeciesBlocks

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
