"""Prediction limits from audit frames: they cover what they say, follow the committee, and say when they cannot."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from tentpole.committee.prediction_limit import (
    conformal_quantile,
    fit_prediction_limit,
    next_alpha,
    pooled_coverage,
)
from tentpole.errors import InputError


def frames(rng, n, centre=0.0, width=0.4):
    """σ and errors with a log-normal ratio."""
    sigma = np.exp(0.5 * rng.standard_normal(n))
    return sigma, sigma * np.exp(centre + width * rng.standard_normal(n))


# ------------------------------------------------------------------------------------------------ by hand


def test_few_frames_give_the_log_normal_limit_by_hand():
    ratio = np.array([0.5, 1.0, 2.0, 4.0])
    y = np.log(ratio)
    expected = math.exp(y.mean() + t.ppf(0.95, 3) * y.std(ddof=1) * math.sqrt(1.25))
    limit = fit_prediction_limit(np.ones(4), ratio)
    assert limit.scale == pytest.approx(expected)
    assert limit.method == "log-normal"
    assert limit.threshold(0.05) == pytest.approx(0.05 / expected)


def test_nineteen_frames_give_the_conformal_quantile_by_hand():
    ratio = np.arange(1.0, 40.0)
    assert fit_prediction_limit(np.ones(19), ratio[:19]).scale == 19.0
    assert fit_prediction_limit(np.ones(39), ratio).scale == 38.0  # ⌈40 · 0.95⌉
    assert fit_prediction_limit(np.ones(39), ratio).method == "conformal"
    assert fit_prediction_limit(np.ones(18), ratio[:18]).method == "log-normal"


def test_old_frames_weigh_half_as_much_per_round():
    values = np.arange(1.0, 31.0)
    assert conformal_quantile(values, np.full(30, 0.5), 0.05) is None  # they weigh 15, 19 are needed
    limit = fit_prediction_limit(np.ones(6), [1, 1, 1, 2, 2, 2], ages=[0, 0, 0, 1, 1, 1])
    assert limit.weight == 4.5
    now = fit_prediction_limit(np.ones(6), [1, 1.1, 0.9, 4, 4.1, 3.9], ages=[0, 0, 0, 9, 9, 9]).scale
    assert now == pytest.approx(fit_prediction_limit(np.ones(3), [1, 1.1, 0.9]).scale, rel=0.2)


# ------------------------------------------------------------------------------------------------ laws


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.floats(0.01, 100.0))
def test_scaling_sigma_scales_the_limit_back(seed, n, factor):
    sigma, error = frames(np.random.default_rng(seed), n)
    names = [f"c{i % 2}" for i in range(n)]
    one = fit_prediction_limit(sigma, error, conditions=names)
    other = fit_prediction_limit(factor * sigma, error, conditions=names)
    assert other.scale == pytest.approx(one.scale / factor)
    assert other.of("c1") == pytest.approx(one.of("c1") / factor)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 15))
def test_a_smaller_miss_rate_costs_a_larger_scale(seed, n):
    sigma, error = frames(np.random.default_rng(seed), n)
    scales = [fit_prediction_limit(sigma, error, alpha=a).scale for a in (0.05, 0.03, 0.02, 0.01)]
    assert all(a < b for a, b in pairwise(scales))


# ------------------------------------------------------------------------------------------------ coverage


@pytest.mark.parametrize("n", [3, 6, 20])
def test_the_share_of_new_frames_within_the_limit_is_what_was_promised(n):
    """Averages of 400 limits; their standard error is below 0.004. Conformal limits may promise 1/(n + 1) too much."""
    rng = np.random.default_rng(n)
    shares = []
    for _ in range(400):
        limit = fit_prediction_limit(*frames(rng, n))
        shares.append(np.mean(limit.covers(*frames(rng, 200))))
    assert 0.935 < np.mean(shares) < 0.965


def test_conditions_that_differ_are_each_covered():
    rng = np.random.default_rng(4)
    within = {"cold": [], "hot": []}
    for _ in range(200):
        parts = {"cold": frames(rng, 6, -0.5), "hot": frames(rng, 6, 0.5)}
        sigma, error = (np.concatenate([parts[c][k] for c in parts]) for k in (0, 1))
        limit = fit_prediction_limit(sigma, error, conditions=["cold"] * 6 + ["hot"] * 6)
        for c, centre in (("cold", -0.5), ("hot", 0.5)):
            within[c].append(np.mean(limit.covers(*frames(rng, 100, centre), [c] * 100)))
    assert np.mean(within["cold"]) > 0.94  # shrunk towards the common mean: safe for the easy condition
    assert np.mean(within["hot"]) > 0.90
    common = fit_prediction_limit(sigma, error).scale
    assert limit.of("cold") < common
    assert limit.of("a third") == limit.scale


def test_alpha_falls_after_misses_and_rises_slowly_without():
    assert next_alpha(0.05, 0, 0) == 0.05
    assert next_alpha(0.05, 6, 6) == 0.01
    assert next_alpha(0.2, 0, 6) == 0.2
    assert next_alpha(0.05, 1, 20) == pytest.approx(0.05)
    with pytest.raises(InputError, match="7 of 6"):
        next_alpha(0.05, 7, 6)


def test_adapting_alpha_brings_the_misses_of_a_drifting_population_back():
    """ln(RMSE/σ) is exponential, which the log-normal limit covers too rarely; α adapts from round to round."""
    rng = np.random.default_rng(5)
    missed = {True: 0, False: 0}
    for adapting in missed:
        for _ in range(20):
            alpha, sigma, error, ages = 0.05, np.empty(0), np.empty(0), np.empty(0)
            for _ in range(20):
                e = np.exp(0.4 * rng.exponential(1.0, 12))
                if len(error) and adapting:
                    limit = fit_prediction_limit(sigma, error, ages=ages, alpha=alpha)
                    alpha = next_alpha(alpha, 12 - sum(limit.covers(np.ones(6), e[6:])) - 6, 6)
                sigma, error, ages = np.append(sigma, np.ones(6)), np.append(error, e[:6]), np.append(ages + 1, [0] * 6)
                limit = fit_prediction_limit(sigma, error, ages=ages, alpha=alpha)
                missed[adapting] += 6 - sum(limit.covers(np.ones(6), e[6:]))
    assert missed[True] < missed[False]


def test_pooled_coverage_has_the_interval_of_clopper_and_pearson():
    found = pooled_coverage([True] * 57 + [False] * 3)
    interval = binomtest(57, 60).proportion_ci(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.share == 0.95
    assert "95 % of 60 audit frames (86.1–99 %" in found.words
    assert pooled_coverage([]).share is None
    assert (pooled_coverage([]).low, pooled_coverage([]).high) == (0.0, 1.0)
    assert pooled_coverage([True] * 5).high == 1.0
    assert pooled_coverage([False] * 5).low == 0.0


@pytest.mark.parametrize(("members", "spread"), [(2, 0.66), (4, 0.35)])
@pytest.mark.parametrize("rounds", [1, 8])
def test_the_limit_of_a_committee_that_has_judged_nothing_reckons_with_how_committees_differ(members, spread, rounds):
    """Spreads between committees as campaigns had them; the limit of the committees that judged covers too little."""
    rng = np.random.default_rng(rounds)
    shares = {True: [], False: []}
    for _ in range(400):
        judged = [frames(rng, 6, spread * rng.standard_normal(), 0.3) for _ in range(rounds)]
        sigma, error = (np.concatenate([one[k] for one in judged]) for k in (0, 1))
        ages, judges = np.repeat(np.arange(rounds)[::-1], 6), np.repeat(np.arange(rounds), 6)
        new = frames(rng, 100, spread * rng.standard_normal(), 0.3)
        for told in shares:
            limit = fit_prediction_limit(sigma, error, ages=ages, committees=judges if told else None, members=members)
            shares[told].append(np.mean(limit.covers(*new)))
    assert np.mean(shares[True]) > 0.945  # more where τ is what the prior says, which is worth three committees
    assert np.mean(shares[True]) < (0.997 if rounds == 1 else 0.99)
    assert np.mean(shares[False]) < np.mean(shares[True]) - 0.04


def test_one_committee_by_hand():
    ratio = np.exp([-0.1, 0.1, -0.1, 0.1])
    within = 0.04 / 3
    expected = math.exp(t.ppf(0.95, 3) * math.sqrt(2 * 3 / 6 / 3 + within))
    limit = fit_prediction_limit(np.ones(4), ratio, committees=[7] * 4, members=4)
    assert limit.scale == pytest.approx(expected)
    assert limit.method == "between committees"


def test_conditions_of_another_committee_have_limits_of_their_own():
    rng = np.random.default_rng(4)
    sigma, error = frames(rng, 24)
    error[::2] *= 3.0
    names = ["hot", "cold"] * 12
    limit = fit_prediction_limit(sigma, error, conditions=names, committees=np.repeat(range(4), 6))
    assert limit.of("cold") < limit.of("a third") == limit.scale < limit.of("hot")


# ------------------------------------------------------------------------------------------------ edges


@pytest.mark.parametrize("n", [0, 1, 2])
def test_below_three_frames_nothing_is_calibrated_and_the_words_say_so(n):
    limit = fit_prediction_limit(np.ones(n), np.ones(n))
    assert limit.scale is None
    assert limit.words.startswith("not calibrated")
    with pytest.raises(InputError, match="not calibrated"):
        limit.threshold(0.05)


def test_an_error_without_disagreement_is_no_small_ratio():
    limit = fit_prediction_limit([1, 1, 1, 0], [1, 1, 1, 0.5])
    assert limit.scale is None
    assert "an error but no disagreement" in limit.words
    many = fit_prediction_limit(np.append(np.ones(40), 0.0), np.append(np.linspace(1, 2, 40), 0.5))
    assert many.scale == 2.0  # the conformal quantile bears a few of them: ⌈42 · 0.95⌉ = 40 of 41
    assert fit_prediction_limit([1, 1, 1, 0], [1, 1, 1, 0]).scale == pytest.approx(1.0)


def test_an_error_of_zero_is_a_small_ratio():
    limit = fit_prediction_limit(np.ones(5), [0.0, 1.0, 1.0, 1.0, 1.0])
    assert 1.0 < limit.scale < math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_values_that_are_no_errors_are_refused(bad):
    with pytest.raises(InputError, match=str(bad)):
        fit_prediction_limit(np.ones(3), [1.0, bad, 1.0])
    with pytest.raises(InputError, match=str(bad)):
        fit_prediction_limit([1.0, bad, 1.0], np.ones(3))
    with pytest.raises(InputError, match="target"):
        fit_prediction_limit(np.ones(3), np.ones(3)).threshold(bad)


def test_lengths_and_alpha_are_checked():
    with pytest.raises(InputError, match="3 σ, 2 errors"):
        fit_prediction_limit(np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="2 committees"):
        fit_prediction_limit(np.ones(3), np.ones(3), committees=[1, 2])
    with pytest.raises(InputError, match="members = 1"):
        fit_prediction_limit(np.ones(3), np.ones(3), members=1)
    with pytest.raises(InputError, match="alpha = 0"):
        fit_prediction_limit(np.ones(3), np.ones(3), alpha=0)
