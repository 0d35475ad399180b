"""The neighbour search agrees with ASE's in every kind of cell, and holds each centre first."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.entropy.gom.spheres import spheres


def sheared():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1, 0.9, 0], [0, 1, 1.2], [0, 0, 1]], scale_atoms=True)
    return atoms


def outside(atoms, shift):
    atoms = atoms.copy()
    atoms.positions += shift
    atoms.positions[0] += 3 * atoms.cell.array[0]
    return atoms


def slab_without_height():
    atoms = fcc111("Al", (1, 1, 3))
    atoms.cell[2] = 0.0
    atoms.pbc = [True, True, False]
    return atoms


def left_handed():
    atoms = bulk("Si")
    atoms.set_cell(-atoms.cell.array, scale_atoms=True)
    return atoms


CASES = {
    "molecule without a cell": lambda: molecule("CH3OH"),
    "far atom of a molecule": lambda: Atoms("H3", [[0, 0, 0], [1, 0, 0], [400, 1, 0]]),
    "atom alone": lambda: Atoms("H"),
    "two atoms at one place": lambda: Atoms("H2", [[0, 0, 0], [0, 0, 0]]),
    "molecule in an open box, outside it": lambda: outside(
        Atoms("CO", [[0, 0, 0], [1.1, 0, 0]], cell=[6, 6, 6]), [20, 0, -9]
    ),
    "primitive cell smaller than the cutoff": lambda: bulk("Si"),
    "atoms outside the cell": lambda: outside(bulk("Si"), [21.3, -17, 5]),
    "sheared cell": sheared,
    "elongated cell": lambda: bulk("Cu", cubic=True).repeat((6, 1, 1)),
    "slab": lambda: fcc111("Al", (1, 1, 3), vacuum=6.0),
    "slab without a third vector": slab_without_height,
    "chain with one vector": lambda: Atoms(
        "C2", [[0, 0, 0], [1.2, 0.3, 0]], cell=[2.5, 0, 0], pbc=[True, False, False]
    ),
    "chain along the third axis": lambda: Atoms(
        "C2", [[0, 0, 0], [0.3, 0.3, 1]], cell=[0, 0, 2.5], pbc=[False, False, True]
    ),
    "left-handed cell": left_handed,
}


def as_set(i, j, vector):
    return sorted((int(a), int(b), *np.round(v, 7) + 0.0) for a, b, v in zip(i, j, vector, strict=True))


def check(atoms, cutoff):
    found = spheres(atoms, cutoff)
    assert np.array_equal(found.index[found.start[:-1]], np.arange(len(atoms)))
    assert not found.vector[found.start[:-1]].any()
    neighbour = np.ones(len(found.index), dtype=bool)
    neighbour[found.start[:-1]] = False
    centre = np.repeat(np.arange(len(atoms)), found.sizes)
    i, j, vector = neighbor_list("ijD", atoms, cutoff)
    ours = as_set(centre[neighbour], found.index[neighbour], found.vector[neighbour])
    assert len(ours) == len(i)
    assert np.allclose(np.array(ours).reshape(-1, 5), np.array(as_set(i, j, vector)).reshape(-1, 5), atol=1e-6)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("cutoff", [2.9, 5.3])
def test_the_same_neighbours_as_ase(make, cutoff):
    check(make(), cutoff)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_same_neighbours_as_ase_in_random_cells(seed, n, pbc):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(1.5, 8, 3) + rng.uniform(-1.2, 1.2, (3, 3)) * rng.integers(0, 2)
    if abs(np.linalg.det(cell)) < 2.0:
        cell = np.eye(3) * 3
    check(Atoms(f"H{n}", rng.uniform(-9, 9, (n, 3)), cell=cell, pbc=pbc), 3.7)
