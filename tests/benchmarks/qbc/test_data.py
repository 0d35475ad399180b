"""Labelled sets of any origin: keys, gaps, twins, splits."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from support.paths import SHARED
from tentpole.benchmarks.qbc import split
from tentpole.errors import InputError
from tentpole.storage.duplicates import duplicate_of
from tentpole.storage.labelled import read_labelled

ZUNDEL = SHARED / "data" / "zundel" / "zundel_dft_1000.extxyz"


def molecules(n, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = Atoms("OCu2", positions=rng.uniform(0, 3, (3, 3)))
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return frames


def test_keys_are_found_wherever_ase_put_them(tmp_path):
    frames = molecules(3)
    write(tmp_path / "ase.xyz", frames, format="extxyz")
    found = read_labelled(tmp_path / "ase.xyz")
    assert "energy 'energy'" in found.report
    assert found.frames[1].info["REF_energy"] == pytest.approx(frames[1].get_potential_energy())
    np.testing.assert_allclose(found.frames[1].arrays["REF_forces"], frames[1].get_forces(), atol=1e-7)
    for atoms in frames:
        atoms.info["my_e"], atoms.arrays["my_f"] = 1.5, np.ones((3, 3))
        atoms.calc = None
    write(tmp_path / "own.xyz", frames, format="extxyz")
    with pytest.raises(InputError, match=r"no energy under any of .*my_e"):
        read_labelled(tmp_path / "own.xyz")
    named = read_labelled(tmp_path / "own.xyz", energy_key="my_e", forces_key="my_f")
    assert named.frames[0].info["REF_energy"] == 1.5


def test_frames_without_labels_are_refused_or_left_out_and_said(tmp_path):
    frames = molecules(4)
    frames[2].calc = None
    write(tmp_path / "gap.xyz", frames, format="extxyz")
    with pytest.raises(InputError, match=r"1 of 4 frames .* the first is frame 2"):
        read_labelled(tmp_path / "gap.xyz")
    found = read_labelled(tmp_path / "gap.xyz", missing="skip")
    assert found.indices == [0, 1, 3]
    assert "1 without both left out" in found.report


def test_rotated_shifted_mirrored_and_reordered_copies_are_twins():
    rng = np.random.default_rng(1)
    frames = molecules(3)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = frames[1].copy()
    turned.positions = frames[1].positions @ rotation + 5.0
    swapped = frames[0][[0, 2, 1]]
    near = frames[2].copy()
    near.positions[0] += 0.05
    assert duplicate_of([*frames, turned, swapped, near]).tolist() == [0, 1, 2, 1, 0, 5]
    other = frames[0].copy()
    other.numbers[1] = 47
    assert duplicate_of([frames[0], other]).tolist() == [0, 1]


def test_a_split_has_no_twins_across_its_parts():
    frames = molecules(40)
    copies = [atoms.copy() for atoms in frames[:15]]
    for atoms in copies:
        atoms.rotate(90, "z")
    parts = split(frames + copies, initial=5, valid=4, test=8, seed=3)
    assert parts.left_out == 15
    together = parts.initial + parts.valid + parts.test + parts.pool
    assert sorted(together) == list(range(40))
    assert (len(parts.initial), len(parts.valid), len(parts.test)) == (5, 4, 8)
    assert split(frames, initial=5, valid=4, test=8, seed=3) == split(frames, initial=5, valid=4, test=8, seed=3)
    with pytest.raises(InputError, match="40 different frames cannot give"):
        split(frames + copies, initial=20, valid=10, test=10, seed=0)


@pytest.mark.skipif(not ZUNDEL.is_file(), reason="the Zundel set lies beside a checkout only")
def test_the_zundel_set_reads_and_its_frames_are_counted():
    found = read_labelled(ZUNDEL)
    assert len(found.frames) == 1000
    assert "REF_energy" in found.report
