"""Rules of others that a study holds against Tentpole's own, and an even share under each condition."""

from collections import Counter

import numpy as np
import pytest

from tentpole.benchmarks.sampling.choosing import even_shares
from tentpole.benchmarks.sampling.rules import Band, EntropyFilter, MovingMean, make_policy_rule
from tentpole.entropy import Covariance
from tentpole.errors import InputError
from tentpole.selection import Candidates, Labelled, LogDet

NOTHING = Labelled(np.zeros((0, 1)))


def table(sigma, rows=None):
    n = len(sigma)
    features = np.zeros((n, 1)) if rows is None else np.array([block.mean(axis=0) for block in rows])
    return Candidates([str(i) for i in range(n)], np.array(sigma, dtype=float), features, ["a"] * n, rows)


def test_a_band_is_drawn_from_first_and_what_is_missing_comes_from_outside():
    sigma = [0.01, 0.06, 0.10, 0.14, 0.15, 0.9]
    inside = Band().select(table(sigma), NOTHING, 3, np.random.default_rng(0))
    assert sorted(pick.index for pick in inside) == [1, 2, 3]
    more = Band().select(table(sigma), NOTHING, 5, np.random.default_rng(0))
    assert {1, 2, 3} < {pick.index for pick in more}
    assert sum("since only 3" in pick.reason for pick in more) == 2
    assert len(Band().select(table(sigma), NOTHING, 9, np.random.default_rng(0))) == 6


def test_a_moving_mean_is_that_of_the_frames_right_before():
    sigma = [5.0, 1.0, 1.0, 1.0, 2.0, 1.0]
    rule = MovingMean(window=2)
    picks = rule.select(table(sigma), NOTHING, 1, np.random.default_rng(0))
    assert [pick.index for pick in picks] == [4]  # the first has none before it
    assert "drawn from 1 " in picks[0].reason
    high = MovingMean(window=2, excess=1.5).select(table(sigma), NOTHING, 1, np.random.default_rng(0))
    assert "since only 0" in high[0].reason


def test_a_filter_accepts_in_the_order_of_time_what_gains_given_all_it_accepted():
    rng = np.random.default_rng(1)
    kinds = [rng.normal(size=(4, 3)) + shift for shift in (0.0, 0.0, [9.0, 0, 0], [9.0, 0, 0])]
    rows = [kinds[0], kinds[0], kinds[1], kinds[2], kinds[2], kinds[3]]
    known = Labelled.of_rows([], [], Covariance(), 3)
    picks = EntropyFilter(threshold=0.5).select(table([0.0] * 6, rows), known, 2, np.random.default_rng(0))
    covariance, accepted = Covariance(), []
    for i, block in enumerate(rows):
        if covariance.gain(block) > 0.5:
            covariance.add(block)
            accepted.append(i)
    assert 0 in accepted
    assert 1 not in accepted
    assert {pick.index for pick in picks} <= set(accepted)
    everything = EntropyFilter(threshold=0.5).select(table([0.0] * 6, rows), known, 6, np.random.default_rng(0))
    assert sorted(pick.index for pick in everything) == list(range(6))
    assert known.covariance.n == 0  # the caller's stays as it is


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Band(low=0.3, high=0.1), "0 ≤ low < high"),
        (lambda: Band(low=0.1, high=float("nan")), "0 ≤ low < high"),
        (lambda: MovingMean(window=0), "1 or more"),
        (lambda: MovingMean(excess=float("nan")), "more than -1"),
        (lambda: EntropyFilter(threshold=float("nan")), "finite"),
        (lambda: make_policy_rule("bnad", {}), 'did you mean "band"'),
        (lambda: make_policy_rule("band", {"lowest": 0.1}), 'unknown key "lowest"'),
        (lambda: make_policy_rule("logdet", {"quoat": 1}), "quoat"),
        (lambda: make_policy_rule("band", {"low": "0.1"}), "a number is wanted"),
    ],
)
def test_what_no_rule_can_be_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_rules_of_a_campaign_are_rules_of_a_study():
    assert make_policy_rule("logdet", {"eps": 1e-4}) == LogDet(eps=1e-4)


def test_shares_even_out_what_is_labelled_as_far_as_there_are_candidates():
    assert even_shares(Counter(), {"a": 10, "b": 10, "c": 1}, 7) == {"a": 3, "b": 3, "c": 1}
    assert even_shares(Counter(a=4), {"a": 10, "b": 10}, 4) == {"a": 0, "b": 4}
    assert even_shares(Counter(), {"a": 1, "b": 1}, 9) == {"a": 1, "b": 1}
