"""Magnetic moments: into every program's input as stated, into the label as found, and refused where they mislead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from tentpole.errors import InputError, LabelError
from tentpole.labeling import Reference, Task, compute, load
from tentpole.labeling.acceptance import Accept
from tentpole.labeling.codes.espresso import Espresso
from tentpole.labeling.magnetism import Magnetism, check_magnetism, read_moments, started, unstated
from tentpole.labeling.socket_program import key
from tentpole.storage.labels import find_label, read_label
from tentpole.storage.structures import read_structures, write_frames

PSEUDO = Path("/usr/share/espresso/pseudo")  # where Debian's quantum-espresso-data puts them
real = pytest.mark.skipif(shutil.which("pw.x") is None or not PSEUDO.is_dir(), reason="pw.x is not installed")
IRON = bulk("Fe", "bcc", a=2.87, cubic=True)
IRON.set_initial_magnetic_moments(None)
CHROMIUM = bulk("Cr", "bcc", a=2.95, cubic=True)
UP_DOWN = started(Magnetism("from structure"), Atoms(CHROMIUM, magmoms=[2.0, -2.0]), "chromium")
FERROUS = started(Magnetism({"Fe": 2.5}), IRON, "iron")


def label(root: Path, reference: Reference, atoms: Atoms, **more: Any) -> Any:
    outcome = compute(Task(root, reference, atoms, 0, **more))
    assert outcome.ok, outcome.message
    return read_label(find_label(root, *outcome.name.split("-")))


def own(folder: Path, text: str) -> Reference:
    path = folder / "own.toml"
    path.write_text(text)
    return load(path, elements=("Fe",))


# what a campaign states


def test_moments_by_element_replace_those_of_the_file_and_no_statement_takes_them_away() -> None:
    given = Atoms("FeO", positions=[[0, 0, 0], [2, 0, 0]], magmoms=[1.0, 1.0])
    assert started(Magnetism({"Fe": 2.5}), given, "x").get_initial_magnetic_moments().tolist() == [2.5, 0]
    assert started(Magnetism("from structure"), given, "x").get_initial_magnetic_moments().tolist() == [1, 1]
    assert not started(None, given, "x").has("initial_magmoms")
    assert given.get_initial_magnetic_moments().tolist() == [1, 1]


def test_from_structure_wants_moments_on_the_structure_collinear_and_sane() -> None:
    stated = Magnetism("from structure")
    with pytest.raises(InputError, match=r"iron\.xyz.*no initial_magmoms"):
        started(stated, IRON, "iron.xyz")
    for wrong, says in (([[0, 0, 2.0]] * 2, "vectors"), ([np.nan, 1], "nan µB"), ([40.0, 1], "40.0 µB")):
        with pytest.raises(InputError, match=says):
            started(stated, Atoms(IRON, magmoms=wrong), "iron.xyz")


@pytest.mark.parametrize(
    ("moments", "says"),
    [({"fe": 2.5}, 'did you mean "Fe"'), ({}, "moments = {}"), ({"Fe": 1e3}, "1000.0 µB")],
)
def test_moments_that_mean_nothing_are_refused(moments: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Magnetism(moments)


def test_moments_on_a_command_line() -> None:
    assert read_moments("Fe=2.5, O=-0.1") == Magnetism({"Fe": 2.5, "O": -0.1})
    assert read_moments("from structure") == Magnetism("from structure")
    with pytest.raises(InputError, match=r"write Fe=2\.5"):
        read_moments("2.5")


def test_a_reference_without_spin_refuses_moments_and_one_with_wants_some() -> None:
    with pytest.raises(InputError, match=r'"emt".*knows no magnetic moments'):
        check_magnetism(Magnetism({"Fe": 2.5}), load("emt"), [FERROUS])
    with pytest.raises(InputError, match="give no atom"):
        check_magnetism(Magnetism({"Co": 2.5}), load("espresso"), [started(Magnetism({"Co": 2.5}), IRON, "iron")])
    check_magnetism(Magnetism({"Fe": 2.5}), load("espresso"), [FERROUS, CHROMIUM])
    check_magnetism(None, load("emt"), [IRON])


def test_open_shells_without_a_word_on_moments_are_spoken_of_for_dft_alone() -> None:
    assert unstated(load("espresso"), [CHROMIUM, IRON]).startswith("Cr, Fe: open d or f shells")
    assert unstated(load("vasp"), [bulk("Gd", "fcc", a=5.0)])
    assert not unstated(load("espresso"), [bulk("Cu"), bulk("Si")])
    assert not unstated(load("emt"), [IRON])


# what makes a label another one


@pytest.mark.slow
def test_moments_survive_files_and_name_the_label_where_the_program_has_spin(tmp_path: Path, vasp: Any) -> None:
    write_frames(tmp_path / "cr.extxyz", UP_DOWN)
    (read,) = read_structures(tmp_path / "cr.extxyz", ":", "cr")
    assert started(Magnetism("from structure"), read, "cr").get_initial_magnetic_moments().tolist() == [2, -2]
    dft, potential = load("vasp", elements=("Cr",)), load("mock")
    assert Task(tmp_path, dft, UP_DOWN).name != Task(tmp_path, dft, CHROMIUM).name
    assert Task(tmp_path, potential, UP_DOWN).name == Task(tmp_path, potential, CHROMIUM).name
    made = label(tmp_path, dft, UP_DOWN)
    assert made.atoms.get_initial_magnetic_moments().tolist() == [2, -2]


# into each program's input, and out of its output


@pytest.mark.slow
def test_vasp_gets_magmom_in_the_order_of_poscar_and_gives_sites_back_in_ours(vasp: Any, tmp_path: Path) -> None:
    mixed = Atoms("FeCrFe", positions=[[0, 0, 0], [2.2, 0, 0], [0, 2.3, 0]], cell=[5, 5, 5], pbc=True)
    mixed.set_initial_magnetic_moments([2.5, -1.0, 3.0])
    made = label(tmp_path, load("vasp", elements=("Fe", "Cr")), mixed)
    words = vasp.seen["incar"]
    assert (words["ISPIN"], words["MAGMOM"].split()) == ("2", ["1*2.5000", "1*3.0000", "1*-1.0000"])
    assert vasp.seen["symbols"] == ["Fe", "Cr"]
    found = made.details["magnetization"]
    assert found["total_muB"] == pytest.approx(0.9 * 4.5)
    assert found["sites_muB"] == pytest.approx([2.25, -0.9, 2.7])
    assert found["absolute_muB"] == pytest.approx(0.9 * 6.5)
    assert "magnetization" not in label(tmp_path, load("vasp", elements=("Cr",)), CHROMIUM).details


@pytest.mark.slow
def test_aims_gets_initial_moments_and_its_total_is_kept(aims: Any, tmp_path: Path) -> None:
    made = label(tmp_path, load("aims", elements=("Fe",)), FERROUS)
    assert aims.seen["words"]["spin"] == ["collinear"]
    assert "fixed_spin_moment" not in aims.seen["words"]
    assert aims.seen["moments"] == [2.5, 2.5]
    assert made.details["magnetization"] == {"total_muB": pytest.approx(4.5)}


def test_gpaw_is_polarized_with_the_moments_on_its_atoms(tmp_path: Path) -> None:
    setup = load("gpaw").setup(UP_DOWN, 0, None, tmp_path)
    assert setup.keywords["spinpol"] is True
    assert setup.atoms.get_initial_magnetic_moments().tolist() == [2, -2]
    polarized = own(tmp_path, 'parent = "gpaw"\n[parameters]\nspinpol = true\n')
    with pytest.raises(InputError, match="no moments to start from"):
        polarized.setup(IRON, 0, None, tmp_path)


@pytest.fixture
def valences(machine: Any) -> Any:
    """A machine with pw.x's files of Fe (UPF 2, 8 electrons) and Cr (UPF 1, 14 electrons), all that is read of them."""
    (machine.folder / "Fe.UPF").write_text('<PP_HEADER element="Fe"\n z_valence="8.000000000000e0" />\n')
    (machine.folder / "Cr.UPF").write_text("   14.00000000000      Z valence\n")
    machine.configure(f"[espresso]\ncommand = pw.x\npseudo_dir = {machine.folder}\n")
    return machine


