"""FHI-aims, all the way: inputs as written, a program that reads them, its output judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.errors import InputError
from tentpole.execution.local import local
from tentpole.labeling import Task, compute, label_all, load
from tentpole.labeling.codes.aims import Aims
from tentpole.labeling.mock import morse
from tentpole.storage.labels import find_label, read_label

# ASE announces that its FHI-aims formats move to a plug-in
pytestmark = pytest.mark.filterwarnings("ignore:FHI-aims IO is moving:FutureWarning")

WATER = molecule("H2O")
SILICON = bulk("Si", cubic=True)
SILICON.rattle(0.05, seed=3)


def label(root: Path, name: str, atoms: Atoms, charge: int | None = 0, multiplicity: int | None = None) -> Any:
    reference = load(name, elements=atoms.get_chemical_symbols())
    outcome = compute(Task(root, reference, atoms, charge, multiplicity))
    path = find_label(root, *outcome.name.split("-"))
    return outcome, read_label(path) if path else None


def test_a_crystal_is_labelled_from_its_own_inputs(aims: Any, tmp_path: Path) -> None:
    outcome, made = label(tmp_path, "aims", SILICON)
    assert outcome.ok, outcome.message
    expected = morse(SILICON, 1.0, 1.5, 5.0)
    assert made.energy == pytest.approx(expected["energy"], abs=1e-8)
    np.testing.assert_allclose(made.forces, expected["forces"], atol=1e-8)
    np.testing.assert_allclose(made.stress, expected["stress"], atol=1e-7)
    assert made.details["version"] == "240507"
    words = aims.seen["words"]
    assert words["xc"] == ["pbe"]
    assert words["k_grid"] == ["5", "5", "5"]  # ⌈2π/5.43/0.25⌉
    assert float(words["charge"][0]) == 0
    assert words["relativistic"] == ["atomic_zora", "scalar"]
    assert words["vdw_correction_hirshfeld"] == []
    assert words["compute_analytical_stress"] == [".true."]


@pytest.mark.slow
def test_a_charged_radical_has_its_charge_and_spin_in_control_in(aims: Any, tmp_path: Path) -> None:
    outcome, made = label(tmp_path, "aims", WATER, charge=1, multiplicity=2)
    assert outcome.ok, outcome.message
    words = aims.seen["words"]
    assert float(words["charge"][0]) == 1
    assert words["spin"] == ["collinear"]
    assert float(words["fixed_spin_moment"][0]) == 1
    assert "default_initial_moment" in words
    assert "k_grid" not in words
    assert "compute_analytical_stress" not in words
    assert aims.seen["electrons"] == 9
    assert made.stress is None
    np.testing.assert_allclose(made.forces, morse(WATER, 1.0, 1.5, 5.0)["forces"], atol=1e-8)


@pytest.mark.slow
def test_a_closed_shell_says_so(aims: Any, tmp_path: Path) -> None:
    outcome, _ = label(tmp_path, "aims-rpbe-d3", WATER, charge=0, multiplicity=1)
    assert outcome.ok, outcome.message
    words = aims.seen["words"]
    assert words["spin"] == ["none"]
    assert words["xc"] == ["rpbe"]
    assert words["d3"] == []
    assert "vdw_correction_hirshfeld" not in words


@pytest.mark.slow
@pytest.mark.parametrize(("how", "reason"), [("killed", "truncated"), ("truncated", "truncated")])
def test_every_bad_end_is_a_failed_label_with_its_output(aims: Any, tmp_path: Path, how: str, reason: str) -> None:
    aims.ends(how)
    outcome, made = label(tmp_path, "aims", WATER, 0, 1)
    assert made is None
    assert outcome.reason == reason
    folder = tmp_path / "quarantine" / outcome.name
    assert "Begin self-consistency" in (folder / "aims.out").read_text()
    assert "species" in (folder / "control.in").read_text()


@pytest.mark.slow
def test_an_unconverged_scf_climbs_the_ladder(aims: Any, tmp_path: Path) -> None:
    aims.ends("unconverged")
    outcome, made = label(tmp_path, "aims", WATER, 0, 1)
    assert outcome.ok, outcome.message
    assert made.details["retry"] == "gentle mixing"
    assert "did not converge in 200 steps" in made.details["failures"][0]


def test_the_hash_knows_level_and_files_and_program(aims: Any) -> None:
    reference = load("aims", elements=("H", "O"))
    assert reference.identity["version"] == "240507"
    path = aims.folder / "species_defaults" / "defaults_2020" / "intermediate" / "01_H_default"
    path.write_text(path.read_text() + "     hydro 3 p 4.8\n")
    assert load("aims", elements=("H", "O")).hash != reference.hash
    with pytest.raises(InputError, match="no species default"):
        _ = load("aims", elements=("U",)).hash


def test_a_level_that_is_not_there_is_refused(aims: Any, tmp_path: Path) -> None:
    own = tmp_path / "tight.toml"
    own.write_text('parent = "aims"\n[parameters]\nspecies_defaults = "defaults_2020/tight"\n')
    with pytest.raises(InputError, match="defaults_2020/tight"):
        load(own).setup(WATER, 0, 1, tmp_path)


def test_an_unconfigured_machine_says_which_lines_to_add(machine: Any) -> None:
    with pytest.raises(InputError, match=r"\[aims\]\ncommand = "):
        _ = load("aims", elements=("H",)).hash
    assert Aims().configuration("").missing == ("[aims] command", "[aims] default_species_directory")


@pytest.mark.slow
def test_worker_processes_run_the_program_too(aims: Any, tmp_path: Path) -> None:
    reference = load("aims", elements=("H", "O"))
    frames = []
    for seed in range(3):
        frame = WATER.copy()
        frame.rattle(0.02, seed=seed)
        frames.append(frame)
    with local(2, time_limit_s=60) as executor:
        outcomes = list(label_all([Task(tmp_path, reference, a, 0, 1) for a in frames], executor))
    assert [o.message for o in outcomes] == ["", "", ""]
