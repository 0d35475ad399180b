"""Genuine answers of the services and genuine tables, where they lie beside the checkout."""

import json

import numpy as np
import pytest

from support.paths import SHARED
from tentpole.benchmarks.pool import describe, read
from tentpole.benchmarks.pool.filters import apply, formation_energies
from tentpole.benchmarks.pool.sources.oqmd import structure_from_sites

DATA = SHARED / "data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no measuring data beside this checkout")


def test_genuine_oqmd_sites_make_structures():
    for name, cell, sites in (
        ("genuine_example_oqmdapi_poscar_collection_query_files_query_0.json", "unit_cell", "sites"),
        ("genuine_example_optimade_api_poscar_collection_query_files_query_1.json", "_oqmd_unit_cell", "_oqmd_sites"),
    ):
        rows = json.loads((DATA / "api_formats" / name).read_text())
        frames = [structure_from_sites(row[cell], row[sites]) for row in rows]
        assert [len(atoms) for atoms in frames] == [len(row[sites]) for row in rows]
        assert {s for atoms in frames for s in atoms.get_chemical_symbols()} == {"He"}
        assert all(atoms.get_volume() > 5 for atoms in frames)


def test_genuine_materials_project_documents_are_a_pool():
    pool = read(DATA / "api_formats" / "mp_materials_collection_2020_Li_Fe_V.json.gz")
    assert len(pool) == 21
    assert pool.text("id")[0] == "mp-136"
    sites = [len(atoms) for atoms in pool.structures]
    assert pool.numeric("nsites").tolist() == sites
    volumes = [atoms.get_volume() for atoms in pool.structures]
    np.testing.assert_allclose(pool.numeric("volume"), volumes, rtol=1e-6)


def test_both_forms_of_the_lithium_iron_oxides_agree():
    entries, table = (read(DATA / "pool" / name) for name in ("Li-Fe-O.json.gz", "Li-Fe-O_table.csv"))
    assert entries.text("id") == table.text("id")
    np.testing.assert_allclose(formation_energies(entries), table.numeric("formation_energy_per_atom"), atol=1e-12)
    found = describe(entries, "energy_per_atom", "leak-free")
    density = found.values[:, found.names.index("density")]
    np.testing.assert_allclose(density, table.numeric("density"), rtol=1e-3)


@pytest.mark.parametrize("name", ["mp_matbench_Fe", "mp_matbench_Si", "oqmd_crabnet_Fe", "oqmd_crabnet_Si"])
def test_visible_pools_filter_and_describe(name):
    pool, _ = apply(read(DATA / "pool" / f"{name}.csv.gz"))
    found = describe(pool, "formation_energy_per_atom")
    assert len(found.rows) > 4000
    assert {"band_gap", "is_metal", "mean_electronegativity"} <= set(found.names)
    assert "energy_per_atom" not in found.names
