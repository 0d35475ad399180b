"""Any fingerprint with a block of columns per species: row i stands in the columns of its own atom's species.

Radii tell species hardly apart where they are alike: 20 thermal frames of iron known, one frame of Fe-Co gains little
more than one more frame of iron. In blocks an environment of a species not seen before has directions to itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from tentpole.entropy.fingerprint import Fingerprint, Pullback
from tentpole.errors import InputError
from tentpole.records import FloatArray


@dataclass(frozen=True, slots=True)
class SpeciesBlocks:
    """A fingerprint whose rows are (0, …, q, …, 0), q in the block of the atom's species.

    Parameters
    ----------
    base : Fingerprint
        What gives q.
    species : tuple of int
        Atomic numbers, each a block of base.size columns, in this order.

    Raises
    ------
    InputError
        For no species, or one named twice; from the methods, for atoms of another species.
    """

    base: Fingerprint
    species: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.species or len(set(self.species)) < len(self.species):
            raise InputError(f"per_species needs the atomic numbers, each once, got {list(self.species)}.")

    @property
    def size(self) -> int:
        """Length of a row."""
        return self.base.size * len(self.species)

    def fingerprints(self, atoms: Atoms) -> FloatArray:
        """One row per atom.

        Parameters
        ----------
        atoms : Atoms

        Returns
        -------
        (N, size) array
        """
        return self._wide(self.base.fingerprints(atoms), self._block(atoms))

    def pullback(self, atoms: Atoms, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of a function Φ of the rows by positions and strain.

        Parameters
        ----------
        atoms : Atoms
        weights : (N, size) array
            ∂Φ/∂row.

        Returns
        -------
        gradient : (N, 3) array
            ∂Φ/∂r, in units of Φ per Å.
        strain : (3, 3) array
            ∂Φ/∂ε.
        """
        return self.base.pullback(atoms, self._narrow(weights, self._block(atoms)))

    def value_and_pullback(self, atoms: Atoms) -> tuple[FloatArray, Pullback]:
        """The rows, and a function that pulls weights back without computing the rows again.

        Parameters
        ----------
        atoms : Atoms

        Returns
        -------
        rows : (N, size) array
        pullback : function
            From weights (N, size) to what `pullback` returns.
        """
        block = self._block(atoms)
        rows, pulled = self.base.value_and_pullback(atoms)
        return self._wide(rows, block), lambda weights: pulled(self._narrow(weights, block))

    def _block(self, atoms: Atoms) -> np.ndarray:
        """(N,) which block each atom's row stands in."""
        place = {z: i for i, z in enumerate(self.species)}
        foreign = sorted(set(atoms.numbers.tolist()) - set(place))
        if foreign:
            raise InputError(
                f"no block for {', '.join(chemical_symbols[z] for z in foreign)}: these fingerprints have blocks for "
                f"{', '.join(chemical_symbols[z] for z in self.species)}."
            )
        return np.array([place[int(z)] for z in atoms.numbers], dtype=int)

    def _wide(self, rows: FloatArray, block: np.ndarray) -> FloatArray:
        wide = np.zeros((len(rows), len(self.species), self.base.size))
        wide[np.arange(len(rows)), block] = rows
        return wide.reshape(len(rows), -1)

    def _narrow(self, weights: FloatArray, block: np.ndarray) -> FloatArray:
        n = len(block)
        if np.shape(weights) != (n, self.size):
            raise ValueError(f"weights must have shape ({n}, {self.size}), got {np.shape(weights)}")
        blocks: FloatArray = np.asarray(weights, dtype=float).reshape(n, len(self.species), -1)
        return np.asarray(blocks[np.arange(n), block], dtype=float)
