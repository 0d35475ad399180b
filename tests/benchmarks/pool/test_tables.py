"""Formulas, tables, files, filters: what a row means, however it was written."""

import gzip
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write as ase_write
from hypothesis import given
from hypothesis import strategies as st

from tentpole.benchmarks.pool import build, files, read, write
from tentpole.benchmarks.pool.composition import ELECTRONEGATIVITY, amounts, check_formulas, fractions, reduced
from tentpole.benchmarks.pool.filters import Filters, apply, formation_energies, mix
from tentpole.errors import InputError

WHOLE = gzip.compress("".join(f"Fe{k},{k * k}\n" for k in range(500)).encode())
DAMAGED = WHOLE[:10] + b"\xff" + WHOLE[11:]  # no type that a block can have


def test_formulas():
    assert amounts("Ca(OH)2") == {"Ca": 1, "O": 2, "H": 2}
    assert amounts("NaN") == {"Na": 1, "N": 1}
    assert amounts("Li0.5CoO2")["Li"] == 0.5
    assert fractions("Fe2O3") == {"Fe": 0.4, "O": 0.6}
    assert reduced("Fe4O6") == reduced("O3Fe2") == "Fe2O3"


@pytest.mark.parametrize("wrong", ["", "Fe2O3)", "(FeO", "Fe-O", "Qq2", "fe"])
def test_what_is_no_formula_is_refused(wrong):
    with pytest.raises(InputError, match="formula"):
        amounts(wrong)


@given(st.dictionaries(st.sampled_from(sorted(ELECTRONEGATIVITY)), st.integers(1, 9), min_size=1, max_size=4))
def test_reduced_names_do_not_depend_on_order_or_multiple(parts):
    one = "".join(f"{e}{n}" for e, n in parts.items())
    other = "".join(f"{e}{3 * n}" for e, n in reversed(parts.items()))
    assert reduced(one) == reduced(other)
    assert sum(fractions(one).values()) == pytest.approx(1)


def test_electronegativities_are_paulings():
    core = pytest.importorskip("pymatgen.core")
    for symbol, value in ELECTRONEGATIVITY.items():
        assert pytest.approx(value) == core.Element(symbol).X, symbol
    assert not {"He", "Ne", "Ar"} & ELECTRONEGATIVITY.keys()


CSV = "red,delta_e,band_gap,phase\nNaN,-0.5,,solid\nFe2O3,-1.5,2.1,solid\nFe4O6,-1.5004,2.0,\n"


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_knows_sodium_nitride_from_a_missing_value(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(CSV.encode()) if name.endswith("gz") else CSV.encode())
    pool = read(path)
    assert pool.text("formula") == ["NaN", "Fe2O3", "Fe4O6"]
    assert pool.numeric("formation_energy_per_atom").tolist() == [-0.5, -1.5, -1.5004]
    assert np.isnan(pool.numeric("band_gap")[0])
    assert pool.text("phase") == ["solid", "solid", ""]


def test_a_gap_of_several_entries_is_nobodys_gap(tmp_path):
    pool = build({"formula": ["Fe", "Si"], "band_gap_min": [0.1, 0.2], "band_gap_max": [0.1, 0.9], "n_gap": [1, 2]})
    assert pool.numeric("band_gap").tolist() == pytest.approx([0.1, np.nan], nan_ok=True)


def test_hdf5_gives_back_what_was_written(tmp_path):
    frames = [bulk("Si"), None, Atoms("Fe", cell=[3, 3, 3], pbc=True)]
    pool = build({"id": ["a", "b", "c"], "formula": ["Si2", "O2", "Fe"], "e": [1.0, np.nan, 0.1]}, frames)
    write(pool, tmp_path / "p.h5")
    again = read(tmp_path / "p.h5")
    assert list(again.columns) == ["id", "formula", "e"]
    assert again.text("id") == ["a", "b", "c"]
    np.testing.assert_array_equal(again.numeric("e"), pool.numeric("e"))
    assert again.structures[1] is None
    np.testing.assert_array_equal(again.structures[0].positions, frames[0].positions)
    np.testing.assert_array_equal(again.structures[0].cell.array, frames[0].cell.array)
    write(pool, tmp_path / "p.csv")
    assert read(tmp_path / "p.csv").text("formula") == ["Si2", "O2", "Fe"]


