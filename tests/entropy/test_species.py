"""Blocks per species: each species measured against itself."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from tentpole.entropy import GOM, Covariance, EntropyBias, SpeciesCovariance
from tentpole.entropy.entropies import logdet
from tentpole.entropy.species import in_blocks
from tentpole.errors import InputError


def salt(seed, amplitude=0.1):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


def known(mode="per-atom"):
    covariance = SpeciesCovariance(mode)
    for seed in range(4):
        atoms = salt(seed)
        covariance.add(GOM(5.0).fingerprints(atoms), atoms.numbers)
    return covariance


def test_blocks_weigh_species_by_their_share():
    rng = np.random.default_rng(0)
    rows, numbers = rng.normal(size=(8, 3)), np.array([1, 1, 8, 1, 8, 1, 1, 1])
    value, weights = in_blocks(logdet, rows, numbers)
    assert value == pytest.approx(0.75 * logdet(rows[numbers == 1])[0] + 0.25 * logdet(rows[numbers == 8])[0])
    for index in [(0, 0), (2, 1), (4, 2)]:
        change = 0.0
        for sign in (1, -1):
            moved = rows.copy()
            moved[index] += sign * 1e-6
            change += sign * in_blocks(logdet, moved, numbers)[0] / 2e-6
        assert change == pytest.approx(weights[index], rel=1e-5)


def test_pooled_rows_of_a_salt_spread_mostly_between_the_species():
    """The trap that blocks avoid: most of the pooled variance is one direction, Na against Cl."""
    atoms = salt(1, amplitude=0.05)
    rows = GOM(5.0).fingerprints(atoms)
    pooled = rows.var(axis=0).sum()
    within = np.mean([rows[atoms.numbers == z].var(axis=0).sum() for z in (11, 17)])
    assert within < 0.2 * pooled


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
def test_gain_is_the_share_weighted_gain_of_each_block(mode):
    covariance, atoms = known(mode), salt(9, 0.2)
    rows = GOM(5.0).fingerprints(atoms)
    expected = sum(0.5 * covariance.blocks[z].gain(rows[atoms.numbers == z]) for z in (11, 17))
    assert covariance.gain(rows, atoms.numbers) == pytest.approx(expected)
    several = [GOM(5.0).fingerprints(salt(s)) for s in (20, 21)]
    assert np.allclose(
        covariance.gains(several, [atoms.numbers] * 2), [covariance.gain(r, atoms.numbers) for r in several]
    )


def test_a_new_species_brings_a_gain_and_a_block():
    covariance = known()
    rows = np.random.default_rng(1).normal(size=(3, 50))
    assert covariance.gain(rows, np.array([19, 19, 19])) > 0
    covariance.add(rows, np.array([19, 19, 19]))
    assert sorted(covariance.blocks) == [11, 17, 19]
    assert covariance.n == 4 * 8 + 3


def test_saved_blocks_come_back():
    covariance = known()
    back = SpeciesCovariance.from_arrays(covariance.arrays())
    atoms = salt(9)
    rows = GOM(5.0).fingerprints(atoms)
    assert back.gain(rows, atoms.numbers) == covariance.gain(rows, atoms.numbers)
    assert back.logdet() == covariance.logdet()


@pytest.mark.parametrize(
    "settings",
    [
        {"entropy": "logdet", "per_species": True},
        {"entropy": "nearest", "per_species": True},
        {"entropy": "dataset", "covariance": known()},
        {"entropy": "dataset", "covariance": known("per-config")},
    ],
    ids=["logdet", "nearest", "dataset per-atom", "dataset per-config"],
)
def test_the_bias_in_blocks_is_consistent(settings):
    def biased(atoms):
        inner = LennardJones(sigma=2.5, epsilon=0.1, rc=6.0, smooth=True)
        atoms.calc = EntropyBias(inner, cutoff=5.0, k_eV=1.0, clip=None, **settings)
        return atoms

    atoms = biased(salt(7))
    bias = atoms.get_forces() - atoms.calc.results["forces_unbiased"]
    for index in [(0, 0), (5, 2)]:
        change = 0.0
        for sign in (1, -1):
            moved = salt(7)
            moved.positions[index] += sign * 2e-5
            biased(moved).get_forces()
            change += sign * moved.calc.results["entropy"] / 4e-5
        assert change == pytest.approx(bias[index], abs=1e-6 * np.abs(bias).max())


def test_a_pooled_dataset_is_no_dataset_in_blocks():
    with pytest.raises(InputError, match="SpeciesCovariance"):
        EntropyBias(LennardJones(), entropy="dataset", covariance=Covariance(), per_species=True)
