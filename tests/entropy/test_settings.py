"""Fingerprints and covariances from settings; species told apart where that is asked for."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.entropy import GOM, FingerprintSettings, MaceFeatures, SpeciesBlocks, make_covariance, make_fingerprint
from tentpole.errors import InputError
from tentpole.testing import FingerprintConformance, tiny_committee


def iron(seed: int, cobalt: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Fe", cubic=True) * (2, 2, 2)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    atoms.numbers[rng.permutation(len(atoms))[:cobalt]] = 27
    return atoms


def gains(settings: FingerprintSettings) -> tuple[float, float]:
    """Largest gain of three more frames of iron, and least of three never-seen frames of Fe-Co, 12 of iron known."""
    fingerprint = make_fingerprint(settings, [26, 27])
    known = make_covariance(settings, [fingerprint.fingerprints(iron(seed)) for seed in range(12)])
    more = [known.gain(fingerprint.fingerprints(iron(100 + seed))) for seed in range(3)]
    alloy = [known.gain(fingerprint.fingerprints(iron(200 + seed, cobalt=8))) for seed in range(3)]
    return max(more), min(alloy)


def test_radii_alone_hardly_tell_cobalt_from_iron():
    more, alloy = gains(FingerprintSettings(n_max=30))
    assert alloy < 2 * max(more, 0.05)


@pytest.mark.parametrize(
    "settings", [FingerprintSettings(n_max=30, contrast=3.0), FingerprintSettings(n_max=30, per_species=True)]
)
def test_a_species_never_seen_gains_clearly_more_where_species_are_told_apart(settings):
    more, alloy = gains(settings)
    assert alloy > 5 * max(more, 0.05)


class TestSpeciesBlocks(FingerprintConformance):
    """The shipped laws of fingerprints."""

    @pytest.fixture
    def fingerprint(self):
        return SpeciesBlocks(GOM(4.0, n_max=20), (1, 8))

    @pytest.fixture
    def structures(self):
        water = molecule("H2O")
        water.rattle(0.1, seed=1)
        ice = Atoms("OHH", positions=water.positions, cell=[3.1, 3.3, 3.5], pbc=True)
        return [water, ice]


def test_a_row_stands_in_the_block_of_its_species():
    water, base = molecule("H2O"), GOM(3.0, n_max=4)
    wide = SpeciesBlocks(base, (1, 8)).fingerprints(water)
    assert wide.shape == (3, 8)
    assert (wide[0, 4:] == base.fingerprints(water)[0]).all()
    assert not wide[0, :4].any()
    with pytest.raises(InputError, match="no block for O"):
        SpeciesBlocks(base, (1,)).fingerprints(water)
    with pytest.raises(InputError, match="atomic numbers, each once"):
        make_fingerprint(FingerprintSettings(per_species=True))


def test_a_member_s_features_are_measured_in_units_of_their_own_spread(tmp_path):
    from tentpole import Committee

    committee = Committee.load(tiny_committee(tmp_path, members=2))
    settings = FingerprintSettings(kind="mace")
    fingerprint = make_fingerprint(settings, committee=committee)
    assert isinstance(fingerprint, MaceFeatures)
    waters = [molecule("H2O") for _ in range(5)]
    for seed, atoms in enumerate(waters):
        atoms.rattle(0.05, seed=seed)
    rows = [fingerprint.fingerprints(atoms) for atoms in waters]
    covariance = make_covariance(settings, rows)
    variances = np.diag(covariance.covariance)
    assert variances.max() == pytest.approx(1.0)
    assert covariance.configurations == 5
    with pytest.raises(InputError, match="needs a trained committee"):
        make_fingerprint(settings)


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match='belongs to the fingerprint "gom"'):
        FingerprintSettings(kind="mace", contrast=1.0)
    with pytest.raises(InputError, match='did you mean "gom"'):
        FingerprintSettings(kind="gon")
    with pytest.raises(InputError, match="contrast must be"):
        FingerprintSettings(contrast=float("nan"))
