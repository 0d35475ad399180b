"""Fingerprints of atomic environments, their entropies, a bias that raises them, gains and greedy choice."""

from tentpole.entropy.bias import EntropyBias
from tentpole.entropy.covariance import Covariance
from tentpole.entropy.fingerprint import Fingerprint
from tentpole.entropy.gom import GOM
from tentpole.entropy.greedy import even_quota, greedy

__all__ = ["GOM", "Covariance", "EntropyBias", "Fingerprint", "even_quota", "greedy"]
