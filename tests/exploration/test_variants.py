"""Structures made from others by a word."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from support.small_campaign import small_campaign
from tentpole.campaign.preflight import check_campaign
from tentpole.config.loading import load, starting_structures
from tentpole.errors import InputError
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.variants import (
    Interstitial,
    Slab,
    Strained,
    Substitution,
    Supercell,
    Vacancy,
    Volumes,
    elements_added,
    made,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def formulas(found: list[Atoms]) -> list[str]:
    return [atoms.get_chemical_formula() for atoms in found]


def test_cells_are_repeated_strained_and_scaled_with_their_atoms():
    assert formulas(Supercell((2, 1, 1)).of(salt(), rng())) == ["Cl8Na8"]
    (strained,) = Strained((0.1, 0, 0, 0, 0, 0.02)).of(salt(), rng())
    assert strained.cell.array == pytest.approx(5.64 * np.array([[1.1, 0.02, 0], [0.02, 1, 0], [0, 0, 1]]))
    assert strained.get_scaled_positions() == pytest.approx(salt().get_scaled_positions())
    smaller, larger = Volumes((0.9, 1.2)).of(salt(), rng())
    assert [a.get_volume() / salt().get_volume() for a in (smaller, larger)] == pytest.approx([0.9, 1.2])
    assert larger.cell.angles() == pytest.approx([90, 90, 90])


def test_a_slab_has_vacuum_and_is_periodic_as_the_crystal_was():
    (slab,) = Slab((1, 1, 1), layers=2, vacuum_A=6.0).of(bulk("Cu", cubic=True), rng())
    assert slab.pbc.all()
    assert slab.cell.array[2, 2] - np.ptp(slab.positions[:, 2]) == pytest.approx(12.0, abs=1e-6)


def test_a_substitution_is_drawn_from_the_generator_it_is_given():
    cell = bulk("Cu") * (2, 2, 2)
    one, two = Substitution("Cu", "Au", share=0.25, copies=2).of(cell, rng())
    assert formulas([one, two]) == ["Au2Cu6", "Au2Cu6"]
    assert (one.numbers == Substitution("Cu", "Au", 0.25).of(cell, rng())[0].numbers).all()
    assert one.get_masses()[one.numbers == 79] == pytest.approx(196.966569)
    assert elements_added(Substitution("Cu", "Au")) == {"Au"}
    assert elements_added(Slab((1, 0, 0))) == set()


@pytest.mark.slow
def test_a_vacancy_and_an_interstitial_for_each_kind_of_site():
    pytest.importorskip("pymatgen.analysis.defects.generators", reason="the extra structures brings it")
    assert sorted(formulas(Vacancy().of(salt(), rng()))) == ["Cl3Na4", "Cl4Na3"]
    assert formulas(Vacancy("Na").of(salt(), rng())) == ["Cl4Na3"]
    assert formulas(Interstitial("Na").of(salt(), rng())) == ["Cl4Na5"]
    (filled,) = Interstitial("Na").of(salt(), rng())
    assert filled.get_all_distances(mic=True)[-1, :-1].min() == pytest.approx(5.64 * np.sqrt(3) / 4, rel=1e-3)
    with pytest.raises(InputError, match="site = 5: vacancy gives 2 structures"):
        Vacancy(site=5).of(salt(), rng())
    with pytest.raises(InputError, match=r'"vacancy" makes 2 structures .* site = 0 to 1'):
        made(salt(), (Vacancy(),), rng())


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pymatgen.analysis.defects.generators", None)
    with pytest.raises(InputError, match=r'a vacancy needs .*pip install "tentpole\[structures\]"'):
        Vacancy().of(salt(), rng())


def forces(atoms: Atoms) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms.get_forces()


def test_displacements_along_modes_are_those_of_the_harmonic_solid():
    """Their mean square grows with the temperature, and is the classical one where it is high."""
    pytest.importorskip("phonopy", reason="the extra structures brings it")
    crystal = bulk("Cu", cubic=True)
    hot, warm = (NormalModes("emt", T, copies=60).displaced(crystal, forces, rng()) for T in (1200.0, 300.0))
    spread = [np.mean([((a.positions - crystal.positions) ** 2).sum(axis=1).mean() for a in s]) for s in (hot, warm)]
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.4)
    energies = []
    for atoms in hot:
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
    crystal.calc = EMT()
    modes = 3 * 4 - 3
    mean = np.mean(energies) - crystal.get_potential_energy()
    assert mean == pytest.approx(modes / 2 * 8.617333e-5 * 1200.0, rel=0.25)
    again = NormalModes("emt", 1200.0, copies=60).displaced(crystal, forces, rng())
    assert (again[7].positions == hot[7].positions).all()


def test_a_molecule_is_displaced_without_flying_or_turning():
    pytest.importorskip("phonopy", reason="the extra structures brings it")
    water = molecule("H2O")
    for atoms in NormalModes("emt", 300.0, copies=5).displaced(water, forces, rng()):
        assert np.abs(atoms.positions - water.positions).max() < 0.51
        assert not atoms.pbc.any()


def structures(folder: Path, *sections: dict, **tables) -> Path:
    """A campaign whose [[structures]] are of copper, with further keys each."""
    path = small_campaign(folder, structures=[{"file": "copper.xyz", **section} for section in sections], **tables)
    write(folder / "water.xyz", molecule("H2O"), format="extxyz")
    return path


def test_a_structure_is_made_by_words_in_the_campaign_file(tmp_path: Path):
    alloy = [
        {"kind": "supercell", "repeat": [2, 1, 1]},
        {"kind": "substitution", "element": "Cu", "by": "Au", "share": 0.25},
        {"kind": "volume", "ratios": [1.1]},
    ]
    path = structures(tmp_path, {"name": "copper"}, {"name": "alloy", "make": alloy})
    starts = starting_structures(load(path), path)
    assert starts["alloy"].get_chemical_formula() == "Au2Cu6"
    assert starts["alloy"].get_volume() == pytest.approx(1.1 * 2 * starts["copper"].get_volume())
    again = starting_structures(load(path), path)
    assert (again["alloy"].numbers == starts["alloy"].numbers).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ([{"kind": "vacency"}], r'did you mean "vacancy"'),
        ([{"kind": "supercell", "repeat": [2, 0, 1]}], r"repeat = \[2, 0, 1\]: three whole numbers"),
        ([{"kind": "strain", "strain": [0.1]}], "six numbers are wanted"),
        ([{"kind": "volume", "ratios": [9.0]}], r"0.2 to 5 each"),
        ([{"kind": "volume", "ratios": [0.9, 1.1]}], r"structures.0.make: \"volume\" makes 2 structures"),
        ([{"kind": "slab", "indices": [0, 0, 0]}], "not all 0"),
        ([{"kind": "substitution", "element": "Cu", "by": "Xx"}], '"Xx" is no element'),
        ([{"kind": "substitution", "element": "Ag", "by": "Cu"}], 'unknown element of the substitution "Ag"'),
        ([{"kind": "substitution", "element": "Cu", "by": "Cu"}], "another element"),
        ([{"kind": "substitution", "element": "Cu", "by": "Au", "share": 2.0}], "share = 2.0"),
        ([{"kind": "interstitial", "element": "Cu", "site": -1}], "site = -1"),
        ([{"kind": "modes", "reference": "emt"}], "supercell"),
        ([{"kind": "volume", "ratios": [0.2]}] * 3, "the cell has collapsed"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(tmp_path: Path, make, words):
    with pytest.raises(InputError, match=words):
        load(structures(tmp_path, {"make": make}))


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ([{"kind": "substitution", "element": "Cu", "by": "Au"}], "Au is in no starting structure, and Cu are legal"),
        ([{"kind": "interstitial", "element": "H"}], "H is in no starting structure"),
        ([{"kind": "substitution", "element": "Ag", "by": "Cu"}], "it must hold Ag"),
        ([{"kind": "modes", "reference": "emp"}], r'initial.variants.0.reference: .*did you mean "emt"'),
        ([{"kind": "modes", "reference": "emt", "temperature_K": -1.0}], "temperature_K = -1.0"),
    ],
)
def test_variants_of_the_first_labels_stay_within_the_campaign(tmp_path: Path, variants, words):
    with pytest.raises(InputError, match=words):
        load(structures(tmp_path, {}, initial={"count": 9, "variants": variants}))


@pytest.mark.slow
def test_the_first_labels_are_of_structures_and_variants_in_turn(tmp_path: Path):
    from tentpole import Campaign

    variants = [{"kind": "volume", "ratios": [0.9, 1.1]}, {"kind": "supercell", "repeat": [2, 1, 1]}]
    initial = {"count": 8, "stdev_A": [0.02], "strain": 0.0, "variants": variants}
    doubled = {"name": "doubled", "make": [{"kind": "supercell", "repeat": [1, 1, 2]}]}
    path = structures(tmp_path, {"name": "copper"}, doubled, initial=initial)
    with Campaign(path, tmp_path / "run") as campaign:
        asked = campaign.ask()
    volumes = sorted(round(request.atoms.get_volume() / bulk("Cu", cubic=True).get_volume(), 2) for request in asked)
    assert volumes == sorted([1, 0.9, 1.1, 2, 2, 1.8, 2.2, 4])
    with Campaign(path, tmp_path / "run") as campaign:  # what was made is kept, and not made again
        assert sorted(r.name for r in campaign.ask()) == sorted(r.name for r in asked)
    batch = json.loads((tmp_path / "run" / "rounds" / "r000" / "batch.json").read_text())
    assert len(batch["requests"]) == 8
    content = {**initial, "count": 4}
    line = next(line for line in check_campaign(path) if line.what == "initial variants")
    assert line.good
    assert line.found.startswith("6: copper, volume 0-0 (Cu4), copper, volume 0-1 (Cu4), copper, supercell 1-0 (Cu8)")
    few = structures(tmp_path, {"name": "copper"}, doubled, initial=content)
    assert not next(line for line in check_campaign(few) if line.what == "initial variants").good
    with (
        Campaign(few, tmp_path / "other") as campaign,
        pytest.raises(InputError, match=r"initial.count = 4: 8 structures"),
    ):
        campaign.ask()


def test_a_supercell_beyond_reason_is_refused() -> None:
    with pytest.raises(InputError, match="makes 500000 atoms: at most 20000 are legal"):
        Supercell((50, 50, 50)).of(bulk("Cu", cubic=True), np.random.default_rng(0))
