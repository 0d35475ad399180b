"""The gate: what no label is worth, and which labels are not worth training on."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from tentpole.errors import LabelError
from tentpole.labeling.acceptance import Accept

WATER = molecule("H2O")
GATE = Accept(max_force_eV_per_A=10, max_net_force_eV_per_A=0.1, min_distance_ratio=0.5)


def refused(gate: Accept, atoms: Atoms) -> str:
    with pytest.raises(LabelError) as error:
        gate.structure(atoms)
    return error.value.reason


def test_structures_that_no_label_is_worth() -> None:
    assert refused(GATE, Atoms()) == "bad_structure"
    assert refused(GATE, Atoms("H", positions=[[np.nan, 0, 0]])) == "bad_structure"
    assert refused(GATE, Atoms("H", pbc=True)) == "bad_structure"
    assert refused(GATE, Atoms("H2", positions=[[0, 0, 0], [0, 0, 0]])) == "too_close"
    GATE.structure(WATER)


def test_distances_count_across_the_cell_and_name_the_pair() -> None:
    pair = Atoms("NaCl", positions=[[0.1, 0, 0], [5.5, 0, 0]], cell=[5.6] * 3, pbc=True)
    with pytest.raises(LabelError, match=r"atoms 0 \(Na\) and 1 \(Cl\) are 0.200 Å apart|atoms 1 \(Cl\)"):
        GATE.structure(pair)
    pair.pbc = False
    GATE.structure(pair)


@given(st.floats(0.05, 3.0))
def test_an_absolute_limit_is_kept_exactly(distance: float) -> None:
    gate, pair = Accept(min_distance_A=1.0), Atoms("He2", positions=[[0, 0, 0], [distance, 0, 0]])
    if distance >= 1.0:
        gate.structure(pair)
    else:
        assert refused(gate, pair) == "too_close"


@pytest.mark.parametrize(
    ("energy", "forces", "stress", "reason"),
    [
        (np.nan, np.zeros((3, 3)), None, "not_finite"),
        (0.0, np.full((3, 3), np.inf), None, "not_finite"),
        (0.0, np.zeros((3, 3)), np.full(6, np.nan), "not_finite"),
        (0.0, np.zeros((2, 3)), None, "bad_shape"),
        (0.0, np.zeros((3, 3)), np.zeros(9), "bad_shape"),
        (0.0, np.array([[11.0, 0, 0], [-11, 0, 0], [0, 0, 0]]), None, "max_force"),
        (0.0, np.array([[1.0, 0, 0], [-0.8, 0, 0], [0, 0, 0]]), None, "net_force"),
    ],
)
def test_labels_that_would_poison_a_training_set(
    energy: float, forces: np.ndarray, stress: np.ndarray | None, reason: str
) -> None:
    with pytest.raises(LabelError) as error:
        GATE.label(energy, forces, stress, WATER)
    assert error.value.reason == reason


def test_limits_on_energy_and_stress_are_per_atom_and_per_component() -> None:
    silicon, still = bulk("Si"), np.zeros((2, 3))
    gate = Accept(min_energy_eV_per_atom=-6, max_energy_eV_per_atom=-4, max_stress_eV_per_A3=0.1)
    gate.label(-10.0, still, np.zeros(6), silicon)
    for energy, stress in ((-13.0, 0.0), (-7.0, 0.0), (-10.0, 0.2)):
        with pytest.raises(LabelError):
            gate.label(energy, still, np.full(6, stress), silicon)
