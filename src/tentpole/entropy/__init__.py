"""Fingerprints of atomic environments, their entropies, a bias that raises them, gains and greedy choice."""

from tentpole.entropy.bias import EntropyBias
from tentpole.entropy.covariance import Covariance
from tentpole.entropy.fingerprint import Fingerprint
from tentpole.entropy.gom.fingerprint import GOM, compile_kernels
from tentpole.entropy.greedy import even_quota, greedy
from tentpole.entropy.mace_features import MaceFeatures
from tentpole.entropy.species import SpeciesCovariance

__all__ = [
    "GOM",
    "Covariance",
    "EntropyBias",
    "Fingerprint",
    "MaceFeatures",
    "SpeciesCovariance",
    "compile_kernels",
    "even_quota",
    "greedy",
]
