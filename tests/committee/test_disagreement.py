"""The committee's disagreement: frozen values, laws, and the reference run where its data is present."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from support.paths import SHARED
from tentpole.committee.disagreement import (
    NonFinite,
    atom_force_std,
    energy_std,
    energy_std_per_atom,
    force_std,
    max_force_std,
    p95_force_std,
    p95_over_atoms,
    relative_force_std,
    stress_std,
)

REFERENCE = SHARED / "data" / "zundel" / "committee_md"

# two members, two atoms: atom 0 differs by (0.6, 0, 0.8), so by ±0.5 from the mean; atom 1 agrees
FORCES = np.array([[[0.6, 0.0, 0.8], [1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]])


def test_small_committee_by_hand():
    assert energy_std([1.0, 3.0]) == pytest.approx(1.0)
    assert energy_std([1.0, 3.0], ddof=1) == pytest.approx(np.sqrt(2.0))
    assert energy_std_per_atom([1.0, 3.0], 4) == pytest.approx(0.25)
    assert atom_force_std(FORCES) == pytest.approx([0.5, 0.0])
    assert force_std(FORCES) == pytest.approx(0.25)
    assert max_force_std(FORCES) == pytest.approx(0.5)
    assert atom_force_std(FORCES, ddof=1) == pytest.approx([np.sqrt(0.5), 0.0])
    assert relative_force_std(FORCES) == pytest.approx(0.5 / (0.5 + 0.2))  # |mean force| of atom 0 is 0.5
    assert stress_std([[1.0] * 6, [3.0] * 6]) == pytest.approx([1.0] * 6)


def test_a_batch_is_its_frames():
    rng = np.random.default_rng(1)
    forces, energies = rng.normal(size=(4, 5, 7, 3)), rng.normal(size=(4, 5))
    each = np.array([force_std(forces[:, k]) for k in range(5)])
    assert force_std(forces) == pytest.approx(each, rel=1e-14)
    alone = np.array([energy_std(energies[:, k]) for k in range(5)])
    assert energy_std(energies) == pytest.approx(alone, rel=1e-14)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 4, 3), elements=st.floats(-10, 10)), st.integers(0, 2**31))
def test_rotation_translation_and_order_change_nothing(forces, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    expected = atom_force_std(forces)
    np.testing.assert_allclose(atom_force_std(forces @ rotation), expected, atol=1e-10)
    np.testing.assert_allclose(atom_force_std(forces + rng.normal(size=3)), expected, atol=1e-10)
    np.testing.assert_allclose(atom_force_std(forces[[2, 0, 1]]), expected, atol=1e-10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_member_is_a_failure_never_small(value):
    broken = FORCES.copy()
    broken[1, 0, 2] = value
    for measure in (atom_force_std, force_std, max_force_std, relative_force_std):
        with pytest.raises(NonFinite, match="member 1"):
            measure(broken)
    with pytest.raises(NonFinite, match="member 0"):
        energy_std([value, 1.0])


def test_one_member_cannot_disagree():
    with pytest.raises(ValueError, match="1 member"):
        energy_std([1.0])
    with pytest.raises(ValueError, match="2 member"):
        energy_std([1.0, 2.0], ddof=2)
    with pytest.raises(ValueError, match="shape"):
        atom_force_std(np.zeros((2, 3, 2)))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference committee run lies beside a checkout only")
def test_the_reference_run_of_four_members(tmp_path):
    from ase.io import iread

    members = []
    for k in range(4):
        text = tmp_path / f"member_{k}.extxyz"
        text.write_bytes(gzip.decompress((REFERENCE / f"member_{k}.forces.extxyz.gz").read_bytes()))
        members.append([frame.arrays["forces_component_raw"] for frame in iread(text, format="extxyz")])
    forces = np.array(members)
    assert forces.shape[:2] == (4, 1001)
    assert 1e3 * force_std(forces).mean() == pytest.approx(18.5613747, abs=1e-6)  # meV/Å


def test_the_percentile_sees_what_the_mean_hides():
    forces = np.zeros((2, 100, 3))
    forces[0, :8, 0], forces[1, :8, 0] = 1.0, -1.0  # eight atoms of a hundred are uncertain
    assert force_std(forces) == pytest.approx(0.08)
    assert p95_force_std(forces) == pytest.approx(1.0)
    forces[0, 50, 1] = np.nan
    with pytest.raises(NonFinite):
        p95_force_std(forces)
    with pytest.raises(NonFinite):
        p95_over_atoms([0.1, np.inf])
