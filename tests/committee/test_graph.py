"""Neighbour lists: complete, sorted, and reused only while that is right."""

import itertools

import numpy as np
import pytest
from ase import Atoms

from tentpole.committee.graph import Edges, Neighbours, collate, edges_within, graph_of
from tentpole.errors import InputError


def brute_force(atoms, cutoff, shells=7):
    cell, found = atoms.cell.complete().array, set()
    for shift in itertools.product(*[range(-shells, shells + 1) if p else (0,) for p in atoms.pbc]):
        away = atoms.positions[None] + np.array(shift) @ cell - atoms.positions[:, None]
        for i, j in zip(*np.nonzero(np.linalg.norm(away, axis=-1) < cutoff), strict=True):
            if i != j or any(shift):
                found.add((int(i), int(j), *shift))
    return sorted(found)


def listed(edges: Edges):
    return list(zip(edges.i.tolist(), edges.j.tolist(), *edges.shifts.T.tolist(), strict=True))


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_every_pair_once_in_order_for_any_periodicity(pbc):
    rng = np.random.default_rng(3)
    cell = [[4.0, 0, 0], [2.0, 3.5, 0], [1.0, 1.0, 5.0]]
    atoms = Atoms("H5", positions=rng.uniform(-3, 6, (5, 3)), cell=cell, pbc=pbc)
    assert listed(edges_within(atoms, 4.5)) == brute_force(atoms, 4.5)


def test_a_molecule_far_from_the_origin_keeps_its_edges_and_has_no_shifts():
    atoms = Atoms("OH2", [[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]])
    near = listed(edges_within(atoms, 3.0))
    for place in ([10.4, -12.8, 2.1], [-1e3, 0.2, 700.0]):
        far = atoms.copy()
        far.positions += place
        assert listed(edges_within(far, 3.0)) == near == [(i, j, 0, 0, 0) for i in range(3) for j in range(3) if i != j]


def test_one_atom_alone_has_no_edges():
    assert listed(edges_within(Atoms("H"), 5.0)) == []


def test_the_list_is_reused_within_half_the_skin_and_gives_the_same_edges_in_the_same_order():
    rng = np.random.default_rng(4)
    atoms = Atoms("H20", positions=rng.uniform(0, 7, (20, 3)), cell=[7, 7, 7], pbc=True)
    neighbours = Neighbours(3.0, skin=0.5)
    neighbours(atoms)
    for _ in range(3):
        atoms.positions += rng.uniform(-0.04, 0.04, (20, 3))
        assert listed(neighbours(atoms)) == listed(edges_within(atoms, 3.0))
    assert neighbours.builds == 1
    atoms.positions[7] += 0.3
    assert listed(neighbours(atoms)) == listed(edges_within(atoms, 3.0))
    assert neighbours.builds == 2


@pytest.mark.parametrize("change", ["cell", "pbc", "species", "number"])
def test_another_cell_or_species_makes_a_new_list(change):
    atoms = Atoms("H4", positions=np.random.default_rng(5).uniform(0, 4, (4, 3)), cell=[4, 4, 4], pbc=True)
    neighbours = Neighbours(3.0)
    neighbours(atoms)
    if change == "cell":
        atoms.set_cell(1.01 * atoms.cell.array)
    elif change == "pbc":
        atoms.pbc = [True, True, False]
    elif change == "species":
        atoms.numbers[0] = 8
    else:
        atoms += Atoms("H", positions=[[1, 1, 1]])
    assert listed(neighbours(atoms)) == listed(edges_within(atoms, 3.0))
    assert neighbours.builds == 2


def test_collated_graphs_keep_their_edges_apart():
    one, two = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]]), Atoms("OH", positions=[[0, 0, 0], [0, 1, 0]])
    both = collate([graph_of(a, edges_within(a, 2.0)) for a in (one, two)])
    assert listed(both.edges) == [(0, 1, 0, 0, 0), (1, 0, 0, 0, 0), (2, 3, 0, 0, 0), (3, 2, 0, 0, 0)]
    assert both.starts.tolist() == [0, 2, 4]


def test_a_periodic_flat_cell_is_refused():
    with pytest.raises(InputError, match="without volume"):
        edges_within(Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True), 3.0)
