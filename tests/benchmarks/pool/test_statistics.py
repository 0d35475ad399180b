"""The statistics, against scipy and by hand, and no verdict beyond them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tentpole.benchmarks.pool.statistics import area, bootstrap_intervals, cohen, compare, holm, labels_needed
from tentpole.errors import InputError


def curves(shift, seeds=10, seed=0, noise=0.01):
    """random and two rules, one shifted; the seeds' own differences are shared by all rules."""
    rng = np.random.default_rng(seed)
    labels = np.tile([30.0, 45, 60], (seeds, 1))
    base = np.array([0.5, 0.4, 0.3]) + 0.1 * rng.normal(size=(seeds, 1))
    mae = {
        "same": base + noise * rng.normal(size=base.shape),
        "random": base,
        "shifted": base + shift + noise * rng.normal(size=base.shape),
    }
    return dict.fromkeys(mae, labels), mae, {rule: 1 - m for rule, m in mae.items()}


def by_rule(rows):
    return {c.rule: c for c in rows}


def test_a_clear_difference_is_found_in_spite_of_the_seeds_spread():
    labels, mae, r2 = curves(-0.05)
    rows = compare(labels, mae, r2)
    assert rows[0].rule == "random"
    found = by_rule(rows)
    final = mae["shifted"][:, -1]
    assert found["shifted"].p_paired == stats.ttest_rel(final, mae["random"][:, -1]).pvalue
    assert found["shifted"].p_unpaired == stats.ttest_ind(final, mae["random"][:, -1]).pvalue
    assert found["shifted"].p_wilcoxon == stats.wilcoxon(final - mae["random"][:, -1]).pvalue
    assert found["shifted"].verdict == "better than random"
    assert found["shifted"].p_unpaired > 0.05  # the unpaired test does not see it
    assert found["same"].verdict == "not distinguishable from random"
    assert found["random"].verdict == "baseline"
    assert found["shifted"].low < -0.05 + 0.01
    assert found["shifted"].high < 0
    assert 30 < found["shifted"].labels_needed < 60
    assert by_rule(compare(*curves(+0.05)))["shifted"].verdict == "worse than random"


def test_chance_alone_is_seldom_called_better():
    wrong = sum(
        c.verdict in ("better than random", "worse than random")
        for seed in range(60)
        for c in compare(*curves(0.0, seed=seed, noise=0.05), bootstrap=10)
    )
    assert wrong <= 8  # at most 5 % of 60 families, generously


def test_equal_curves_give_p_of_one():
    labels, mae, r2 = curves(0.0, noise=0.0)
    assert by_rule(compare(labels, mae, r2))["same"].p_holm == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_plain_and_bonferronis(p):
    corrected = holm(p)
    assert all(a <= b <= min(1, len(p) * a) + 1e-12 for a, b in zip(p, corrected, strict=True))


def test_area_and_labels_needed():
    labels, mae = np.array([[0.0, 10, 30]]), np.array([[1.0, 0.5, 0.5]])
    assert area(labels, mae)[0] == pytest.approx((7.5 + 10) / 30)
    assert labels_needed(labels[0], mae[0], 0.75) == pytest.approx(5)
    assert labels_needed(labels[0], mae[0], 2.0) == 0
    assert np.isnan(labels_needed(labels[0], mae[0], 0.4))


def test_bootstrap_covers_the_mean_and_repeats():
    x = np.random.default_rng(0).normal(0.3, 1, 40)
    (low, high), (effect_low, effect_high) = bootstrap_intervals(x, 4000)
    assert low < x.mean() < high
    assert effect_low < cohen(x) < effect_high
    reference = stats.bootstrap((x,), np.mean, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx(tuple(reference), abs=0.05)
    assert bootstrap_intervals(x, 4000)[0] == (low, high)


def test_without_random_or_with_one_seed_there_is_nothing_to_say():
    labels, mae, r2 = curves(0.0)
    with pytest.raises(InputError, match='compare with "random"'):
        compare(labels, {"same": mae["same"]}, r2)
    with pytest.raises(InputError, match="1 seed gives no statistics"):
        compare({r: x[:1] for r, x in labels.items()}, {r: x[:1] for r, x in mae.items()}, r2)
