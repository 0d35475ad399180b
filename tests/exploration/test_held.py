"""Atoms that constraints hold in place: they stay, judge no motion, and have whole forces in labels."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian, FixCom
from ase.io import read

from tentpole import Committee, CommitteeCalculator, Covariance
from tentpole.entropy import GOM
from tentpole.exploration import NPT, Exploration, HealthLimits, advance, check, init_walker
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.exploration.held import moving
from tentpole.exploration.scoring import FrameScorer, score
from tentpole.labeling import references
from tentpole.labeling.single_point import single_point
from tentpole.records import Condition
from tentpole.testing import tiny_committee


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms(range(4)))
    return atoms


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def test_only_what_is_held_in_all_directions_does_not_move():
    atoms = slab()
    assert moving(atoms).tolist() == [False] * 4 + [True] * 8
    atoms.set_constraint([FixCom(), FixCartesian([5], mask=(1, 1, 1)), FixCartesian([6], mask=(0, 0, 1))])
    assert np.flatnonzero(~moving(atoms)).tolist() == [5]


def test_a_walker_leaves_held_atoms_where_they_are_in_one_run_or_two(tmp_path: Path):
    walker = init_walker("w00", Condition("slab", 300.0), slab(), np.random.default_rng(0))
    whole = advance(walker, EMT(), 6)
    write_exploration(tmp_path / "w.h5", Exploration(1, advance(walker, EMT(), 3)))
    again = advance(read_exploration(tmp_path / "w.h5").walker, EMT(), 3)
    assert (whole.atoms.positions[:4] == slab().positions[:4]).all()
    assert (whole.atoms.positions[4:] != slab().positions[4:]).all()
    assert (again.atoms.positions[:4] == slab().positions[:4]).all()
    assert again.atoms.positions == pytest.approx(whole.atoms.positions, abs=1e-12)  # EMT's neighbour list has a skin


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_under_a_barostat_held_atoms_keep_their_place_in_the_cell(cell):
    walker = init_walker("w00", Condition("Cu", 300.0, 2.0), crystal(), np.random.default_rng(0))
    moved = advance(walker, EMT(), 10, NPT(barostat_time_fs=50.0, cell=cell))
    assert moved.atoms.get_volume() != pytest.approx(crystal().get_volume(), rel=1e-6)
    before, after = (atoms.get_scaled_positions(wrap=False) for atoms in (crystal(), moved.atoms))
    assert after[0] == pytest.approx(before[0], abs=1e-10)
    assert abs(after[1] - before[1]).max() > 1e-4


def test_health_looks_at_what_moves():
    atoms = slab()
    forces = np.zeros((12, 3))
    forces[0, 0] = 99.0
    assert check(atoms, 0.0, forces, HealthLimits()) is None
    forces[5, 0] = 99.0
    assert check(atoms, 0.0, forces, HealthLimits()).reason == "force"
    atoms.set_constraint(FixAtoms(range(11)))  # the one atom that moves is 40 times too hot, all together are not
    atoms.set_momenta(np.zeros((12, 3)))
    momenta = np.zeros((12, 3))
    momenta[11] = np.sqrt(40 * 300.0 * 8.617333e-5 * atoms.get_masses()[11])
    atoms.set_momenta(momenta)
    assert check(atoms, 0.0, np.zeros((12, 3)), HealthLimits(), temperature_K=300.0).reason == "temperature"


def test_a_cell_whose_angles_change_too_much_is_unhealthy():
    atoms = bulk("Cu", cubic=True)
    angles = atoms.cell.angles()
    atoms.set_cell(atoms.cell.array @ np.array([[1, 1.2, 0], [0, 1, 0], [0, 0, 1]]), scale_atoms=True)
    wrong = check(atoms, 0.0, np.zeros((4, 3)), HealthLimits(), start_angles=angles)
    assert wrong.reason == "skewed cell"
    assert check(atoms, 0.0, np.zeros((4, 3)), HealthLimits(max_angle_change_deg=60.0), start_angles=angles) is None


def test_the_disagreement_of_a_frame_is_of_the_atoms_that_move(tmp_path: Path):
    committee = Committee.load(tiny_committee(tmp_path, numbers=(29,), members=2))
    atoms, free = slab(), slab()
    free.set_constraint()
    per_atom = np.asarray(CommitteeCalculator(committee).get_property("forces_std", atoms))
    scorer = FrameScorer(CommitteeCalculator(committee), GOM(4.0), Covariance())
    assert scorer(atoms).force_std == pytest.approx(per_atom[4:].mean(), rel=1e-9)
    assert scorer(free).force_std == pytest.approx(per_atom.mean(), rel=1e-9)
    held, whole = score([atoms, free], committee, GOM(4.0), None)
    assert held.max_force_std == pytest.approx(per_atom[4:].max(), rel=1e-6)
    assert whole.max_force_std == pytest.approx(per_atom.max(), rel=1e-6)
    atoms.set_constraint(FixAtoms(range(12)))
    assert score([atoms], committee, GOM(4.0), None)[0].failed == "no atom can move"


def test_no_force_on_a_held_atom_is_zeroed_in_a_label(tmp_path: Path):
    atoms, free = slab(), slab()
    free.set_constraint()
    free.calc = EMT()
    _, forces, _, _ = single_point(references.load("emt"), atoms, None, None, tmp_path / "label")
    assert forces == pytest.approx(free.get_forces(), abs=1e-10)
    assert abs(forces[:4]).max() > 0.1
    assert len(atoms.constraints) == 1


@pytest.mark.slow
def test_a_campaign_with_held_atoms_keeps_them_and_trains_on_whole_forces(tmp_path: Path):
    from ase.io import write

    from support.small_campaign import small_campaign
    from tentpole import Campaign

    path = small_campaign(tmp_path, stop={"rounds": 1}, explore={"steps": 10, "snapshot_every": 5, "ahead": True})
    write(tmp_path / "copper.xyz", crystal(), format="extxyz")
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    start = crystal().positions[0]
    for shard in (tmp_path / "run" / "snapshots").glob("*.h5"):
        for snapshot in read_exploration(shard).snapshots:
            assert snapshot.atoms.positions[0] == pytest.approx(start, abs=1e-7)  # of the digits in extended XYZ
    frames = read(next((tmp_path / "run" / "models" / "r001").glob("train.extxyz")), ":")
    assert all(abs(frame.arrays["REF_forces"][0]).max() > 0 for frame in frames)
    assert not any(frame.constraints for frame in frames)
