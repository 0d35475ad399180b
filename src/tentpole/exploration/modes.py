"""Structures displaced along their harmonic modes, as at a temperature: force constants and draws by phonopy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms

from tentpole.errors import InputError, optional_module
from tentpole.exploration.variants import EXTRA, Bounds, check_bounds
from tentpole.records import FloatArray

STEP_A = 0.01
"""Displacement of the finite differences, Å."""
SOFT_THZ = 1.0
"""Modes below this frequency are left out: rigid translations and rotations, and what is too soft to be harmonic."""
MOST_A = 0.5
"""Largest displacement of an atom, Å."""

Forces = Callable[[Atoms], FloatArray]


@dataclass(frozen=True, slots=True)
class NormalModes:
    """Displaced along the harmonic modes of the given cell as at a temperature, zero-point motion included (phonopy).

    kind : "modes".
    reference : the method whose forces make the force constants, by finite differences: a cheap one, or the campaign's.
    temperature_K : in K.
    copies : how many structures.
    """

    reference: str
    temperature_K: float = 300.0
    copies: int = 5
    kind: Literal["modes"] = "modes"

    BOUNDS: ClassVar[Bounds] = {"temperature_K": (0, 1e5), "copies": (1, 10**5)}

    def __post_init__(self) -> None:
        check_bounds(self, self.BOUNDS)

    def displaced(self, atoms: Atoms, forces: Forces, rng: np.random.Generator) -> list[Atoms]:
        """Structures as they would be met in the harmonic solid or molecule.

        Parameters
        ----------
        atoms : ase.Atoms
            At a minimum, or near one; it stays as it is.
        forces : callable
            Forces (N, 3) in eV/Å of a structure.
        rng : numpy.random.Generator
            Seeds the draws.

        Returns
        -------
        list of ase.Atoms
            `copies` of them.

        Raises
        ------
        InputError
            Where phonopy is missing, or `atoms` have fewer than two atoms.
        """
        if len(atoms) < 2:
            raise InputError(f'"modes" needs two atoms or more; {atoms.get_chemical_formula()} has {len(atoms)}')
        boxed = _boxed(atoms)
        solid = _phonopy(boxed)
        solid.generate_displacements(distance=STEP_A)
        solid.forces = np.array([forces(_moved(atoms, boxed, cell)) for cell in solid.supercells_with_displacements])
        solid.produce_force_constants()
        solid.symmetrize_force_constants()
        solid.generate_displacements(
            number_of_snapshots=self.copies,
            temperature=self.temperature_K,
            random_seed=int(rng.integers(2**31)),
            cutoff_frequency=SOFT_THZ,
            max_distance=MOST_A,
        )
        return [_moved(atoms, boxed, cell) for cell in solid.supercells_with_displacements]


def _phonopy(boxed: Atoms) -> Any:
    package = optional_module("phonopy", extra=EXTRA, needed_by="displacing along modes")
    structure = optional_module("phonopy.structure.atoms", extra=EXTRA, needed_by="displacing along modes")
    symbols = boxed.get_chemical_symbols()
    unit = structure.PhonopyAtoms(symbols=symbols, cell=boxed.cell.array, positions=boxed.positions)
    return package.Phonopy(unit, supercell_matrix=np.eye(3, dtype=int), primitive_matrix=np.eye(3), log_level=0)


def _boxed(atoms: Atoms) -> Atoms:
    """A copy in a cell: the atoms' own, with vacuum in the directions in which they are not periodic."""
    boxed = atoms.copy()
    if not atoms.pbc.all():
        boxed.center(vacuum=10.0, axis=[k for k in range(3) if not atoms.pbc[k]])
    return boxed


def _moved(atoms: Atoms, boxed: Atoms, displaced: Any) -> Atoms:
    """`atoms` with the displacements of phonopy's copy of `boxed`, which may have wrapped atoms into the cell."""
    scaled = boxed.cell.scaled_positions(displaced.positions - boxed.positions)
    new = atoms.copy()
    new.set_positions(atoms.positions + (scaled - np.round(scaled)) @ boxed.cell.array, apply_constraint=False)
    return new
