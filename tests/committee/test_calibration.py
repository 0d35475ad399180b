"""Calibration: coverage is what was promised, too little data is said, collapse is seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.committee.calibration import atom_cases, calibrate, member_diversity, structure_cases
from tentpole.committee.committee import Prediction
from tentpole.errors import InputError


def predicted(error_spread, common, members=4, frames=40, atoms=5, seed=0):
    """Members that err by `common` together and by `error_spread` each; reference forces are zero."""
    rng = np.random.default_rng(seed)
    together = rng.normal(0, common, (frames, 1, atoms, 3))
    each = rng.normal(0, error_spread, (frames, members, atoms, 3))
    forces = list(together + each)
    prediction = Prediction(np.zeros((members, frames)), forces, None, [""] * frames)
    return prediction, [np.zeros((atoms, 3))] * frames


def test_the_scale_is_the_conformal_quantile_by_hand():
    sigma, error = np.ones(39), np.arange(1.0, 40.0)
    # k = ceil(40 * 0.9) = 36th smallest
    assert calibrate(sigma, error, alpha=0.1).scale == 36.0
    assert calibrate(sigma, error, alpha=0.05).scale == 38.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_scaling_sigma_scales_the_answer_back(seed, factor):
    rng = np.random.default_rng(seed)
    sigma, error = rng.gamma(2, 1, 60), rng.gamma(2, 1, 60)
    one, other = calibrate(sigma, error), calibrate(factor * sigma, error)
    assert one.scale is not None
    assert other.scale == pytest.approx(one.scale / factor)
    assert other.threshold(0.1) == pytest.approx(factor * one.threshold(0.1))


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_coverage_of_new_cases_is_at_least_what_was_promised_on_average(alpha):
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        sigma = rng.gamma(2.0, 0.05, 250)
        error = sigma * np.abs(rng.standard_t(4, 250))
        known = calibrate(sigma[:50], error[:50], alpha=alpha)
        covered.append(known.coverage(sigma[50:], error[50:]))
    assert np.mean(covered) >= 1 - alpha - 0.005  # three standard errors of this mean are below 0.01
    assert np.mean(covered) < 1 - alpha + 0.03


def test_below_a_threshold_from_an_error_target_misses_are_rare():
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.0, 0.1, 20_000)
    error = sigma * np.abs(rng.normal(size=20_000)) * 3
    known = calibrate(sigma[:1000], error[:1000], alpha=0.05)
    threshold = known.threshold(0.2)
    below = sigma[1000:] < threshold
    assert 0 < below.mean() < 1
    assert np.mean(error[1000:][below] > 0.2) <= 0.05


def test_too_few_structures_are_said_and_never_guessed():
    few = calibrate(np.ones(100), np.ones(100), structures=5)
    assert few.scale is None
    assert "5 held-out structures" in few.words
    assert "20 structures are needed" in few.words
    with pytest.raises(InputError, match="not calibrated"):
        few.threshold(0.1)
    assert calibrate(np.ones(50), np.ones(50), alpha=0.001).scale is None  # rank beyond n
    assert "cases" in calibrate(np.ones(50), np.ones(50)).words


def test_silence_is_not_certainty():
    sigma, error = np.zeros(60), np.full(60, 0.1)
    assert calibrate(sigma, error).scale is None
    assert "no disagreement" in calibrate(sigma, error).words
    sigma[:59] = 1.0
    assert calibrate(sigma, error).scale == pytest.approx(0.1)  # one silent case in sixty: within 5 %


@pytest.mark.parametrize(
    ("sigma", "error", "alpha", "message"),
    [
        ([1.0], [1.0, 2.0], 0.05, "one error per"),
        ([np.nan], [1.0], 0.05, "finite"),
        ([1.0], [-1.0], 0.05, "negative"),
        ([1.0], [1.0], 1.5, "alpha = 1.5"),
    ],
)
def test_bad_input_is_refused(sigma, error, alpha, message):
    with pytest.raises(InputError, match=message):
        calibrate(sigma, error, alpha=alpha)


def test_cases_come_from_structures_that_did_not_fail():
    prediction, references = predicted(0.1, 0.1, frames=6)
    prediction.failed[2] = "no atoms"
    sigma, error = atom_cases(prediction, references)
    assert len(sigma) == len(error) == 25
    largest_sigma, largest_error = structure_cases(prediction, references)
    assert len(largest_sigma) == 5
    assert largest_sigma[0] == sigma[:5].max()
    assert largest_error[0] == error[:5].max()


def test_members_that_have_become_alike_are_reported():
    healthy = member_diversity(*predicted(0.1, 0.05))
    assert not healthy.collapsed
    assert healthy.spread_ratio > 0.5
    collapsed = member_diversity(*predicted(0.01, 0.1))
    assert collapsed.collapsed
    assert "alike" in collapsed.words
    # the formula in the docstring: four members with error correlation 0.5 have ratio sqrt(0.5 * 3 / 2.5)
    half = member_diversity(*predicted(0.1, 0.1, frames=4000))
    assert half.spread_ratio == pytest.approx(np.sqrt(0.6), rel=0.02)
    assert np.isnan(member_diversity(Prediction(np.zeros((2, 0)), [], None, []), []).spread_ratio)
