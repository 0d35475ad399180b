"""The sphere around each atom: every atom and periodic image within the cutoff, the centre first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from tentpole.committee.neighbourhood import box_around, check_finite, check_neighbourhood
from tentpole.errors import InputError
from tentpole.records import FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spheres:
    """N spheres in one flat list of P members: those of centre c stand in start[c]:start[c + 1].

    start : (N + 1,) offsets. index : (P,) the atom each member is an image of.
    vector : (P, 3) member minus centre, Å. The first member of a sphere is the centre itself.
    """

    start: IntArray
    index: IntArray
    vector: FloatArray

    @property
    def sizes(self) -> IntArray:
        """(N,) how many members each sphere has, its centre included."""
        return np.diff(self.start)


def spheres(atoms: Atoms, cutoff: float) -> Spheres:
    """The spheres of every atom, in any cell: no, one, two or three periodic directions.

    Self-images are members where a cell is smaller than the cutoff, and atoms outside the cell count where
    they are.

    Raises
    ------
    InputError
        For a structure without atoms, or periodic along vectors that span no volume; UnusableGeometry, which is one,
        where positions or cell are not finite or absurd (see committee.neighbourhood).
    """
    positions = np.ascontiguousarray(atoms.positions, dtype=float)
    cell = np.array(atoms.cell.array, dtype=float)
    n = len(positions)
    if n == 0:
        raise InputError("a structure of 0 atoms has no fingerprint: give at least one atom.")
    check_finite(positions, cell)
    if atoms.pbc.any():
        _require_volume(cell[atoms.pbc], cell)
    box, origin = box_around(positions, cell, atoms.pbc, cutoff)
    check_neighbourhood(positions, box, atoms.pbc, cutoff)
    first, second, vector = neighbour_list(
        "ijD", positions=positions - origin, cell=box, pbc=atoms.pbc, cutoff=float(cutoff)
    )
    start = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(first, minlength=n) + 1, out=start[1:])
    neighbour = np.ones(start[-1], dtype=bool)
    neighbour[start[:-1]] = False
    index = np.empty(start[-1], dtype=np.int64)
    index[start[:-1]] = np.arange(n)
    index[neighbour] = second
    displacement = np.zeros((start[-1], 3))
    displacement[neighbour] = vector
    return Spheres(start, index, displacement)


def _require_volume(vectors: FloatArray, cell: FloatArray) -> None:
    gram = vectors @ vectors.T
    lengths = np.sqrt(np.diag(gram))
    if (lengths < 1e-6).any() or np.linalg.det(gram) < 1e-12 * np.prod(lengths) ** 2:
        raise InputError(
            f"a structure is periodic along cell vectors that span no volume: cell {cell.tolist()}. "
            "Set the cell, or set pbc to False along the open directions."
        )
