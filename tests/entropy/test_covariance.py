"""Gains are differences of the log-det, whatever the route to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.entropy import Covariance
from tentpole.errors import InputError, StateError


def direct(rows, eps):
    """ln det(C + εI) of all rows at once."""
    rows = np.concatenate(rows)
    centred = rows - rows.mean(axis=0)
    return np.linalg.slogdet(centred.T @ centred / len(rows) + eps * np.eye(rows.shape[1]))[1]


def blocks(rng, n, d=6, longest=9):
    return [rng.normal(size=(int(rng.integers(1, longest)), d)) * rng.uniform(0.1, 2) for _ in range(n)]


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
def test_logdet_and_gains_equal_the_definition(mode):
    rng = np.random.default_rng(0)
    known, batch = blocks(rng, 7), blocks(rng, 12)
    as_rows = (lambda b: b) if mode == "per-atom" else (lambda b: b.mean(axis=0, keepdims=True))
    covariance = Covariance(mode, eps=1e-3)
    for block in known:
        covariance.add(block)
    seen = [as_rows(b) for b in known]
    assert covariance.logdet() == pytest.approx(direct(seen, 1e-3), abs=1e-10)
    expected = [direct([*seen, as_rows(b)], 1e-3) - direct(seen, 1e-3) for b in batch]
    assert np.allclose(covariance.gains(batch), expected, atol=1e-9)
    assert covariance.gain(batch[3]) == pytest.approx(expected[3], abs=1e-9)
    assert covariance.n == sum(len(b) for b in seen)
    assert covariance.configurations == 7


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([1e-6, 1e-3, 1.0]))
def test_adding_realises_the_gain_and_order_does_not_matter(seed, n, eps):
    rng = np.random.default_rng(seed)
    several = blocks(rng, n + 1, d=4)
    covariance = Covariance("per-atom", eps)
    for block in several[:n]:
        covariance.add(block)
    gain, before = covariance.gain(several[n]), covariance.logdet()
    covariance.add(several[n])
    assert covariance.logdet() - before == pytest.approx(gain, abs=1e-8)
    other = Covariance("per-atom", eps)
    for i in rng.permutation(n + 1):
        other.add(several[i])
    assert other.logdet() == pytest.approx(covariance.logdet(), abs=1e-8)


def test_the_statistics_stay_exact_far_from_the_origin():
    """Rows of spread 1e-3 about 1e3: Q/n − μμᵀ would have lost ten digits of sixteen."""
    rng = np.random.default_rng(1)
    rows = 1e3 + 1e-3 * rng.normal(size=(500, 5))
    covariance = Covariance("per-atom", eps=1e-12)
    for row in rows:
        covariance.add(row)
    assert np.allclose(covariance.covariance, np.cov(rows.T, bias=True), rtol=1e-6, atol=0)


def test_gain_is_defined_from_the_first_configuration_on():
    rng = np.random.default_rng(2)
    ordered = Covariance("per-config", eps=1e-2, size=3)
    assert ordered.logdet() == pytest.approx(3 * np.log(1e-2))
    block = rng.normal(size=(4, 3))
    mean = block.mean(axis=0)
    assert ordered.gain(block) == pytest.approx(np.log1p(mean @ mean / 1e-2))
    assert ordered.gain(block) > 0
    disordered = Covariance("per-atom", eps=1e-2)
    assert disordered.gain(block) == pytest.approx(direct([block], 1e-2) - 3 * np.log(1e-2))
    ordered.add(block)
    assert ordered.gain(block + 1.0) > 0
    assert ordered.gain(block) == pytest.approx(0.0, abs=1e-12)


def test_an_array_of_rows_is_one_row_per_candidate():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(20, 4))
    for mode in ("per-atom", "per-config"):
        covariance = Covariance(mode)
        covariance.add(rng.normal(size=(5, 4)))
        covariance.add(rng.normal(size=(5, 4)))
        assert np.allclose(covariance.gains(rows), [covariance.gain(row) for row in rows], atol=1e-12)


def test_a_scale_is_a_choice_of_units():
    rng = np.random.default_rng(4)
    scale = np.array([0.1, 1.0, 10.0])
    plain, scaled = Covariance(eps=1e-3), Covariance(eps=1e-3, scale=scale)
    for block in blocks(rng, 5, d=3):
        plain.add(block)
        scaled.add(block * scale)
    probe = rng.normal(size=(4, 3))
    assert scaled.logdet() == pytest.approx(plain.logdet(), abs=1e-10)
    assert scaled.gain(probe * scale) == pytest.approx(plain.gain(probe), abs=1e-10)
    assert np.allclose(scaled.gains(np.array([probe[0] * scale])), [plain.gain(probe[0])], atol=1e-10)


def test_effective_rank_counts_the_directions_above_eps():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(4000, 4)) * np.sqrt([1.0, 0.1, 1e-4, 1e-8])
    ranks = {}
    for eps in (1e-3, 1e-6):
        covariance = Covariance(eps=eps)
        covariance.add(rows)
        ranks[eps] = covariance.effective_rank()
    assert ranks == {1e-3: 2, 1e-6: 3}


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
def test_saved_and_loaded_it_is_the_same(tmp_path, mode):
    rng = np.random.default_rng(6)
    covariance = Covariance(mode, eps=1e-4, scale=np.full(6, 2.0))
    for block in blocks(rng, 4):
        covariance.add(block)
    covariance.save(tmp_path / "c.npz")
    back = Covariance.load(tmp_path / "c.npz")
    probe = blocks(rng, 3)
    assert np.array_equal(back.gains(probe), covariance.gains(probe))
    assert (back.n, back.configurations, back.mode, back.eps) == (
        covariance.n, covariance.configurations, mode, 1e-4,
    )  # fmt: skip
    back.add(probe[0])
    assert covariance.n != back.n
    with pytest.raises(StateError, match="format 99"):
        Covariance.from_arrays({**covariance.arrays(), "format": 99})


def test_bad_input_is_named():
    with pytest.raises(InputError, match='did you mean "per-atom"'):
        Covariance("peratom")
    with pytest.raises(InputError, match="eps"):
        Covariance(eps=0.0)
    with pytest.raises(InputError, match="size"):
        Covariance().logdet()
    covariance = Covariance(size=3)
    with pytest.raises(ValueError, match="shape"):
        covariance.add(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="finite"):
        covariance.gain(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="finite"):
        covariance.gains(np.full((2, 3), np.inf))
