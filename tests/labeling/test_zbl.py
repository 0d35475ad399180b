"""ZBL repulsion: mace's own values, derivatives that are its own, nothing at a bond's length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.data import covalent_radii

from tentpole.committee.mace_architecture import mace
from tentpole.labeling import load
from tentpole.labeling.zbl import ZBL, repulsion


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=3.4) * (2, 1, 1)])
def test_forces_and_stress_are_the_energys_derivatives(atoms: Atoms) -> None:
    atoms = atoms.copy()
    atoms.rattle(0.2, seed=2)
    atoms.calc = ZBL(reach=1.3)
    assert atoms.get_potential_energy() > 1.0
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-5), rtol=1e-6, atol=1e-6)
    if atoms.pbc.all():
        np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-6), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("symbols", ["HH", "CO", "CuAu"])
def test_energies_are_those_of_maces_zbl_with_the_published_screening_length(symbols: str) -> None:
    pair = Atoms(symbols)
    basis = mace("modules.radial").ZBLBasis(p=6)
    basis.a_exp, basis.a_prefactor = torch.tensor(0.23), torch.tensor(0.8854)
    numbers = torch.tensor(sorted(set(pair.numbers.tolist())))
    attributes = (torch.tensor(pair.numbers)[:, None] == numbers).float()
    limit = covalent_radii[pair.numbers].sum()
    for r in (0.05, 0.2, 0.5 * limit, 0.9 * limit, 1.01 * limit):
        pair.positions[1, 0] = r
        edges = torch.tensor([[0, 1], [1, 0]])
        theirs = basis(torch.tensor([[r], [r]]), attributes, edges, numbers).sum()
        assert repulsion(pair)["energy"] == pytest.approx(float(theirs), rel=2e-3, abs=1e-6)


def test_it_adds_next_to_nothing_to_atoms_at_their_usual_distances_and_stays_finite_on_top_of_each_other() -> None:
    assert 0.0 < repulsion(bulk("Cu"))["energy"] < 0.02
    assert repulsion(bulk("Cu", a=3.8))["energy"] == 0.0
    assert 0.0 <= repulsion(molecule("H2O"))["energy"] < 1e-3
    assert repulsion(Atoms("H"))["energy"] == 0.0
    assert np.isfinite(repulsion(Atoms("Cu2", [[0, 0, 0], [0, 0, 1e-12]]))["forces"]).all()


def test_its_reference_labels_any_elements() -> None:
    reference = load("zbl")
    assert reference.hash == load("zbl", ["Cu"]).hash
    pair = Atoms("AuH", [[0, 0, 0], [0, 0, 1.0]])
    pair.calc = reference.calculator(atoms=pair)
    assert pair.get_forces()[0, 2] < 0 < pair.get_potential_energy()
