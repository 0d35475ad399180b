"""Quantum ESPRESSO: what is written, and, where pw.x is installed, real labels of a crystal and a molecule."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule

from tentpole.errors import InputError
from tentpole.labeling import Reference, Task, compute, load
from tentpole.labeling.codes.espresso import Espresso
from tentpole.storage.labels import find_label, read_label

pytestmark = pytest.mark.slow

PSEUDO = Path("/usr/share/espresso/pseudo")  # where Debian's quantum-espresso-data puts them
real = pytest.mark.skipif(shutil.which("pw.x") is None or not PSEUDO.is_dir(), reason="pw.x is not installed")

CHEAP = """
[parameters]
k_spacing_per_A = 1.2
[parameters.input_data.system]
ecutwfc = 20.0
ecutrho = 160.0
[parameters.input_data.electrons]
conv_thr = 1e-8
"""


def cheap(folder: Path, parent: str, more: str = "") -> Path:
    path = folder / f"cheap-{parent}.toml"
    path.write_text(f'parent = "{parent}"\n{CHEAP}{more}')
    return path


@pytest.fixture
def espresso(machine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in a worker; idle threads spin, and slow small cells tenfold
    machine.configure(f"[espresso]\ncommand = pw.x\npseudo_dir = {PSEUDO}\n")
    return machine


def done(root: Path, reference: Reference, *task: Any) -> Any:
    outcome = compute(Task(root, reference, *task))
    assert outcome.ok, outcome.message
    return read_label(find_label(root, *outcome.name.split("-")))


def test_charge_spin_k_points_and_box_are_as_stated(tmp_path: Path) -> None:
    reference = load("espresso-molecule")
    setup = reference.setup(molecule("H2O"), 1, 2, tmp_path)
    system = setup.keywords["input_data"]["system"]
    assert system["tot_charge"] == 1
    assert (system["nspin"], system["tot_magnetization"]) == (2, 1)
    assert system["assume_isolated"] == "mt"
    assert setup.keywords["kpts"] is None
    assert setup.atoms.cell.lengths() == pytest.approx([12, 12, 12])
    assert setup.keywords["input_data"]["control"]["tstress"] is False
    closed = reference.setup(molecule("H2O"), 0, 1, tmp_path).keywords["input_data"]["system"]
    assert closed["nspin"] == 1
    silicon = bulk("Si", cubic=True)
    crystal = load("espresso").setup(silicon, 0, None, tmp_path)
    assert crystal.keywords["kpts"] == (5, 5, 5)
    assert crystal.keywords["input_data"]["control"]["tstress"] is True
    assert "nspin" not in crystal.keywords["input_data"]["system"]  # as the reference says, here not at all
    assert "tot_charge" not in reference.parameters["input_data"]["system"]  # the reference itself is untouched


def test_an_element_without_a_pseudopotential_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pseudopotential for U") as error:
        load("espresso").setup(bulk("U", "bcc", a=3.5), 0, None, tmp_path)
    assert "[parameters.pseudopotentials]: U =" in str(error.value)


def test_an_unconfigured_machine_says_which_lines_to_add(machine: Any) -> None:
    assert Espresso().configuration("").missing == ("[espresso] command", "[espresso] pseudo_dir")
    with pytest.raises(InputError, match=r"\[espresso\]\ncommand"):
        _ = load("espresso", elements=("Si",)).hash


@real
@pytest.mark.real
def test_silicon_forces_are_the_energys_derivative(espresso: Any, tmp_path: Path) -> None:
    reference = load(cheap(tmp_path, "espresso"), elements=("Si",))
    silicon = bulk("Si")
    silicon.positions[0, 0] += 0.1
    label = done(tmp_path, reference, silicon, 0)
    step = 0.01
    energies = []
    for sign in (1, -1):
        moved = silicon.copy()
        moved.positions[0, 0] += sign * step
        energies.append(done(tmp_path, reference, moved, 0).energy)
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert label.forces[0, 0] == pytest.approx(slope, abs=0.01)
    assert abs(label.forces[0, 0]) > 0.3
    assert np.abs(label.forces.sum(axis=0)).max() < 0.05
    assert label.stress is not None
    assert label.details["version"] == reference.identity["version"]
    assert label.details["scf_steps"] > 2


@real
@pytest.mark.real
def test_a_scf_that_runs_out_of_steps_is_a_failed_label_and_the_ladder_mends_it(espresso: Any, tmp_path: Path) -> None:
    impatient = "electron_maxstep = 2\n"
    text = cheap(tmp_path, "espresso", impatient).read_text()
    mending = tmp_path / "mending.toml"
    mending.write_text(text + '[[retry]]\nname = "patience"\ninput_data.electrons.electron_maxstep = 60\n')
    hopeless = tmp_path / "hopeless.toml"
    hopeless.write_text(text + '[[retry]]\nname = "none"\ninput_data.electrons.electron_maxstep = 3\n')
    silicon = bulk("Si")
    silicon.positions[0, 0] += 0.1
    label = done(tmp_path / "mending", load(mending, elements=("Si",)), silicon, 0)
    assert label.details["retry"] == "patience"
    assert "did not converge in 2 steps" in label.details["failures"][0]
    outcome = compute(Task(tmp_path / "hopeless", load(hopeless, elements=("Si",)), silicon, 0))
    assert (outcome.ok, outcome.reason) == (False, "unconverged")
    output = tmp_path / "hopeless" / "quarantine" / outcome.name / "espresso.pwo"
    assert "convergence NOT achieved" in output.read_text()


@real
@pytest.mark.real
def test_a_water_molecule_in_its_box(espresso: Any, tmp_path: Path) -> None:
    small = '\n[parameters.input_data.control]\nverbosity = "low"\n'
    path = tmp_path / "small.toml"
    text = CHEAP.replace("k_spacing_per_A = 1.2", "box_A = 7.8")
    path.write_text(f'parent = "espresso-molecule"\n{text}{small}')
    label = done(tmp_path, load(path, elements=("H", "O")), molecule("H2O"), 0, 1)
    assert label.stress is None
    assert np.abs(label.forces).max() < 3
    assert label.forces[1] == pytest.approx(label.forces[2] * [1, -1, 1], abs=0.02)  # its mirror plane
