"""Reference files: their words, their inheritance, and the hash that names their physics."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.errors import InputError
from tentpole.labeling import available, load
from tentpole.labeling.codes.cells import k_grid
from tentpole.labeling.reference_files import copies

WATER = molecule("H2O")


def own(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", available())
def test_every_shipped_reference_loads(name: str) -> None:
    reference = load(name)
    assert reference.description
    assert reference.parameters
    assert {"energy", "forces"} <= set(reference.properties)
    assert reference.accept.max_force_eV_per_A or "for [baseline]" in reference.description  # which labels nothing


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match='unknown reference "xtv"; did you mean "xtb"'):
        load("xtv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('parent = "mock"\npropertes = ["energy"]', 'unknown key "propertes"; did you mean "properties"'),
        ('parent = "mock"\n[accept]\nmax_froce_eV_per_A = 3', 'did you mean "max_force_eV_per_A"'),
        ('parent = "mock"\n[accept]\nmax_force_eV_per_A = "3"', "is not a number"),
        ('parent = "mokc"', 'did you mean "mock"'),
        ('calculator = "a:b"', "properties is missing"),
        ('calculator = "ab"\nproperties = ["energy", "forces"]', "no import path"),
        ('parent = "mock"\nproperties = ["energy"]', "energy and forces"),
        ('parent = "mock"\nrequires = ["spin"]', 'unknown word in requires "spin"'),
        ('parent = "mock"\nremove = ["nothing"]', 'unknown parameter in remove "nothing"'),
        ('parent = "mock"\nallow = ["nothing"]', 'unknown retry in allow "nothing"'),
        ('parent = "mock"\n[[retry]]\nseconds = 1', "needs a name"),
        ("parent = mock", "cannot be read as TOML"),
        ('parent = "mine.toml"', "its own parent"),
    ],
)
def test_a_wrong_word_is_refused_and_the_file_named(tmp_path: Path, text: str, says: str) -> None:
    path = own(tmp_path, text)
    with pytest.raises(InputError, match=r"mine\.toml|mokc") as error:
        load(path)
    assert says in str(error.value)


def test_a_variant_is_three_lines(tmp_path: Path) -> None:
    child = load(own(tmp_path, 'parent = "xtb"\n[parameters]\nelectronic_temperature = 1000.0\n'))
    assert child.parameters["method"] == "GFN2-xTB"
    assert child.parameters["electronic_temperature"] == 1000
    assert child.requires == ("charge", "multiplicity")
    assert child.retries == load("xtb").retries
    assert child.hash != load("xtb").hash


def test_a_grandchild_may_stand_beside_its_parent(tmp_path: Path) -> None:
    own(tmp_path, 'parent = "mock"\n[parameters]\ndepth_eV = 2.0\n', "deep")
    grandchild = load(own(tmp_path, 'parent = "deep"\n[parameters]\ncutoff_A = 4.0\n'))
    assert grandchild.parameters["depth_eV"] == 2.0
    assert grandchild.parameters["cutoff_A"] == 4.0


def test_the_hash_is_of_physics_alone(tmp_path: Path) -> None:
    base = load("mock").hash
    same = 'parent = "mock"\ndescription = "other words"\n[parameters]\ndepth_eV = 1\nseconds = 0.5\n'
    assert load(own(tmp_path, same + "[accept]\nmin_distance_A = 0.3\n")).hash == base
    assert load(own(tmp_path, 'parent = "mock"\n[parameters]\ndepth_eV = 1.0001\n')).hash != base


def test_the_hash_is_the_same_in_another_process() -> None:
    script = "from tentpole.labeling import load; print(load('emt').hash, load('mock').hash)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [load("emt").hash, load("mock").hash]


def test_a_file_of_ones_own_is_part_of_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "our_potential.py"
    module.write_text("from ase.calculators.emt import EMT\ndef make(stiff): return EMT()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = 'calculator = "our_potential:make"\nproperties = ["energy", "forces"]\n[parameters]\nstiff = true\n'
    path = own(tmp_path, text)
    before = load(path).hash
    assert load(path).calculator(atoms=bulk("Cu")).get_potential_energy(bulk("Cu")) == pytest.approx(-0.0057, abs=1e-3)
    module.write_text(module.read_text() + "# changed\n")
    assert load(path).hash != before


def test_a_calculator_of_ones_own_may_stand_beside_its_file_and_that_of_a_child(tmp_path: Path) -> None:
    (tmp_path / "beside_its_toml.py").write_text(
        "import sibling_of_it\nfrom ase.calculators.emt import EMT\n\n\ndef make():\n    return EMT()\n"
    )
    (tmp_path / "sibling_of_it.py").write_text("")
    text = 'calculator = "beside_its_toml:make"\nproperties = ["energy", "forces"]\n[parameters]\n'
    reference = load(own(tmp_path, text))
    assert reference.code.configuration(reference.import_path).found == ("Python module beside_its_toml",)
    (tmp_path / "below").mkdir()
    child = load(own(tmp_path / "below", 'parent = "../mine.toml"\n', "child"))
    assert child.hash == reference.hash
    script = (
        "import sys, pickle; from ase.build import bulk; reference = pickle.load(sys.stdin.buffer);"
        "print(reference.calculator(atoms=bulk('Cu')).get_potential_energy(bulk('Cu')))"
    )
    elsewhere = subprocess.run(  # a worker: another process, another folder
        [sys.executable, "-c", script],
        input=pickle.dumps(child),
        capture_output=True,
        check=True,
        env=dict(os.environ),
        cwd="/",
    )
    assert float(elsewhere.stdout) == pytest.approx(-0.0057, abs=1e-3)
    (tmp_path / "moved").mkdir()
    for name, content in copies(tmp_path / "below" / "child.toml").items():
        (tmp_path / "moved" / name).write_bytes(content)
    assert load(tmp_path / "moved" / "child.toml").hash == reference.hash
    assert list(copies(own(tmp_path, 'parent = "emt"\n', "plain"))) == ["plain.toml"]
    module = tmp_path / "beside_its_toml.py"
    module.write_text(module.read_text() + "# changed\n")
    assert load(tmp_path / "mine.toml").hash != reference.hash


def test_a_module_of_ones_own_that_is_called_like_another_is_not_mistaken_for_it(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("def make():\n    pass\n")
    reference = load(own(tmp_path, 'calculator = "json:make"\nproperties = ["energy", "forces"]\n'))
    with pytest.raises(InputError, match="another module is called json here"):
        reference.calculator(atoms=WATER)
    (tmp_path / "ase.py").write_text("")
    load(own(tmp_path, 'parent = "emt"\n')).calculator(atoms=WATER)


def test_nobody_is_told_to_install_a_package_by_the_name_of_their_own_file(tmp_path: Path) -> None:
    reference = load(own(tmp_path, 'calculator = "mycalc:make"\nproperties = ["energy", "forces"]\n'))
    said = reference.code.configuration(reference.import_path)
    assert (said.missing, said.add) == (("Python module mycalc",), "")
    assert said.advice.startswith("Put mycalc.py beside the reference file")
    for asked in (lambda: reference.hash, lambda: reference.calculator(atoms=WATER)):
        with pytest.raises(InputError, match=r"Put mycalc\.py beside") as error:
            asked()
        assert "pip" not in str(error.value)
    known = load(own(tmp_path, 'calculator = "tblite.nowhere:make"\nproperties = ["energy", "forces"]\n'))
    assert known.code.configuration(known.import_path).advice == 'pip install "tentpole[xtb]"'


def test_a_calculator_that_cannot_be_imported_says_how_to_get_it(tmp_path: Path) -> None:
    path = own(tmp_path, 'calculator = "ase.calculators.emt:ETM"\nproperties = ["energy", "forces"]\n')
    with pytest.raises(InputError, match="has no attribute 'ETM'"):
        load(path).calculator(atoms=WATER)


def test_a_missing_charge_or_spin_is_an_error_not_a_default() -> None:
    reference = load("xtb")
    with pytest.raises(InputError, match="needs the charge of H2O"):
        reference.check(WATER, None, 1)
    with pytest.raises(InputError, match="needs the multiplicity of H2O"):
        reference.check(WATER, 0, None)
    reference.check(WATER, 0, 1)


def test_an_impossible_multiplicity_is_refused_with_the_lowest_possible() -> None:
    with pytest.raises(InputError, match=r"9 electrons: multiplicity 1 is impossible. The lowest possible one is 2"):
        load("xtb").check(WATER, 1, 1)
    with pytest.raises(InputError, match="impossible"):
        load("xtb").check(Atoms("H"), 0, 4)
    load("xtb").check(Atoms("O2"), 0, 3)


def test_a_reference_travels_to_workers_whole() -> None:
    reference = load("xtb")
    name = reference.hash
    assert pickle.loads(pickle.dumps(reference)).hash == name


def test_k_points_follow_the_cell() -> None:
    silicon = bulk("Si", cubic=True)  # 5.43 Å: 2π/5.43 = 1.157
    assert k_grid(silicon, 0.25) == (5, 5, 5)
    assert k_grid(silicon * (2, 1, 1), 0.25) == (3, 5, 5)
    skewed = silicon.copy()
    skewed.set_cell(skewed.cell.array @ np.array([[1, 0, 0], [0.5, 1, 0], [0, 0, 1]]), scale_atoms=True)
    assert k_grid(skewed, 0.25) == (6, 5, 5)  # |b| counts, not the edge
    with pytest.raises(InputError, match="positive"):
        k_grid(silicon, 0)


def test_loading_imports_neither_torch_nor_the_calculator() -> None:
    script = (
        "import sys; from tentpole.labeling import load, Task, label_all;"
        "from tentpole.execution.local import local; load('xtb').hash;"
        "print([m for m in ('torch', 'tblite', 'mace', 'pydantic', 'matplotlib') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert answer.stdout.strip() == "[]"
