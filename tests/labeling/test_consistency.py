"""A method whose forces or stress do not belong to its energy is found out before anything is spent."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from tentpole.labeling.consistency import Finding, findings
from tentpole.records import Label, structure_hash


def label(atoms: Atoms, energy: float = 1.0, forces: float = 1.0, stress: float = 1.0) -> Label:
    """EMT's, each quantity times a factor."""
    moved = atoms.copy()
    moved.calc = EMT()
    periodic = bool(atoms.pbc.all())
    return Label(
        structure_hash(atoms),
        "emt",
        atoms,
        energy * moved.get_potential_energy(),
        forces * moved.get_forces(),
        stress * moved.get_stress() if periodic else None,
    )


def tried(atoms: Atoms, compute: Callable[[Atoms], Label | None]) -> dict[str, Finding]:
    first = compute(atoms)
    assert first is not None
    return {finding.what: finding for finding in findings(first, compute(atoms), compute)}


@pytest.fixture
def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=3)
    return atoms


def test_a_sound_method_passes(copper: Atoms) -> None:
    found = tried(copper, label)
    assert set(found) == {"repeatability", "forces", "stress"}
    assert all(finding.good and not finding.doubtful for finding in found.values()), found


def test_a_molecule_has_no_stress() -> None:
    atoms = molecule("H2O")
    atoms.rattle(0.02, seed=1)
    assert set(tried(atoms, label)) == {"repeatability", "forces"}


@pytest.mark.parametrize("factor", [-1.0, 23.06, 1 / 51.42, 0.0])
def test_forces_of_another_sign_or_unit_are_refused(copper: Atoms, factor: float) -> None:
    found = tried(copper, lambda atoms: label(atoms, forces=factor))
    assert not found["forces"].good
    assert "do not belong together" in found["forces"].words


def test_random_forces_are_refused_twice(copper: Atoms) -> None:
    rng = np.random.default_rng(0)

    def at_random(atoms: Atoms) -> Label:
        return replace(label(atoms), forces=rng.normal(size=(len(atoms), 3)))

    found = tried(copper, at_random)
    assert not found["repeatability"].good
    assert not found["forces"].good


@pytest.mark.parametrize("factor", [-1.0, 160.2, 0.0])
def test_stress_of_another_sign_or_unit_is_doubted(copper: Atoms, factor: float) -> None:
    found = tried(copper, lambda atoms: label(atoms, stress=factor))
    assert found["forces"].good
    assert found["stress"].doubtful
    assert found["stress"].good


def test_the_noise_of_incomplete_convergence_passes(copper: Atoms) -> None:
    rng = np.random.default_rng(0)

    def noisy(atoms: Atoms) -> Label:
        made = label(atoms)
        return replace(made, energy=made.energy + 2e-5 * rng.normal(), forces=made.forces + 1e-3 * rng.normal())

    assert all(finding.good and not finding.doubtful for finding in tried(copper, noisy).values())


def test_displaced_structures_without_a_label_leave_a_doubt(copper: Atoms) -> None:
    found = list(findings(label(copper), None, lambda atoms: None))
    assert [finding.doubtful for finding in found] == [True, True]
