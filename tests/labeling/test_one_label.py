"""One label: found or computed, judged, written once, and its failures kept."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.errors import InputError, StateError
from tentpole.execution.ownership import is_in_use, own_folder
from tentpole.labeling import Reference, Task, compute, load
from tentpole.labeling.mock import morse
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import find_label, label_files, read_label, write_label

WATER = molecule("H2O")
COPPER = bulk("Cu", cubic=True)
COPPER.rattle(0.05, seed=1)


def variant(folder: Path, text: str) -> Reference:
    path = folder / "variant.toml"
    path.write_text('parent = "mock"\n' + text)
    return load(path)


def test_a_label_is_what_the_calculator_says(tmp_path: Path) -> None:
    task = Task(tmp_path, load("emt"), COPPER)
    outcome = compute(task)
    assert outcome.ok
    assert outcome.computed
    label = read_label(find_label(tmp_path, task.structure, task.reference.hash))
    atoms = COPPER.copy()
    atoms.calc = load("emt").calculator(atoms=COPPER)
    assert label.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(label.forces, atoms.get_forces())
    np.testing.assert_array_equal(label.stress, atoms.get_stress())
    assert label.name == outcome.name
    assert label.details["seconds"] > 0
    assert not any((tmp_path / "work").iterdir())


def test_a_label_that_is_there_is_not_computed_again(tmp_path: Path) -> None:
    task = Task(tmp_path, load("mock"), WATER)
    compute(task)
    path = find_label(tmp_path, task.structure, task.reference.hash)
    before = path.stat()
    again = compute(task)
    assert (again.ok, again.computed) == (True, False)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_what_atoms_carry_beside_their_structure_changes_no_label(tmp_path: Path) -> None:
    dressed = WATER.copy()
    dressed.set_initial_charges([1.0, 0, 0])
    dressed.set_initial_magnetic_moments([2.0, 0, 0])
    dressed.set_momenta(np.ones((3, 3)))
    pytest.importorskip("tblite")
    plain = compute(Task(tmp_path / "a", load("xtb"), WATER, 0, 1))
    other = compute(Task(tmp_path / "b", load("xtb"), dressed, 0, 1))
    energies = [read_label(next(label_files(tmp_path / folder))).energy for folder in ("a", "b")]
    assert plain.name == other.name
    assert energies[0] == energies[1]


def test_charge_and_spin_reach_xtb(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    energy = {}
    for charge, multiplicity in ((0, 1), (1, 2), (0, 3)):
        root = tmp_path / f"{charge}{multiplicity}"
        outcome = compute(Task(root, load("xtb"), WATER, charge, multiplicity))
        assert outcome.ok, outcome.message
        energy[charge, multiplicity] = read_label(next(label_files(root))).energy
    assert 10 < energy[1, 2] - energy[0, 1] < 25  # ionisation takes about 15 eV
    assert 2 < energy[0, 3] - energy[0, 1] < 20  # the triplet is an excited state


def test_the_gate_stops_a_structure_before_anything_is_spent(tmp_path: Path) -> None:
    squeezed = Atoms("H2", positions=[[0, 0, 0], [0.1, 0, 0]])
    outcome = compute(Task(tmp_path, variant(tmp_path, "[parameters]\nseconds = 60.0\n"), squeezed))
    assert (outcome.ok, outcome.reason) == (False, "too_close")
    assert outcome.seconds < 10
    reason = read_json(tmp_path / "quarantine" / outcome.name / "reason.json")
    assert "0.100 Å apart" in reason["message"]


def test_a_label_outside_the_gate_is_kept_out(tmp_path: Path) -> None:
    outcome = compute(Task(tmp_path, variant(tmp_path, "[accept]\nmax_force_eV_per_A = 0.01\n"), WATER))
    assert outcome.reason == "max_force"
    assert list(label_files(tmp_path)) == []


def test_a_crash_is_a_failed_label_that_says_what_happened(tmp_path: Path) -> None:
    outcome = compute(Task(tmp_path, load("emt"), bulk("W")))  # EMT knows no tungsten
    assert (outcome.ok, outcome.reason) == (False, "crashed")
    assert "W" in outcome.message


FAILING = "[parameters]\nunconverged_fraction = 1.0\n"


def test_a_retry_that_only_steers_gives_the_same_physics(tmp_path: Path) -> None:
    reference = variant(tmp_path, FAILING + '[[retry]]\nname = "patience"\nunconverged_fraction = 0.0\n')
    assert reference.hash == load("mock").hash
    assert compute(Task(tmp_path, reference, WATER)).ok
    label = read_label(next(label_files(tmp_path)))
    assert label.reference == reference.hash
    assert label.details["retry"] == "patience"
    assert label.details["settings"] == {"unconverged_fraction": 0.0}
    assert label.energy == morse(WATER, 1.0, 1.5, 5.0)["energy"]


OTHER = FAILING + '[[retry]]\nname = "softer"\nunconverged_fraction = 0.0\ndepth_eV = 0.9\n'


def test_a_retry_that_changes_the_physics_does_not_join_the_data(tmp_path: Path) -> None:
    reference = variant(tmp_path, OTHER)
    outcome = compute(Task(tmp_path, reference, WATER))
    assert (outcome.ok, outcome.reason) == (False, "other_physics")
    assert 'allow = ["softer"]' in outcome.message
    label = read_label(next(label_files(tmp_path)))
    assert label.reference != reference.hash
    again = compute(Task(tmp_path, reference, WATER))
    assert (again.reason, again.computed) == ("other_physics", False)  # nor is it paid for twice


def test_a_retry_allowed_by_name_joins_and_is_part_of_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "allowing.toml"
    path.write_text('parent = "mock"\nallow = ["softer"]\n' + OTHER)
    reference = load(path)
    assert reference.hash != load("mock").hash
    assert compute(Task(tmp_path, reference, WATER)).ok
    label = read_label(next(label_files(tmp_path)))
    assert label.reference == reference.hash
    assert label.details["retry"] == "softer"
    assert label.energy == pytest.approx(morse(WATER, 0.9, 1.5, 5.0)["energy"])


def test_a_ladder_that_helps_nobody_ends_in_quarantine(tmp_path: Path) -> None:
    reference = variant(tmp_path, FAILING + '[[retry]]\nname = "hope"\nseconds = 0.0\n')
    outcome = compute(Task(tmp_path, reference, WATER))
    assert outcome.reason == "unconverged"
    assert "as written: " in outcome.message
    assert "hope: " in outcome.message


def test_what_stops_every_label_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    path.write_text('calculator = "ase.calculators.nothing:X"\nproperties = ["energy", "forces"]\n')
    with pytest.raises(InputError, match=r"no module ase\.calculators\.nothing|cannot import"):
        compute(Task(tmp_path, load(path), WATER))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_stops_the_campaign(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="cannot be written"):
        compute(Task(tmp_path, load("mock"), WATER))


def test_a_file_in_the_way_stops_the_campaign(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("not a folder")
    with pytest.raises(StateError, match="cannot be written"):
        compute(Task(tmp_path, load("mock"), WATER))


def working_elsewhere(task: Task, process: subprocess.Popen[bytes]) -> Path:
    folder = own_folder(task.root / "work", task.name, process.pid)
    folder.mkdir(parents=True)
    return folder


def test_a_label_that_another_worker_is_at_is_waited_for(tmp_path: Path) -> None:
    task = Task(tmp_path / "here", load("mock"), WATER)
    compute(Task(tmp_path / "there", load("mock"), WATER))
    label = read_label(next(label_files(tmp_path / "there")))
    with subprocess.Popen(["sleep", "60"]) as other:
        working_elsewhere(task, other)
        threading.Timer(0.5, write_label, (task.root, label)).start()
        began = time.monotonic()
        outcome = compute(task)
        other.kill()
    assert (outcome.ok, outcome.computed) == (True, False)
    assert time.monotonic() - began >= 0.4


def test_a_label_whose_worker_died_is_computed_here(tmp_path: Path) -> None:
    task = Task(tmp_path, load("mock"), WATER)
    with subprocess.Popen(["sleep", "60"]) as other:
        working_elsewhere(task, other)
        other.kill()
        other.wait()
        outcome = compute(task)
    assert (outcome.ok, outcome.computed) == (True, True)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_pid_that_another_process_has_today_is_no_sign_of_life(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        folder = own_folder(tmp_path, "label", other.pid)
        folder.mkdir()
        assert is_in_use(folder)
        host, _, rest = folder.name.partition(".")
        assert not is_in_use(folder.rename(folder.with_name(f"{host}.1{rest}")))
        other.kill()


def test_a_worker_on_another_host_is_known_by_its_beat(tmp_path: Path) -> None:
    folder = tmp_path / "tmp-label-elsewhere-1"
    folder.mkdir()
    assert is_in_use(folder)
    os.utime(folder, (0, 0))
    assert not is_in_use(folder)
    (folder / "alive").touch()
    assert is_in_use(folder)
