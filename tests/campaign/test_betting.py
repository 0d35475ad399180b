"""Betting on capped squared errors: a bound at any stopping time, whatever the law of the errors."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.campaign.betting import betting_bound, blocks, log_capital
from tentpole.campaign.confidence import Look
from tentpole.errors import InputError


def rounds_of(rng, count, each=6, rms=1.0):
    return [Look(rms**2 * rng.exponential(1.0, each)) for _ in range(count)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_the_bound_scales_with_the_errors(seed, factor):
    rounds = rounds_of(np.random.default_rng(seed), 8, rms=0.5)
    scaled = [Look(factor**2 * r.squares) for r in rounds]
    one, other = betting_bound(rounds, 2.0), betting_bound(scaled, 2.0 * factor)
    assert other == pytest.approx(factor * one, rel=1e-5)


def test_the_capital_rises_with_the_mean_that_is_bet_against_so_more_confidence_costs_a_higher_bound():
    rounds = rounds_of(np.random.default_rng(1), 10, rms=0.5)
    capital = [log_capital([blocks(r, 2.0) for r in rounds], m) for m in np.linspace(0, 0.99, 30)]
    assert all(a < b for a, b in pairwise(capital))
    assert betting_bound(rounds, 2.0, 0.01) > betting_bound(rounds, 2.0, 0.1)


def test_a_committee_at_the_target_hardly_ever_passes_within_thirty_looks():
    """At most 5 % in truth; the mean of capped exponential errors is below 1, so the target is set to that mean."""
    rng = np.random.default_rng(2)
    target = math.sqrt(1 - math.exp(-9.0))  # E[min(x, 9)] of an exponential x of mean 1
    passed = 0
    for _ in range(100):
        values = [blocks(r, 3.0) for r in rounds_of(rng, 30)]
        passed += any(log_capital(values[: k + 1], (target / 3.0) ** 2) >= math.log(20) for k in range(30))
    assert passed <= 11  # 5 expected at most, standard deviation 2.2


def test_a_better_committee_passes_although_older_rounds_were_bad():
    rng = np.random.default_rng(3)
    rounds = rounds_of(rng, 3, rms=3.0) + rounds_of(rng, 20, rms=0.5)
    assert betting_bound(rounds, 3.0) < 1.0
    assert betting_bound(rounds[:3], 3.0) is None or betting_bound(rounds[:3], 3.0) > 1.5


def test_blocks_hold_one_frame_of_every_condition():
    look = Look(np.array([1.0, 3.0, 2.0, 4.0, 100.0]), ("a", "b", "a", "b", "a"))
    np.testing.assert_allclose(blocks(look, 2.0), [(0.25 + 0.75) / 2, (0.5 + 1.0) / 2])


def test_nothing_is_said_of_nothing_and_wrong_input_is_refused():
    assert betting_bound([], 1.0) is None
    assert betting_bound([Look(np.full(2, 9.0))], 3.0) is None
    with pytest.raises(InputError, match="cap = nan"):
        betting_bound([Look(np.ones(5))], math.nan)
    with pytest.raises(InputError, match="alpha = 0"):
        betting_bound([Look(np.ones(5))], 1.0, 0)
