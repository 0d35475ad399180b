"""Labels still to come: right on a power law, honest about what the rounds do not tell."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.campaign.projection import project_labels
from tentpole.errors import InputError


@settings(max_examples=50, deadline=None)
@given(st.floats(0.2, 2.0), st.integers(3, 10), st.floats(1e-3, 1e3))
def test_a_power_law_is_met_where_it_says_and_the_unit_does_not_matter(exponent, rounds, unit):
    labels = 20 + 20 * np.arange(rounds)
    errors = unit * (labels / 1000.0) ** -exponent
    found = project_labels(labels, errors, unit)
    assert found.more == pytest.approx(1000 - labels[-1], abs=1)
    assert found.low == pytest.approx(found.more, abs=1)
    assert found.high == pytest.approx(found.more, abs=1)
    assert found.exponent == pytest.approx(exponent)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Standard error of a share of 0.8 among 600: 0.016."""
    rng = np.random.default_rng(1)
    labels = 20 + 20 * np.arange(6)
    held = []
    for _ in range(600):
        found = project_labels(labels, (labels / 300.0) ** -0.8 * np.exp(0.15 * rng.standard_normal(6)), 1.0)
        held.append(found.low <= 180 and (found.high is None or found.high >= 180))
    assert 0.75 < np.mean(held) < 0.85


def test_more_confidence_costs_a_wider_interval_which_may_have_no_end():
    labels, errors = [20, 40, 60, 80], [0.20, 0.16, 0.165, 0.13]
    ranges = [project_labels(labels, errors, 0.05, confidence=c) for c in (0.5, 0.8, 0.99)]
    assert ranges[0].low > ranges[1].low > ranges[2].low
    assert ranges[0].high < ranges[1].high
    assert ranges[2].high is None
    assert "no upper limit" in ranges[2].words
    assert all(r.more == ranges[0].more for r in ranges)


def test_an_error_that_does_not_fall_is_not_projected():
    for errors in ([0.1, 0.1, 0.1], [0.1, 0.12, 0.14]):
        found = project_labels([20, 40, 60], errors, 0.05)
        assert found.more is None
        assert "has not fallen" in found.words
    slow = project_labels([20, 40, 60], [0.1, 0.0999, 0.0998], 0.01)
    assert slow.more is None
    assert "too slowly" in slow.words


def test_a_target_that_is_met_needs_no_labels():
    found = project_labels([20, 40, 60], [0.1, 0.05, 0.03], 0.05)
    assert found.more == found.low == 0
    assert "none" in project_labels([20, 40, 80], [0.08, 0.04, 0.02], 0.05).words


@pytest.mark.parametrize("n", [0, 1, 2])
def test_two_rounds_are_too_few(n):
    found = project_labels([20, 40][:n], [0.2, 0.1][:n], 0.05)
    assert found.more is None
    assert "3 are needed" in found.words
    assert project_labels([20, 20, 40], [0.2, 0.2, 0.1], 0.05).more is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_values_that_are_no_errors_are_refused(bad):
    with pytest.raises(InputError, match=str(bad)):
        project_labels([20, 40, 60], [0.1, bad, 0.1], 0.05)
    with pytest.raises(InputError, match="target"):
        project_labels([20, 40, 60], [0.1, 0.1, 0.1], bad)


def test_lengths_and_confidence_are_checked():
    with pytest.raises(InputError, match="3 numbers of labels and 2 errors"):
        project_labels([20, 40, 60], [0.1, 0.2], 0.05)
    with pytest.raises(InputError, match="confidence = 1"):
        project_labels([20, 40, 60], [0.1, 0.2, 0.1], 0.05, confidence=1.0)
