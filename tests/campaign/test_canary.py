"""A retrained committee against its predecessor: refused when worse beyond noise, seldom otherwise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.campaign.canary import compare_committees
from tentpole.errors import InputError


def errors(rng, n, ratio=1.0, walkers=None, shared=0.0, spread=0.3):
    """Squared errors of two committees on n frames that are hard or easy for both; RMSE ratio as given."""
    frame = 0.75 * rng.standard_normal(n)
    each = spread * rng.standard_normal((2, n))
    if walkers is not None:
        each += shared * rng.standard_normal((2, max(walkers) + 1))[:, walkers]
    return np.exp(2 * (frame + each[0])), ratio**2 * np.exp(2 * (frame + each[1]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(6, 30), st.floats(1e-6, 1e6))
def test_the_unit_of_the_errors_does_not_matter(seed, n, factor):
    before, after = errors(np.random.default_rng(seed), n, 1.2)
    one, other = compare_committees(before, after), compare_committees(factor * before, factor * after)
    assert other.worse == one.worse
    assert other.ratio == pytest.approx(one.ratio)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(1.0, 3.0))
def test_only_one_of_two_committees_is_worse_and_a_margin_forgives(seed, ratio):
    before, after = errors(np.random.default_rng(seed), 20, ratio)
    there, back = compare_committees(before, after), compare_committees(after, before)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert not (there.worse and back.worse)
    assert not compare_committees(before, after, margin=10.0).worse
    if not there.worse:
        assert not compare_committees(before, after, margin=0.1).worse


@pytest.mark.parametrize("n", [6, 20])
def test_a_committee_that_is_as_good_is_refused_in_5_of_100_cases_at_most(n):
    rng = np.random.default_rng(n)
    refused = np.mean([compare_committees(*errors(rng, n)).worse for _ in range(1000)])
    assert refused <= 0.05 + 0.021  # three standard errors


def test_frames_of_one_walker_are_no_independent_witnesses():
    rng = np.random.default_rng(1)
    walkers = np.arange(40) % 8
    names = [f"w{w}" for w in walkers]
    pairs = [errors(rng, 40, 1.0, walkers, 0.3) for _ in range(200)]
    apart = np.mean([compare_committees(b, a).worse for b, a in pairs])
    together = np.mean([compare_committees(b, a, walkers=names).worse for b, a in pairs])
    assert together <= 0.05 + 0.046
    assert apart > 2 * together


def test_a_committee_that_is_worse_by_half_is_refused():
    rng = np.random.default_rng(2)
    assert np.mean([compare_committees(*errors(rng, 20, 1.5)).worse for _ in range(200)]) > 0.9


def test_a_few_frames_gone_very_wrong_are_heard_though_the_typical_frame_is_better():
    rng = np.random.default_rng(3)
    before, after = errors(rng, 20, 0.8, spread=0.05)
    after[:7] *= 100  # four of twenty would be chance once in 2⁴ times
    found = compare_committees(before, after)
    assert found.worse
    assert found.ratio > 1.5
    assert compare_committees(before, after, alpha=1e-6).worse is False


def test_too_few_frames_are_not_judged():
    for n in (0, 1, 2, 5):
        found = compare_committees(np.ones(n), 100 * np.ones(n))
        assert found.worse is None
        assert "6 are needed" in found.words
    two = compare_committees(np.ones(20), np.ones(20), walkers=["a", "b"] * 10)
    assert two.worse is None


def test_errors_of_zero():
    assert compare_committees(np.zeros(6), np.zeros(6)).worse is False
    assert compare_committees(np.zeros(6), np.ones(6)).worse is True
    assert compare_committees(np.ones(6), np.zeros(6)).worse is False
    assert math.isfinite(compare_committees(np.zeros(6), np.ones(6)).ratio)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_values_that_are_no_squared_errors_are_refused(bad):
    with pytest.raises(InputError, match=str(bad)):
        compare_committees(np.ones(6), np.array([1, 1, 1, 1, 1, bad]))
    with pytest.raises(InputError, match="margin"):
        compare_committees(np.ones(6), np.ones(6), margin=bad)


def test_the_same_frames_are_needed():
    with pytest.raises(InputError, match="6 errors before, 7 after"):
        compare_committees(np.ones(6), np.ones(7))
    with pytest.raises(InputError, match="alpha = 1"):
        compare_committees(np.ones(6), np.ones(6), alpha=1.0)
