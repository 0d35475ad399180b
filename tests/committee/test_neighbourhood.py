"""What no neighbour list is built for, said at once and with its numbers; what is, is let through."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from tentpole.committee.graph import edges_within
from tentpole.committee.neighbourhood import UnusableGeometry, check_extent
from tentpole.entropy import GOM


def moved(atoms: Atoms, value: float) -> Atoms:
    atoms.positions[-1, 0] = value
    return atoms


@pytest.mark.parametrize("search", [lambda a: edges_within(a, 5.0), GOM(5.0, n_max=4).fingerprints])
@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (moved(molecule("H2O"), np.nan), r"atoms \[2\] of 3 atoms are not"),
        (moved(bulk("Cu", cubic=True), np.inf), r"atoms \[3\] of 4"),
        (moved(molecule("H2O"), 1e8), r"1e\+08 Å apart"),
        (moved(bulk("Cu", cubic=True), -1e8), "Å apart"),
        (Atoms("H", cell=[0.05] * 3, pbc=True), r"4188790 neighbours per atom within 5 Å \(1 atoms"),
        (Atoms("H", cell=[20, 20, 1e-3], pbc=True), "neighbours per atom"),
        (Atoms("H", cell=[1e7, 5, 5], pbc=True), r"1e\+07 Å long"),
        (Atoms("H", cell=[np.nan, 5, 5], pbc=True), "the cell of 1 atoms"),
        (Atoms("H", cell=[5e3] * 3, pbc=True), "times the cutoff"),
    ],
)
def test_an_absurd_structure_is_refused(search, atoms, message):
    with pytest.raises(UnusableGeometry, match=message):
        search(atoms)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("C"),
        bulk("Cu", cubic=True) * (3, 3, 3),
        Atoms("H", cell=[1.0, 1.0, 1.0], pbc=True),
        fcc111("Al", (2, 2, 3), vacuum=40.0),
        molecule("C60"),
        moved(molecule("H2O"), 300.0),
    ],
    ids=["diamond", "copper", "dense", "slab", "C60", "dissociated"],
)
def test_what_makes_sense_is_let_through(atoms):
    assert len(GOM(5.0, n_max=4).fingerprints(atoms)) == len(atoms)
    edges_within(atoms, 6.0)


def test_a_flat_cell_is_refused_before_anything_searches_it():
    atoms = Atoms("H", cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]], pbc=True)
    with pytest.raises(UnusableGeometry, match="is flat"):
        check_extent(atoms.positions, atoms.cell.array, atoms.pbc)
