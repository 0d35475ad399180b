"""Labelled files of any origin: stresses and virials are found, isolated atoms stay what they are."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from tentpole.storage.labelled import read_labelled

STRESS = np.array([[0.01, 0.002, -0.003], [0.002, 0.02, 0.004], [-0.003, 0.004, -0.05]])
VOIGT = [0.01, 0.02, -0.05, 0.004, -0.003, 0.002]


def copper(**info) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.info.update(REF_energy=-1.0, **info)
    atoms.arrays["REF_forces"] = np.zeros((4, 3))
    return atoms


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("REF_stress", VOIGT),
        ("REF_stress", STRESS.ravel()),
        ("dft_stress", STRESS),
        ("virial", -STRESS * 3.61**3),
        ("virials", -np.array(VOIGT) * 3.61**3),
    ],
)
def test_stress_is_found_under_any_key_and_sign(tmp_path: Path, key: str, value: np.ndarray) -> None:
    write(tmp_path / "labels.xyz", copper(**{key: np.asarray(value)}), format="extxyz")
    found = read_labelled(tmp_path / "labels.xyz")
    np.testing.assert_allclose(found.frames[0].info["REF_stress"], VOIGT, atol=1e-8)
    assert f"1 of them with stress from {key!r}" in found.report


def test_the_stress_that_ase_stores_with_energy_and_forces_is_kept(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((4, 3)), stress=np.array(VOIGT))
    write(tmp_path / "labels.xyz", atoms, format="extxyz")
    np.testing.assert_allclose(read_labelled(tmp_path / "labels.xyz").frames[0].info["REF_stress"], VOIGT, atol=1e-8)


def test_stress_without_periodicity_or_value_is_none(tmp_path: Path) -> None:
    molecule, unknown = copper(stress=STRESS), copper(REF_stress=np.full(6, np.nan))
    molecule.pbc = False
    write(tmp_path / "labels.xyz", [molecule, unknown], format="extxyz")
    found = read_labelled(tmp_path / "labels.xyz")
    assert all("REF_stress" not in atoms.info for atoms in found.frames)
    assert "with stress" not in found.report


def test_isolated_atoms_need_no_forces(tmp_path: Path) -> None:
    atom = Atoms("Cu", info={"REF_energy": -0.5, "config_type": "IsolatedAtom"})
    write(tmp_path / "labels.xyz", [copper(), atom], format="extxyz")
    found = read_labelled(tmp_path / "labels.xyz").frames[1]
    assert found.info["config_type"] == "IsolatedAtom"
    assert not found.arrays["REF_forces"].any()
