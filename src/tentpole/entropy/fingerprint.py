"""What any fingerprint of atomic environments gives to an entropy: rows, and the pullback of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ase import Atoms

from tentpole.records import FloatArray

Pullback = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""weights (N, size) -> gradient (N, 3) in 1/Å, strain derivative (3, 3), of Φ with ∂Φ/∂row = weights."""


@runtime_checkable
class Fingerprint(Protocol):
    """One row per atom, invariant under translation, rotation and permutation of like atoms.

    `strain` is ∂Φ/∂ε for a homogeneous symmetric strain ε of positions and cell, symmetric, no division by
    the volume: ASE's stress of an energy Φ is strain / V.
    """

    @property
    def size(self) -> int:
        """Length of a row."""
        ...

    def fingerprints(self, atoms: Atoms) -> FloatArray:
        """One row per atom.

        Parameters
        ----------
        atoms : ase.Atoms

        Returns
        -------
        (N, size) array
        """
        ...

    def pullback(self, atoms: Atoms, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of a Φ of the rows.

        Parameters
        ----------
        atoms : ase.Atoms
        weights : (N, size) array
            ∂Φ/∂row.

        Returns
        -------
        gradient : (N, 3) array
            ∂Φ/∂r, 1/Å.
        strain : (3, 3) array
            ∂Φ/∂ε, symmetric.
        """
        ...

    def value_and_pullback(self, atoms: Atoms) -> tuple[FloatArray, Pullback]:
        """The rows, and a function that pulls weights back without computing the rows again.

        Parameters
        ----------
        atoms : ase.Atoms

        Returns
        -------
        rows : (N, size) array
            As `fingerprints` gives them.
        pullback : callable
            weights (N, size) to what `pullback` returns.
        """
        ...