FILES = '[parameters.pseudopotentials]\nFe = "Fe.UPF"\nCr = "Cr.UPF"\n'


def test_pw_x_gets_fractions_of_the_valence_and_a_species_for_each_moment(valences: Any, tmp_path: Path) -> None:
    reference = own(tmp_path, f'parent = "espresso"\n{FILES}')
    setup = reference.setup(UP_DOWN, 0, None, tmp_path)
    assert setup.keywords["input_data"]["system"]["nspin"] == 2
    calculator = reference.make(setup.keywords, tmp_path)
    calculator.template.write_input(calculator.profile, tmp_path, setup.atoms, calculator.parameters, ["energy"])
    written = (tmp_path / "espresso.pwi").read_text()
    assert f"starting_magnetization(1) = {2 / 14}" in written
    assert f"starting_magnetization(2) = {-2 / 14}" in written
    assert "ntyp             = 2" in written
    ferrous = reference.setup(FERROUS, 0, 7, tmp_path)
    assert ferrous.atoms.get_initial_magnetic_moments().tolist() == [2.5 / 8] * 2
    assert ferrous.keywords["input_data"]["system"]["tot_magnetization"] == 6


def test_what_pw_x_would_take_for_something_else_is_refused(valences: Any, tmp_path: Path) -> None:
    reference = own(tmp_path, f'parent = "espresso"\n{FILES}')
    with pytest.raises(InputError, match=r"9\.0 µB, but Fe\.UPF has 8 electrons"):
        reference.setup(Atoms(IRON, magmoms=[9.0, 2]), 0, None, tmp_path)
    many = bulk("Fe", "bcc", a=2.87).repeat(11)[:11]
    many.set_initial_magnetic_moments(np.linspace(2, 3, 11))
    many.set_cell(np.eye(3) * 30)
    with pytest.raises(InputError, match=r"11 species .* pw\.x takes 10"):
        reference.setup(many, 0, None, tmp_path)
    with pytest.raises(InputError, match="multiplicity 1 leaves no electron unpaired"):
        reference.setup(FERROUS, 0, 1, tmp_path)
    polarized = own(tmp_path, f'parent = "espresso"\n[parameters.input_data.system]\nnspin = 2\n{FILES}')
    with pytest.raises(InputError, match=r"nspin = 2 and no moments .* stay non-magnetic"):
        polarized.setup(IRON, 0, None, tmp_path)
    without = own(tmp_path, f'parent = "espresso"\n[parameters.input_data.system]\nnspin = 1\n{FILES}')
    with pytest.raises(InputError, match="nspin = 1 in the reference and starting moments in the campaign"):
        without.setup(FERROUS, 0, None, tmp_path)


