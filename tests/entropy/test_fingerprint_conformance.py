"""Every fingerprint of the package passes the same class of laws."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.committee import Committee
from tentpole.entropy import GOM, EntropyBias, MaceFeatures
from tentpole.errors import InputError
from tentpole.testing import FingerprintConformance, tiny_committee


def rattled(atoms, amplitude=0.1):
    atoms.rattle(amplitude, seed=1)
    return atoms


@pytest.fixture(scope="module")
def committee(tmp_path_factory):
    return Committee.load(tiny_committee(tmp_path_factory.mktemp("features"), dtype="float64"))


class TestGOM(FingerprintConformance):
    @pytest.fixture
    def fingerprint(self):
        return GOM(4.5)

    @pytest.fixture
    def structures(self):
        slab = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        slab.pbc = (True, True, False)
        return [rattled(bulk("Si")), rattled(molecule("CH3OH")), rattled(slab)]


class TestShortGOM(TestGOM):
    """Fewer eigenvalues than neighbours."""

    @pytest.fixture
    def fingerprint(self):
        return GOM(4.5, n_max=5)


class TestContrastedGOM(TestGOM):
    """Composition-weighted: neighbours count by their atomic number beside the centre's."""

    @pytest.fixture
    def fingerprint(self):
        return GOM(4.5, contrast=1 / 3)


class TestMaceFeatures(FingerprintConformance):
    @pytest.fixture
    def fingerprint(self, committee):
        return MaceFeatures(committee, member=1)

    @pytest.fixture
    def structures(self):
        ice = Atoms("OHHO", [[0, 0, 0], [0.9, 0.1, 0], [0, 0.9, 0.2], [1.5, 1.4, 0.3]], cell=[3.1, 3.3, 3.5])
        ice.pbc = True
        return [ice, rattled(molecule("H2O"))]


def test_contrast_tells_apart_what_the_plain_fingerprint_takes_for_the_same():
    """Two elements of one width: a swap that plain GOM cannot see."""
    widths = {11: 1.2, 17: 1.2}
    a = Atoms("Na2Cl2", [[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
    b = Atoms("NaClClNa", [[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
    plain, contrasted = GOM(5.0, widths=widths), GOM(5.0, widths=widths, contrast=1 / 3)
    assert np.allclose(plain.fingerprints(a), plain.fingerprints(b))
    assert np.abs(contrasted.fingerprints(a) - contrasted.fingerprints(b)).max() > 0.01


def test_contrast_leaves_an_element_as_it_is():
    atoms = rattled(bulk("Si"))
    assert np.array_equal(GOM(5.0).fingerprints(atoms), GOM(5.0, contrast=1 / 3).fingerprints(atoms))


def test_a_bias_can_be_taken_from_a_committee_member_s_features(committee):
    from ase.calculators.emt import EMT

    atoms = rattled(molecule("H2O").repeat(1))
    atoms.calc = EntropyBias(EMT(), fingerprint=MaceFeatures(committee), ratio=0.3, eps=1e-4)
    assert np.abs(atoms.get_forces() - atoms.calc.results["forces_unbiased"]).max() > 1e-4


def test_a_member_that_is_not_there_is_refused(committee):
    with pytest.raises(InputError, match="legal are 0 to 3"):
        MaceFeatures(committee, member=4)
