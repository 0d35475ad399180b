"""Statistical inefficiency: what is known in closed form, and what has no memory or no variance."""

import numpy as np
import pytest

from tentpole.campaign.correlation import statistical_inefficiency


def remembering(rng, n, memory):
    """A stationary series with autocorrelation memory^k."""
    values = [rng.standard_normal()]
    for _ in range(n - 1):
        values.append(memory * values[-1] + np.sqrt(1 - memory**2) * rng.standard_normal())
    return np.array(values)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8, 0.9])
def test_a_series_that_forgets_exponentially_has_the_inefficiency_of_the_formula(memory):
    rng = np.random.default_rng(1)
    found = [statistical_inefficiency([remembering(rng, 2000, memory)]) for _ in range(20)]
    assert np.mean(found) == pytest.approx((1 + memory) / (1 - memory), rel=0.12)


def test_trajectories_that_stay_apart_are_worth_one_frame_each():
    rng = np.random.default_rng(2)
    apart = [10.0 * k + rng.standard_normal(50) for k in range(4)]
    assert statistical_inefficiency(apart) == 50
    assert statistical_inefficiency([one - one.mean() for one in apart]) < 3


def test_nothing_to_tell_is_one():
    assert statistical_inefficiency([]) == 1.0
    assert statistical_inefficiency([[1.0], []]) == 1.0
    assert statistical_inefficiency([[2.0, 2.0, 2.0]]) == 1.0