def test_a_program_that_stays_is_another_one_for_other_moments(valences: Any, tmp_path: Path) -> None:
    reference = own(tmp_path, f'parent = "espresso"\n{FILES}')
    keys = {key(reference, reference.setup(a, 0, None, tmp_path)) for a in (CHROMIUM, UP_DOWN, UP_DOWN.copy())}
    assert len(keys) == 2


@pytest.mark.parametrize(
    "site",
    [
        "     atom:{:5d}    charge:    6.4317    magn:{:10.4f}    constr:    0.0000",  # to 6.7
        "     atom{:4d} (R=0.357)  charge=  6.4317  magn={:8.4f}",  # from 6.8 on
    ],
)
def test_the_last_moments_that_pw_x_writes_are_kept(site: str) -> None:
    block = "     total magnetization       =    {:5.2f} Bohr mag/cell\n"
    block += "     absolute magnetization    =     3.00 Bohr mag/cell\n"
    sites = "\n     Magnetic moment per site:\n{}\n{}\n\n"
    early, late = (sites.format(site.format(1, m), site.format(2, -m)) for m in (2.0, 1.3977))
    text = block.format(1) + early + block.format(0) + late + block.format(-0.01)
    text += "     convergence has been achieved in  15 iterations\n"
    found = Espresso().judge(text)["magnetization"]
    assert found == {"total_muB": -0.01, "absolute_muB": 3.0, "sites_muB": [1.3977, -1.3977]}