def test_json_and_extxyz(tmp_path):
    rows = [{"formula": "Si", "x": 1.5}, {"formula": "Ge", "x": None, "more": 2}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    pool = read(tmp_path / "rows.json")
    assert pool.numeric("more").tolist() == pytest.approx([np.nan, 2], nan_ok=True)
    frames = [bulk("Si"), bulk("Ge")]
    for i, atoms in enumerate(frames):
        atoms.info["strain"] = 0.1 * i
    ase_write(tmp_path / "frames.extxyz", frames)
    pool = read(tmp_path / "frames.extxyz")
    assert pool.text("formula") == ["Si2", "Ge2"]
    assert pool.numeric("strain").tolist() == [0.0, 0.1]
    assert pool.structures[1].get_chemical_symbols() == ["Ge", "Ge"]


def test_pymatgen_entries_bring_structures_and_their_own_formation_energies(tmp_path):
    def entry(symbols, energy):
        sites = [{"species": [{"element": s, "occu": 1}], "abc": [0.5 * i, 0, 0]} for i, s in enumerate(symbols)]
        lattice = {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}
        return {
            "energy": energy,
            "correction": -0.5 if len(set(symbols)) > 1 else 0.0,
            "entry_id": "mp-1",
            "structure": {"lattice": lattice, "sites": sites},
        }

    path = tmp_path / "entries.json.gz"
    content = [entry(["Li"], -2.0), entry(["Li", "Li"], -3.9), entry(["O"], -5.0), entry(["Li", "O"], -9.5)]
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    pool = read(path)
    assert [len(s) for s in pool.structures] == [1, 2, 1, 2]
    assert formation_energies(pool).tolist() == pytest.approx([0, 0.05, 0, (-10.0 - (-2.0 - 5.0)) / 2])
    with pytest.raises(InputError, match="no row of O"):
        formation_energies(pool.take([0, 1, 3]))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("none.csv", None, "there is no such file"),
        ("a.parquet", b"x", "unknown file ending"),
        ("a.csv", b"a,b\n1,2\n1\n", "line 3: 1 values"),
        ("a.csv", b"a,a\n1,2\n", "names a column twice"),
        ("a.csv", b"a,b\n", "holds no rows"),
        ("a.json", b'{"a": [1,', "cannot be read as json"),
        ("a.csv.gz", b"\x1f\x8bxx", "cannot be read as csv"),
        ("a.h5", b"not hdf5", "cannot be read as h5"),
        ("a.csv", b"a,b\n" + b"x" * 200_000 + b",1\n", r"a\.csv: cannot be read as csv: .*field larger"),
        ("a.csv", b"a,b\nF\0e,1\n", r"a\.csv: holds NUL bytes"),
        ("a.csv.gz", DAMAGED, r"a\.csv\.gz: cannot be read as csv: .*Error -3"),
        ("a.json", b"[" * 100_000, r"a\.json: cannot be read as json: its lists or tables lie too deep"),
    ],
)
def test_unreadable_files_say_why(tmp_path, name, content, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        read(tmp_path / name)


def test_what_unpacks_to_more_than_the_limit_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "TEXT_LIMIT", 2**20)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2**20))
    with pytest.raises(InputError, match=r"a\.csv\.gz: holds more than 1 MiB"):
        read(tmp_path / "a.csv.gz")


def test_cells_that_a_spreadsheet_would_run_are_written_as_text_and_numbers_as_they_are(tmp_path):
    words = ["=1+1", "+1.5", "-2", "@SUM(A1)", "-cmd", "Fe", ""]
    pool = build({"formula": ["Fe"] * 7, "remark": words, "x": [-1.0, 2.0, np.nan, 0, 1, 2, 3]})
    write(pool, tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["'=1+1", "+1.5", "-2", "'@SUM(A1)", "'-cmd", "Fe", ""]
    assert read(tmp_path / "p.csv").numeric("x")[0] == -1.0


@pytest.mark.parametrize("formula", ["", "Xx2", "X2O", "rust", "Fe((((", "Fe0", "Fe" + "9" * 400, "Fe٣O"])
def test_a_formula_that_is_none_is_told_with_its_row(formula):
    with pytest.raises(InputError, match=r"^pool\.csv, row 3: formula "):
        check_formulas(["Fe", "NaN", formula], "pool.csv")


def test_every_filter_tells_its_count():
    pool = build(
        {
            "formula": ["Si", "Si2", "SiO2", "Si2O4", "Si3O6", "GeO2", "GeO2"],
            "nsites": [1, 2, 60, 6, 9, 3, np.nan],
            "formation_energy_per_atom": [0, 0.1, -3, -3.0, -2.9995, -1, np.nan],
            "band_gap": [0.5, 0.5, 5, 5, 5, np.nan, 1],
        }
    )
    kept, lines = apply(pool)
    assert kept.text("formula") == ["Si2", "Si2O4"]
    assert lines == [
        "7 rows",
        "− 2 not of 2 to 50 atoms (1 of unknown size kept): 5 left",
        "− 1 without a finite formation_energy_per_atom: 4 left",
        "− 1 without a finite band_gap: 3 left",
        "− 1 duplicates: 2 left",
    ]
    assert len(apply(pool, Filters(duplicate_eV_per_atom=1e-5))[0]) == 3


def test_mixing_databases_says_what_it_means_or_aligns():
    names = [f"Fe{i}O" for i in range(1, 31)]
    one = build({"formula": names, "formation_energy_per_atom": np.linspace(-2, 0, 30), "database": ["a"] * 30})
    two = build({"formula": names, "formation_energy_per_atom": np.linspace(-2, 0, 30) + 0.25, "database": ["b"] * 30})
    both, notes = mix([one, two], align=False)
    assert "not on one scale" in notes[0]
    assert both.text("database") == ["a"] * 30 + ["b"] * 30
    both, notes = mix([one, two], align=True)
    assert "-0.2500 eV/atom, the median over 30" in notes[0]
    np.testing.assert_allclose(both.numeric("formation_energy_per_atom")[30:], np.linspace(-2, 0, 30))
    with pytest.raises(InputError, match=r"needs 20 compositions in common with b, there are 5"):
        mix([one, two.take(range(5))], align=True)
