"""Gaussian-overlap fingerprints; the other modules are private to them."""

from tentpole.entropy.gom.fingerprint import GOM, compile_kernels

__all__ = ["GOM", "compile_kernels"]
