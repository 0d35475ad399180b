"""VASP, all the way: inputs as written, a program that reads them, its output judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.errors import InputError, LabelError
from tentpole.labeling import Task, compute, load
from tentpole.labeling.codes.vasp import Vasp
from tentpole.labeling.mock import morse
from tentpole.labeling.single_point import single_point
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import find_label, read_label

pytestmark = pytest.mark.slow

WATER = molecule("H2O")
SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
SALT.rattle(0.05, seed=3)


def label(root: Path, name: str, atoms: Atoms, charge: int | None = 0, multiplicity: int | None = None) -> Any:
    reference = load(name, elements=atoms.get_chemical_symbols())
    outcome = compute(Task(root, reference, atoms, charge, multiplicity))
    path = find_label(root, *outcome.name.split("-"))
    return outcome, read_label(path) if path else None


def test_a_crystal_is_labelled_from_its_own_inputs(vasp: Any, tmp_path: Path) -> None:
    outcome, made = label(tmp_path, "vasp", SALT)
    assert outcome.ok, outcome.message
    expected = morse(SALT, 1.0, 1.5, 5.0)
    assert made.energy == pytest.approx(expected["energy"], abs=1e-6)  # the free energy, not E(sigma → 0)
    assert made.details["energy"] == "free_energy"
    np.testing.assert_allclose(made.forces, expected["forces"], atol=1e-6)  # back in the order of the atoms
    np.testing.assert_allclose(made.stress, expected["stress"], atol=1e-6)
    assert made.details["version"] == "6.4.2"
    assert made.details["scf_steps"] == 7
    seen = vasp.seen
    assert seen["symbols"] == ["Cl", "Na"] or seen["symbols"] == ["Na", "Cl"]
    assert seen["grid"] == [5, 5, 5]  # ⌈2π/5.64/0.25⌉
    assert seen["electrons"] == 4 * 7 + 4 * 7  # Na_pv has 7
    assert seen["incar"]["GGA"] == "PE"
    assert float(seen["incar"]["ENCUT"]) == 520
    assert seen["incar"]["ISYM"] == "0"


def test_a_charged_molecule_gets_its_box_electrons_and_spin(vasp: Any, tmp_path: Path) -> None:
    outcome, made = label(tmp_path, "vasp-molecule", WATER, charge=1, multiplicity=2)
    assert outcome.ok, outcome.message
    seen = vasp.seen
    assert seen["electrons"] == 8 - 1
    assert seen["incar"]["ISPIN"] == "2"
    assert float(seen["incar"]["NUPDOWN"]) == 1
    assert "MAGMOM" in seen["incar"]
    assert seen["grid"] == [1, 1, 1]
    assert seen["cell"] == pytest.approx([15, 15, 15])
    assert made.stress is None  # of a box there is no stress worth training on
    np.testing.assert_allclose(made.forces, morse(WATER, 1.0, 1.5, 5.0)["forces"], atol=1e-6)
    np.testing.assert_array_equal(made.atoms.positions, WATER.positions)  # the label is of the molecule


def test_a_slab_has_one_k_point_across_its_vacuum(vasp: Any, tmp_path: Path) -> None:
    slab = SALT.copy()
    slab.center(vacuum=6, axis=2)
    slab.pbc = (True, True, False)
    outcome, made = label(tmp_path, "vasp", slab)
    assert outcome.ok, outcome.message
    assert vasp.seen["grid"] == [5, 5, 1]
    assert made.stress is None


@pytest.mark.parametrize(
    ("how", "reason"), [("killed", "truncated"), ("truncated", "truncated"), ("vasp5", "unconverged")]
)
def test_every_bad_end_is_a_failed_label_with_its_output(vasp: Any, tmp_path: Path, how: str, reason: str) -> None:
    vasp.ends(how)
    reference = load("vasp", elements=("Na", "Cl"))
    with pytest.raises(LabelError) as error:
        single_point(reference, SALT, 0, None, tmp_path / "one")
    assert error.value.reason == reason


def test_an_unconverged_scf_climbs_the_ladder_and_says_so(vasp: Any, tmp_path: Path) -> None:
    vasp.ends("unconverged")  # unless ALGO is All, the ladder's first rung
    outcome, made = label(tmp_path, "vasp", SALT)
    assert outcome.ok, outcome.message
    assert made.details["retry"] == "all bands at once"
    assert made.details["settings"] == {"algo": "All", "nelm": 200}
    assert made.reference == load("vasp", elements=("Na", "Cl")).hash  # another way to the same physics
    assert "did not converge in 100 steps" in made.details["failures"][0]


def test_what_failed_is_in_quarantine_with_the_programs_own_output(vasp: Any, tmp_path: Path) -> None:
    vasp.ends("killed")
    outcome, made = label(tmp_path, "vasp", SALT)
    assert made is None
    assert (outcome.ok, outcome.reason) == (False, "truncated")
    folder = tmp_path / "quarantine" / outcome.name
    assert "Iteration" in (folder / "OUTCAR").read_text()
    assert "ENCUT" in (folder / "INCAR").read_text()
    assert read_json(folder / "reason.json")["reason"] == "truncated"
    assert list((tmp_path / "work").iterdir()) == []


def test_the_hash_knows_the_potential_files(vasp: Any) -> None:
    before = load("vasp", elements=("Na", "Cl")).hash
    assert load("vasp", elements=("Cl", "Na", "Na")).hash == before
    potcar = vasp.folder / "potpaw_PBE" / "Cl" / "POTCAR"
    potcar.write_text(potcar.read_text().replace("01Jan2001", "02Feb2002"))
    assert load("vasp", elements=("Na", "Cl")).hash != before
    assert load("vasp", elements=("Na",)).hash != before
    with pytest.raises(InputError, match=r'elements=\("O", "H"\)'):
        _ = load("vasp").hash
    with pytest.raises(InputError, match="no POTCAR for U"):
        _ = load("vasp", elements=("U",)).hash


def test_a_label_of_another_version_is_refused(vasp: Any, tmp_path: Path) -> None:
    own = tmp_path / "old.toml"
    own.write_text('parent = "vasp"\ncode_version = "5.4.4"\n')
    outcome = compute(Task(tmp_path, load(own, elements=("Na", "Cl")), SALT, 0, None))
    assert outcome.reason == "wrong_version"
    assert "made by version 6.4.2" in outcome.message


def test_what_can_never_run_is_refused_before_anything_is_spent(vasp: Any, tmp_path: Path) -> None:
    reference = load("vasp", elements=("H", "O"))
    with pytest.raises(InputError, match=r"box_A = 15.0"):
        reference.setup(WATER, 0, 1, tmp_path)
    with pytest.raises(InputError, match="needs the charge"):
        reference.setup(SALT, None, None, tmp_path)
    with pytest.raises(InputError, match="needs the multiplicity"):
        load("vasp-molecule").setup(WATER, 0, None, tmp_path)
    far = WATER.copy()
    far.positions[0] += 14
    with pytest.raises(LabelError, match="does not fit box_A = 15"):
        load("vasp-molecule").setup(far, 0, 1, tmp_path)


def test_spin_stated_twice_must_agree(vasp: Any, tmp_path: Path) -> None:
    own = tmp_path / "closed.toml"
    own.write_text('parent = "vasp-molecule"\n[parameters]\nispin = 1\n')
    with pytest.raises(InputError, match="contradict"):
        load(own).setup(WATER, 1, 2, tmp_path)


def test_what_is_missing_comes_with_the_lines_to_add(machine: Any, vasp: Any) -> None:
    complete = Vasp().configuration("")
    assert complete.missing == ()
    machine.configure("")
    lacking = Vasp().configuration("")
    assert lacking.missing == ("VASP_COMMAND", "VASP_PP_PATH")
    assert lacking.add.splitlines()[0] == "[environment]"