# what a good label is


@pytest.mark.slow
def test_a_band_of_moments_keeps_other_branches_out(vasp: Any, tmp_path: Path) -> None:
    strict = own(tmp_path, 'parent = "vasp"\n[accept]\nmagnetization = [2.0, 2.5]\n')
    assert label(tmp_path, strict, FERROUS)  # the stand-in ends at 0.9 of the start: 2.25 µB
    weak = started(Magnetism({"Fe": 1.0}), IRON, "iron")
    outcome = compute(Task(tmp_path, strict, weak, 0))
    assert (outcome.ok, outcome.reason) == (False, "magnetization")
    assert "0.9 µB/atom; accepted from 2 to 2.5" in outcome.message
    assert (tmp_path / "quarantine" / outcome.name / "OUTCAR").exists()
    outcome = compute(Task(tmp_path, strict, IRON, 0))
    assert "no total magnetisation" in outcome.message


def test_antiferromagnets_are_held_to_their_absolute_moments() -> None:
    gate = Accept.read({"magnetization": [0, 0.1], "absolute_magnetization": [0.8, 2]}, "x")
    gate.magnetism({"total_muB": -0.01, "absolute_muB": 3.0}, 2)
    with pytest.raises(LabelError, match=r"absolute magnetisation is 0.005 µB/atom; accepted from 0.8 to 2"):
        gate.magnetism({"total_muB": 0.0, "absolute_muB": 0.01}, 2)
    with pytest.raises(LabelError, match="total"):
        gate.magnetism({"total_muB": np.nan, "absolute_muB": 3.0}, 2)


@pytest.mark.parametrize("band", [2.0, [1], [2, 1], [-1, 2], ["a", 2], [0, float("nan")]])
def test_a_band_that_is_none_is_refused(band: Any) -> None:
    with pytest.raises(InputError, match="is no band"):
        Accept.read({"magnetization": band}, "own.toml, [accept]")


# through pw.x

QUICK = """parent = "espresso"
[parameters]
k_spacing_per_A = 0.8
[parameters.input_data.system]
ecutwfc = 30.0
ecutrho = 300.0
degauss = 0.02
[parameters.input_data.electrons]
conv_thr = 1e-6
mixing_beta = 0.3
[parameters.pseudopotentials]
Fe = "Fe.pbe-nd-rrkjus.UPF"
Cr = "Cr.pbe-spn-kjpaw_psl.1.0.0.UPF"
"""


@pytest.mark.slow
@real
@pytest.mark.real
@pytest.mark.parametrize(
    ("start", "total", "absolute"),
    [(FERROUS, (1.8, 3.0), (1.8, 3.2)), (UP_DOWN, (0.0, 0.1), (1.0, 3.0))],
    ids=["iron", "chromium"],
)
def test_iron_ends_ferromagnetic_and_chromium_antiferromagnetic(
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    start: Atoms,
    total: tuple[float, float],
    absolute: tuple[float, float],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in a worker
    machine.configure(f"[espresso]\ncommand = pw.x\npseudo_dir = {PSEUDO}\n")
    path = tmp_path / "quick.toml"
    path.write_text(f"{QUICK}[accept]\nmagnetization = {list(total)}\nabsolute_magnetization = {list(absolute)}\n")
    moved = start.copy()
    moved.positions[0, 0] += 0.05
    made = label(tmp_path, load(path, elements=start.get_chemical_symbols()), moved)
    found = made.details["magnetization"]
    assert np.sign(found["sites_muB"]).tolist() == np.sign(start.get_initial_magnetic_moments()).tolist()
    assert min(np.abs(found["sites_muB"])) > 0.8
    assert made.atoms.get_initial_magnetic_moments().tolist() == start.get_initial_magnetic_moments().tolist()
