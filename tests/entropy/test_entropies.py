"""Each entropy's weights are its derivative, and its value the definition."""

import json

import numpy as np
import pytest
from ase import Atoms

from support.paths import SHARED
from tentpole.entropy import GOM, Covariance
from tentpole.entropy.entropies import dataset, logdet, nearest

REFERENCE = SHARED / "reference" / "gom_reference.npz"


def known(mode, rng, d=5, n=40):
    covariance = Covariance(mode, eps=1e-2)
    for _ in range(n):
        covariance.add(rng.normal(size=(3, d)))
    return covariance


PER_ATOM = known("per-atom", np.random.default_rng(10))
PER_CONFIG = known("per-config", np.random.default_rng(11))
FORMS = {
    "nearest": nearest,
    "logdet": lambda q: logdet(q, 1e-2),
    "dataset per-atom": lambda q: dataset(q, PER_ATOM, 2.0),
    "dataset per-config": lambda q: dataset(q, PER_CONFIG, 2.0),
    "dataset empty": lambda q: dataset(q, Covariance(eps=1e-2), 1.0),
    "dataset scaled": lambda q: dataset(q, Covariance(eps=1e-2, scale=np.arange(1.0, 6.0))),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_weights_are_the_derivative(form):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 5))
    _, weights = form(rows)
    step = 1e-5
    for index in np.ndindex(*rows.shape):
        up, down = rows.copy(), rows.copy()
        up[index] += step
        down[index] -= step
        numeric = (form(up)[0] - form(down)[0]) / (2 * step)
        assert numeric == pytest.approx(weights[index], abs=1e-6 * np.abs(weights).max())
    assert np.abs(weights).max() > 1e-4


def test_nearest_neighbours_by_hand():
    rows = np.array([[0.0], [1.0], [3.0]])
    value, _ = nearest(rows)
    assert value == pytest.approx((np.log(3 * 1) + np.log(3 * 1) + np.log(3 * 2)) / 3)


def test_equal_environments_have_a_floor_and_no_pull():
    value, weights = nearest(np.ones((4, 3)))
    assert value == pytest.approx(np.log(4e-8))
    assert not weights.any()
    assert nearest(np.ones((1, 3)))[0] == 0.0


def test_logdet_is_the_definition():
    rows = np.random.default_rng(1).normal(size=(30, 4))
    expected = 0.5 * np.linalg.slogdet(np.cov(rows.T, bias=True) + 1e-3 * np.eye(4))[1]
    assert logdet(rows, 1e-3)[0] == pytest.approx(expected, abs=1e-12)


def test_uncapped_the_dataset_form_is_the_gain():
    rng = np.random.default_rng(2)
    for mode in ("per-atom", "per-config"):
        covariance = known(mode, rng)
        rows = rng.normal(size=(6, 5))
        assert dataset(rows, covariance, cap=1e9)[0] == pytest.approx(covariance.gain(rows), abs=1e-10)


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
def test_the_capped_pull_does_not_die_while_the_dataset_grows(mode):
    """From 20 to 2000 configurations of one distribution: capped within 20 %, uncapped down 50-fold or more."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(8, 5)) + 0.5
    covariance = Covariance(mode, eps=1e-2)
    size = {}
    for n in range(1, 2001):
        covariance.add(rng.normal(size=(8, 5)))
        if n in (20, 2000):
            size[n] = [np.linalg.norm(dataset(rows, covariance, cap)[1]) for cap in (1.0, 1e9)]
    assert size[2000][0] == pytest.approx(size[20][0], rel=0.2)
    assert size[20][1] > 50 * size[2000][1]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the measuring data is not beside this checkout")
def test_values_and_gradients_of_the_reference_entropies():
    """Made from an independent library's dense Jacobian of rattled Si8, on a dataset of three silicon cells."""
    data = np.load(REFERENCE)
    facts = json.loads(REFERENCE.with_suffix(".json").read_text())["entropy"]

    def structure(name):
        return Atoms(data[f"{name}/numbers"], data[f"{name}/positions"], cell=data[f"{name}/cell"], pbc=True)

    gom = GOM(5.0, n_max=50)
    rows, pullback = gom.value_and_pullback(structure(facts["config"]))
    value, weights = nearest(rows)
    assert value == pytest.approx(facts["local_nn_S=(1/N)sum log(N dq_min)"], abs=1e-10)
    assert np.abs(pullback(weights)[0] - data["entropy/local_nn_grad"]).max() < 1e-10

    value, weights = logdet(rows, facts["reg"])
    assert 2 * value == pytest.approx(facts["logdet_cov_config_only"], abs=1e-9)
    assert np.abs(2 * pullback(weights)[0] - data["entropy/logdet_cov_grad"]).max() < 1e-10

    for mode, gain in (("per-atom", facts["gain"]), ("per-config", facts["gain_config"])):
        covariance = Covariance(mode, facts["reg"])
        for name in facts["dataset"]:
            covariance.add(gom.fingerprints(structure(name)))
        assert covariance.gain(rows) == pytest.approx(gain, abs=1e-9)
        value, weights = dataset(rows, covariance, cap=1e9)
        assert value == pytest.approx(gain, abs=1e-9)
        expected = data[f"entropy/global_{mode.replace('-', '_')}_grad"]
        assert np.abs(pullback(weights)[0] - expected).max() < 1e-10
