"""The GOM fingerprint: published values, an independent library's values, laws, and finite differences."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from support.paths import DATA, SHARED
from tentpole.entropy import GOM, Fingerprint
from tentpole.errors import InputError

FROZEN = json.loads((DATA / "gom_frozen.json").read_text())
REFERENCE = SHARED / "reference" / "gom_reference.npz"


def test_diamond_silicon_has_the_published_eigenvalues():
    row = GOM(5.0).fingerprints(bulk("Si", "diamond", 5.43, cubic=True))[0]
    expected = [1.203461, *[0.358973] * 3, 0.231989, *[0.029785] * 3]
    assert np.allclose(row[:8], expected, atol=1e-6)
    assert row.sum() == pytest.approx(2.82744694, abs=1e-8)
    assert (row > 0).sum() == 29


def test_diamond_carbon_has_the_published_eigenvalues():
    row = GOM(3.0).fingerprints(bulk("C", "diamond", 3.567, cubic=True))[0]
    assert np.allclose(row[:5], [1.187755, *[0.274730] * 3, 0.167679], atol=1e-6)
    assert row.sum() == pytest.approx(2.25552709, abs=1e-8)


def test_rock_salt_tells_sodium_from_chlorine():
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    rows = GOM(5.0).fingerprints(salt)
    sodium, chlorine = rows[salt.numbers == 11][0], rows[salt.numbers == 17][0]
    assert np.allclose(sodium[:4], [1.11314, *[0.22144] * 3], atol=1e-5)
    assert np.allclose(chlorine[:5], [1.12406, 0.26980, *[0.21399] * 3], atol=1e-5)


@pytest.mark.parametrize("name", sorted(FROZEN["cases"]))
def test_frozen_values_of_an_independent_library(name):
    """Rows to 1e-10, and for the rattled case its pulled-back gradient and strain derivative."""
    case = FROZEN["cases"][name]
    atoms = Atoms(case["numbers"], case["positions"], cell=case["cell"], pbc=True)
    rows, pullback = GOM(case["cutoff"], n_max=case["n_max"]).value_and_pullback(atoms)
    assert np.abs(rows - np.array(case["rows"])).max() < 1e-10
    if "gradient" in case:
        gradient, strain = pullback(np.array(case["weights"]))
        assert np.abs(gradient - np.array(case["gradient"])).max() < 1e-10
        assert np.abs(strain - np.array(case["strain"])).max() < 1e-10


@pytest.mark.skipif(not REFERENCE.exists(), reason="the measuring data is not beside this checkout")
def test_all_structures_of_the_reference_library():
    data = np.load(REFERENCE)
    names = sorted({key.split("/")[0] for key in data if not key.startswith("entropy")})
    assert len(names) == 14
    compared = 0
    for name in names:
        atoms = Atoms(data[f"{name}/numbers"], data[f"{name}/positions"], cell=data[f"{name}/cell"], pbc=True)
        gom = GOM(float(data[f"{name}/cutoff"]), n_max=int(data[f"{name}/natx"]))
        rows, pullback = gom.value_and_pullback(atoms)
        assert np.abs(rows - data[f"{name}/fp"]).max() < 1e-10, name
        if f"{name}/dfp" in data:
            weights = np.random.default_rng(0).normal(size=rows.shape)
            gradient, strain = pullback(weights)
            assert np.abs(gradient - np.einsum("in,ijxn->jx", weights, data[f"{name}/dfp"])).max() < 1e-10, name
            xx, yy, zz, yz, xz, xy = np.einsum("in,ivn->v", weights, data[f"{name}/dfpe"])
            expected = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
            assert np.abs(strain - expected).max() < 1e-10, name
            compared += 1
    assert compared == 5


def rattled_water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    return atoms


def small_silicon():
    """A cell much smaller than twice the cutoff: every sphere holds images of its own centre."""
    atoms = bulk("Si", "diamond", 5.43)
    atoms.set_cell(atoms.cell.array @ np.array([[1.0, 0.1, 0.0], [0.0, 1.05, 0.2], [0.0, 0.0, 0.95]]), scale_atoms=True)
    atoms.rattle(0.1, seed=4)
    return atoms


def salt_slab():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.pbc = [True, True, False]
    atoms.rattle(0.1, seed=5)
    return atoms


def carbon_chain():
    return Atoms("C3", [[0, 0, 0], [1.3, 0.2, 0], [2.5, 0, 0.3]], cell=[4.0, 0, 0], pbc=[True, False, False])


STRUCTURES = {
    "molecule": rattled_water,
    "small cell": small_silicon,
    "slab": salt_slab,
    "chain": carbon_chain,
    "single atom in a box": lambda: Atoms("Cu", cell=[2.4, 2.5, 2.6], pbc=True),
}


@pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES.keys())
@pytest.mark.parametrize("n_max", [6, 50])
def test_the_pullback_is_the_derivative(make, n_max):
    """Φ = Σ_c a_c Σ_n q_n², smooth where eigenvalues meet: central differences in every coordinate and strain
    to 1e-6 relative. n_max 6 cuts every larger sphere."""
    gom, atoms = GOM(4.5, n_max=n_max), make()
    a = np.random.default_rng(1).normal(size=(len(atoms), 1))
    rows, pullback = gom.value_and_pullback(atoms)
    gradient, strain = pullback(2 * a * rows)
    step = 1e-4
    numeric = np.zeros_like(gradient)
    for index in np.ndindex(*gradient.shape):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            numeric[index] += sign * (a * gom.fingerprints(moved) ** 2).sum() / (2 * step)
    scale = max(np.abs(gradient).max(), 1e-3)
    assert np.abs(numeric - gradient).max() < 1e-6 * scale
    assert np.abs(gradient.sum(axis=0)).max() < 1e-10
    assert np.allclose(strain, strain.T, atol=0)
    for i in range(3):
        for j in range(i + 1):
            value = 0.0
            for sign in (1, -1):
                deformation = np.eye(3)
                deformation[i, j] += 0.5 * sign * step
                deformation[j, i] += 0.5 * sign * step
                moved = atoms.copy()
                moved.set_cell(moved.cell.array @ deformation)
                moved.positions = atoms.positions @ deformation
                value += sign * (a * gom.fingerprints(moved) ** 2).sum() / (2 * step)
            assert value == pytest.approx(strain[i, j], abs=1e-6 * max(np.abs(strain).max(), 1e-3))


def test_degenerate_multiplets_pull_the_same_from_any_basis():
    """Perfect diamond: the pullback does not change when the atoms are listed in another order."""
    atoms = bulk("Si", "diamond", 5.43, cubic=True)
    gom = GOM(5.0)
    rows, pullback = gom.value_and_pullback(atoms)
    weights = np.random.default_rng(2).normal(size=rows.shape)
    _, strain = pullback(weights)
    order = np.random.default_rng(3).permutation(len(atoms))
    rotated = atoms[order]
    rotated.rotate(33.0, (1.0, 2.0, 0.5), rotate_cell=True)
    _, other = gom.pullback(rotated, weights[order])
    assert np.trace(other) == pytest.approx(np.trace(strain), abs=1e-9)
    assert np.allclose(np.linalg.eigvalsh(other), np.linalg.eigvalsh(strain), atol=1e-8)


def test_the_sum_over_a_multiplet_is_differentiated_exactly():
    atoms = bulk("Si", "diamond", 5.43, cubic=True)
    gom = GOM(5.0)
    weights = np.zeros((8, 50))
    weights[0, 1:4] = 1.0
    gradient, _ = gom.pullback(atoms, weights)
    step = 1e-4
    for index in [(0, 0), (1, 2), (5, 1)]:
        numeric = 0.0
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            numeric += sign * gom.fingerprints(moved)[0, 1:4].sum() / (2 * step)
        assert numeric == pytest.approx(gradient[index], abs=1e-7)


coordinates = st.lists(st.tuples(*[st.floats(-4, 4, allow_nan=False)] * 3), min_size=2, max_size=6, unique=True)


@settings(max_examples=30, deadline=None)
@given(coordinates, st.integers(0, 10**6), st.sampled_from([0, 1, 2, 3]))
def test_rows_do_not_see_order_place_direction_or_wrapping(points, seed, directions):
    rng = np.random.default_rng(seed)
    atoms = Atoms(rng.choice([1, 6, 8, 14], len(points)), points)
    atoms.pbc = [i < directions for i in range(3)]
    atoms.cell = np.eye(3) * rng.uniform(3.0, 7.0, 3) + rng.uniform(-1, 1, (3, 3))
    gom = GOM(4.0, n_max=20)
    rows = gom.fingerprints(atoms)

    order = rng.permutation(len(atoms))
    assert np.allclose(gom.fingerprints(atoms[order]), rows[order], atol=1e-11)

    moved = atoms.copy()
    moved.positions += rng.normal(size=3) * 20
    moved.positions += (rng.integers(-3, 4, (len(atoms), 3)) * atoms.pbc) @ atoms.cell.array
    assert np.allclose(gom.fingerprints(moved), rows, atol=1e-10)

    turned = atoms.copy()
    turned.rotate(rng.uniform(0, 360), rng.normal(size=3), rotate_cell=True)
    assert np.allclose(gom.fingerprints(turned), rows, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_a_repeated_cell_has_the_same_rows(a, b, seed):
    atoms = small_silicon()
    atoms.rattle(0.05, seed=seed)
    repeated = atoms.repeat((a, b, 1))
    rows = GOM(5.0).fingerprints(atoms)
    assert np.allclose(GOM(5.0).fingerprints(repeated), np.tile(rows, (a * b, 1)), atol=1e-11)


def test_one_thread_and_two_give_the_same_bits():
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=6)
    weights = np.random.default_rng(0).normal(size=(64, 50))
    one, two = GOM(5.0, threads=1), GOM(5.0, threads=2)
    assert np.array_equal(one.fingerprints(atoms), two.fingerprints(atoms))
    for a, b in zip(one.pullback(atoms, weights), two.pullback(atoms, weights), strict=True):
        assert np.array_equal(a, b)


def test_more_neighbours_than_n_max_cut_eigenvalues_and_nothing_else():
    atoms = bulk("C", "diamond", 3.567, cubic=True)
    atoms.rattle(0.05, seed=7)
    whole, short = GOM(5.0, n_max=120).fingerprints(atoms), GOM(5.0, n_max=10).fingerprints(atoms)
    assert (whole > 1e-12).sum(axis=1).min() > 80
    assert np.array_equal(short, whole[:, :10])


def test_an_isolated_atom_has_one_eigenvalue_of_one():
    rows, pullback = GOM(5.0).value_and_pullback(Atoms("H"))
    assert rows[0, 0] == 1.0
    assert not rows[0, 1:].any()
    assert not pullback(np.ones((1, 50)))[0].any()


def test_what_cannot_be_fingerprinted_is_refused_with_the_reason():
    gom = GOM(5.0)
    with pytest.raises(InputError, match="0 atoms"):
        gom.fingerprints(Atoms())
    with pytest.raises(InputError, match="finite"):
        gom.fingerprints(Atoms("H2", [[0, 0, 0], [np.nan, 0, 0]]))
    with pytest.raises(InputError, match="no covalent radius for Bk"):
        gom.fingerprints(Atoms("Bk"))
    with pytest.raises(InputError, match="span no volume"):
        gom.fingerprints(Atoms("H", pbc=True))
    with pytest.raises(InputError, match="cutoff"):
        GOM(-1.0)
    assert GOM(5.0, widths={97: 1.68}).fingerprints(Atoms("Bk"))[0, 0] == 1.0


def test_every_element_to_curium_has_a_width():
    from tentpole.entropy.gom.radii import COVALENT_RADII, gaussian_widths

    assert np.isfinite(gaussian_widths(np.arange(1, 97))).all()
    named = {1: 0.37, 6: 0.77, 7: 0.75, 8: 0.73, 11: 1.54, 12: 1.30, 13: 1.18, 14: 1.11, 15: 1.06, 16: 1.02}
    named |= {17: 0.99, 19: 1.96, 32: 1.22, 71: 1.60, 79: 1.44, 83: 1.46, 86: 1.45}
    for number, radius in named.items():
        assert COVALENT_RADII[number] == radius


def test_atoms_at_the_same_place_still_have_a_fingerprint():
    rows = GOM(5.0).fingerprints(Atoms("H2", [[0, 0, 0], [0, 0, 0]]))
    assert np.allclose(rows[:, 0], 2.0)


def test_gom_is_a_fingerprint():
    assert isinstance(GOM(5.0), Fingerprint)
