"""A committee over many structures: batches, failures, folders, species."""

import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from support.structures import ice, zundel
from tentpole.committee import Committee, energy_std, force_std, max_force_std
from tentpole.committee.committee_files import write_committee_file
from tentpole.errors import InputError
from tentpole.testing import tiny_committee
from tentpole.training.network_voter import members_in


def test_batched_equals_one_by_one(members):
    committee = Committee.load(members)
    frames = [zundel(1), ice(1), zundel(2), Atoms("O"), ice(2)]
    together = committee.evaluate(frames, stress=True)
    small = committee.evaluate(frames, stress=True, edges_per_batch=1)
    assert together.energies.shape == (4, 5)
    assert together.failed == [""] * 5
    np.testing.assert_allclose(together.energies, small.energies, rtol=1e-12)
    np.testing.assert_allclose(together.stresses, small.stresses, atol=1e-12)
    for k, atoms in enumerate(frames):
        assert together.forces[k].shape == (4, len(atoms), 3)
        np.testing.assert_allclose(together.forces[k], small.forces[k], atol=1e-12)
    assert np.isnan(together.stresses[:, 0]).all()  # nothing periodic: no stress
    assert np.isfinite(together.stresses[:, 1]).all()


def test_disagreement_is_that_of_the_members(members):
    prediction = Committee.load(members).evaluate([zundel(1), ice(3)])
    for k, atoms in enumerate((7, 6)):
        found = prediction.disagreement(k)
        assert found.energy_std == pytest.approx(energy_std(prediction.energies[:, k]))
        assert found.energy_std_per_atom == pytest.approx(found.energy_std / atoms)
        assert found.force_std == pytest.approx(force_std(prediction.forces[k]))
        assert found.force_std > 0
        assert found.max_force_std == pytest.approx(max_force_std(prediction.forces[k]))


def test_broken_frames_fail_with_a_reason_and_the_others_do_not(members):
    good, lost, empty, fused = zundel(1), zundel(2), Atoms(), zundel(3)
    lost.positions[2, 1] = np.nan
    fused.positions[1] = fused.positions[0]
    prediction = Committee.load(members).evaluate([good, lost, empty, fused])
    found = prediction.disagreements()
    assert found[0].failed == ""
    assert found[0].force_std > 0
    assert found[1].failed == "positions are not finite"
    assert found[2].failed == "no atoms"
    assert "not finite" in found[3].failed
    assert all(np.isnan(f.force_std) and np.isnan(f.energy_std) for f in found[1:])


def test_unknown_species_are_named(members):
    with pytest.raises(InputError, match=r"\[14\] are unknown to a model of \[1, 8\]"):
        Committee.load(members).evaluate([Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]])])


def test_forces_and_stress_are_derivatives_of_the_energy(members):
    committee = Committee.load(members)
    atoms, step = ice(4), 1e-5
    found = committee.evaluate([atoms], stress=True)

    def energies(displaced):
        return committee.evaluate([displaced]).energies[:, 0]

    for atom, axis in ((0, 0), (4, 2)):
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[atom, axis] += step
        minus.positions[atom, axis] -= step
        slope = (energies(plus) - energies(minus)) / (2 * step)
        np.testing.assert_allclose(found.forces[0][:, atom, axis], -slope, atol=1e-7)
    for voigt, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        sides = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            sides.append(energies(strained))
        slope = (sides[0] - sides[1]) / (2 * step) / atoms.get_volume()
        np.testing.assert_allclose(found.stresses[:, 0, voigt], slope, atol=1e-7)


def test_energies_of_float32_members_keep_their_digits(members):
    atoms = zundel(5)
    double = Committee.load(members).evaluate([atoms]).energies
    single = Committee.load(members, dtype="float32").evaluate([atoms]).energies
    np.testing.assert_allclose(single, double, atol=2e-6)


def test_a_campaign_folder_gives_its_newest_whole_round(tmp_path, members):
    for number, finished in (("r000", True), ("r001", True), ("r002", False)):
        folder = tmp_path / "models" / number
        folder.mkdir(parents=True)
        for k in range(2):
            for ending in (".json", ".safetensors"):
                shutil.copy(members / f"member-{k}{ending}", folder / f"member-{k}{ending}")
        if finished:
            write_committee_file(folder, ["member-1", "member-0"] if number == "r001" else ["member-0"])
    assert Committee.load(tmp_path).size == 2
    assert Committee.load(tmp_path / "models").size == 2
    assert Committee.load(tmp_path / "models" / "r000").size == 1
    expected = Committee.load([members / "member-1", members / "member-0.json"]).evaluate([zundel()])
    np.testing.assert_array_equal(Committee.load(tmp_path).evaluate([zundel()]).energies, expected.energies)


def test_a_folder_without_models_says_what_it_looked_for(tmp_path):
    with pytest.raises(InputError, match="no models in"):
        Committee.load(tmp_path)
    with pytest.raises(InputError, match="empty list"):
        Committee.load([])


def test_what_a_committee_knows(members):
    committee = Committee.load(members)
    assert (committee.size, committee.cutoff, committee.numbers) == (4, 4.0, (1, 8))


def test_images_within_the_cutoff_count_as_neighbours_of_their_own(tmp_path):
    """A cell whose heights are shorter than the cutoff is the crystal that a larger cell of it is."""
    committee = Committee.load(tiny_committee(tmp_path, [29], members=2, dtype="float64"), dtype="float64")
    one = bulk("Cu", a=3.4)
    many = one.repeat(3)
    for found in (committee, members_in(tmp_path, "float64", "own")):
        energies = found.evaluate([one, many], stress=True)
        assert energies.energies[:, 1] == pytest.approx(27 * energies.energies[:, 0], rel=1e-10)
        assert energies.stresses[:, 1] == pytest.approx(energies.stresses[:, 0], rel=1e-8, abs=1e-12)
