"""Each rule chooses what it says, deterministically, at most k, and gives its reason."""

from collections import Counter

import numpy as np
import pytest

from tentpole.entropy import Covariance
from tentpole.errors import InputError
from tentpole.selection import (
    KINDS,
    Candidates,
    Funnel,
    Hybrid,
    Labelled,
    LogDet,
    TwoKey,
    before_gain_ranked,
    funnel_of,
    make_rule,
)
from tentpole.testing import SelectionRuleConformance


def table(n=40, d=5, seed=0, conditions=4, atoms=0):
    rng = np.random.default_rng(seed)
    spread = 1.0 + np.arange(n) % conditions  # the last condition is the widest
    rows = [rng.normal(size=(atoms, d)) * s for s in spread] if atoms else None
    features = np.stack([r.mean(axis=0) for r in rows]) if rows else rng.normal(size=(n, d)) * spread[:, None]
    return Candidates(
        [f"r000-w{i:02d}-000000" for i in range(n)],
        rng.uniform(0.01, 0.5, n),
        features,
        [f"{300 * int(s)} K" for s in spread],
        rows,
    )


def known(m=6, d=5, seed=1):
    return Labelled(np.random.default_rng(seed).normal(size=(m, d)))


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("name", KINDS)
class TestEveryRule(SelectionRuleConformance):
    """The shipped laws, over all rules."""

    @pytest.fixture
    def rule(self, name):
        return make_rule(name)

    def test_it_gives_k_where_k_are_wanted(self, name, rule):
        picks = rule.select(table(), known(), 7, rng())
        assert len(picks) == 7


def test_random_draws_each_as_often():
    counts = Counter()
    generator = np.random.default_rng(0)
    for _ in range(2000):
        counts.update(p.index for p in make_rule("random").select(table(10), known(), 3, generator))
    assert min(counts.values()) > 500
    assert max(counts.values()) < 700


def test_uncertainty_takes_the_highest_disagreement():
    candidates = table()
    picks = make_rule("uncertainty").select(candidates, known(), 5, rng())
    assert [p.index for p in picks] == np.argsort(-candidates.sigma)[:5].tolist()


def test_diversity_takes_one_of_each_cluster():
    centres = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    points = np.repeat(centres, 10, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    candidates = Candidates([str(i) for i in range(40)], np.ones(40), points, ["a"] * 40)
    picks = make_rule("diversity").select(candidates, Labelled(np.zeros((0, 2))), 4, rng())
    assert sorted(p.index // 10 for p in picks) == [0, 1, 2, 3]
    for pick in picks:
        group = points[10 * (pick.index // 10) :][:10]
        nearest = np.argmin(np.linalg.norm(group - group.mean(axis=0), axis=1))
        assert pick.index % 10 == nearest


def test_diversity_of_doubled_points_still_gives_distinct_picks():
    candidates = Candidates([str(i) for i in range(8)], np.ones(8), np.zeros((8, 2)), ["a"] * 8)
    picks = make_rule("diversity").select(candidates, Labelled(np.zeros((0, 2))), 4, rng())
    assert len({p.index for p in picks}) == 4


def test_hybrid_at_its_ends_is_disagreement_or_distance():
    candidates = table()
    by_sigma = Hybrid(weight=1.0).select(candidates, known(), 5, rng())
    assert [p.index for p in by_sigma] == np.argsort(-candidates.sigma)[:5].tolist()
    first = Hybrid(weight=0.0).select(candidates, known(), 1, rng())[0]
    distances = np.linalg.norm(candidates.features[:, None] - known().features, axis=2).min(axis=1)
    assert first.index == distances.argmax()
    assert first.scores["distance"] == pytest.approx(distances.max())


def test_hybrid_weighs_six_to_four_and_avoids_what_it_has_just_chosen():
    features = np.array([[0.0], [10.0], [10.0], [4.0]])
    candidates = Candidates(list("abcd"), np.array([0.0, 1.0, 1.0, 0.8]), features, ["x"] * 4)
    picks = Hybrid().select(candidates, Labelled(np.array([[0.0]])), 2, rng())
    assert [p.id for p in picks] == ["b", "d"]  # c has b's score until b, which is where c is, is taken
    assert picks[0].scores["score"] == pytest.approx(1.0)
    assert picks[1].scores["score"] == pytest.approx(0.6 * 0.8 + 0.4 * 0.4)


@pytest.mark.parametrize("method", ["exact", "information", "cholesky"])
def test_logdet_keeps_an_equal_share_per_condition_unless_told(method):
    candidates = table()
    even = LogDet(method=method).select(candidates, known(), 8, rng())
    assert set(Counter(candidates.conditions[p.index] for p in even).values()) == {2}
    free = LogDet(method=method, quota="none").select(candidates, known(), 8, rng())
    assert Counter(candidates.conditions[p.index] for p in free)["1200 K"] > 2
    three = LogDet(method=method, quota=3).select(candidates, known(), 8, rng())
    assert max(Counter(candidates.conditions[p.index] for p in three).values()) <= 3


def test_logdet_uses_the_dataset_s_covariance_and_every_atom():
    candidates = table(12, atoms=6)
    covariance = Covariance("per-atom", eps=1e-3)
    for seed in range(4):
        covariance.add(np.random.default_rng(seed).normal(size=(6, 5)))
    labelled = Labelled(np.zeros((4, 5)), covariance=covariance)
    picks = LogDet(quota="none").select(candidates, labelled, 1, rng())
    gains = covariance.gains(candidates.rows)
    assert picks[0].index == gains.argmax()
    assert picks[0].scores["gain"] == pytest.approx(gains.max())
    assert covariance.configurations == 4


def test_two_keys_must_both_turn():
    candidates = table(atoms=4)
    covariance = Covariance("per-atom", eps=1e-3)
    covariance.add(np.random.default_rng(0).normal(size=(200, 5)) * 2)
    labelled = Labelled(np.zeros((1, 5)), covariance=covariance)
    gains = covariance.gains(candidates.rows)
    both = (candidates.sigma >= 0.25) & (gains >= 0.02)
    assert 0 < both.sum() < min((candidates.sigma >= 0.25).sum(), (gains >= 0.02).sum())
    picks = TwoKey(sigma=0.25, gain=0.02, quota="none").select(candidates, labelled, 40, rng())
    assert 0 < len(picks) <= both.sum()
    assert all(both[p.index] for p in picks)
    assert all(p.scores["gain"] >= 0.02 for p in picks)
    assert picks[0].index == np.argmax(np.where(both, gains, -np.inf))
    assert TwoKey(sigma=9.0).select(candidates, labelled, 5, rng()) == []
    assert TwoKey(sigma=0.0, gain=99.0).select(candidates, labelled, 5, rng()) == []


def test_without_a_floor_as_many_are_chosen_as_are_wanted_whatever_they_gain():
    candidates = table(atoms=4)
    covariance = Covariance("per-atom", eps=1e-3)
    covariance.add(np.random.default_rng(0).normal(size=(20, 5)) * 9)
    labelled = Labelled(np.zeros((1, 5)), covariance=covariance)
    assert covariance.gains(candidates.rows).max() < 0
    assert len(TwoKey(sigma=0.0, gain=-np.inf, quota="none").select(candidates, labelled, 6, rng())) == 6


def test_the_floor_can_follow_the_candidates_median_gain():
    candidates = table(atoms=4)
    covariance = Covariance("per-atom", eps=1e-3)
    covariance.add(np.random.default_rng(0).normal(size=(50, 5)))
    labelled = Labelled(np.zeros((1, 5)), covariance=covariance)
    gains = covariance.gains(candidates.rows)
    picks = TwoKey(sigma=0.0, gain=0.0, gain_of_median=1.5).select(candidates, labelled, 40, rng())
    assert picks
    assert all(gains[p.index] >= 1.5 * np.median(gains) for p in picks)


def test_a_misspelt_rule_or_setting_is_answered_with_the_right_one():
    with pytest.raises(InputError, match='did you mean "uncertainty"'):
        make_rule("uncertainy")
    with pytest.raises(InputError, match='did you mean "weight"'):
        make_rule("hybrid", weigth=0.5)
    with pytest.raises(InputError, match="weight must lie"):
        make_rule("hybrid", weight=2.0)
    with pytest.raises(InputError, match="wrong kind"):
        make_rule("hybrid", weight="much")
    with pytest.raises(InputError, match="quota"):
        make_rule("logdet", quota=0)
    with pytest.raises(InputError, match="quota"):
        make_rule("two_key", quota="evn")


def test_a_shortlist_keeps_the_first_key_to_the_highest_sigma():
    candidates = table()
    picks = TwoKey(sigma=0.0, shortlist=2, gain=-np.inf, quota="none").select(candidates, known(), 5, rng())
    best = set(np.argsort(-candidates.sigma)[:10].tolist())
    assert len(picks) == 5
    assert {p.index for p in picks} <= best
    with pytest.raises(InputError, match="shortlist must be at least 1"):
        TwoKey(shortlist=0.5)


def broad(seed=0, scale=9.0, eps=1e-3):
    """A dataset so broad that every candidate of `table` lowers its log-det."""
    covariance = Covariance("per-atom", eps=eps)
    covariance.add(np.random.default_rng(seed).normal(size=(200, 5)) * scale)
    return Labelled(np.zeros((1, 5)), covariance=covariance)


def test_a_small_gain_silences_no_frame_that_the_committee_disagrees_about():
    candidates, labelled = table(atoms=4), broad()
    assert labelled.covariance.gains(candidates.rows).max() < 0  # today's floor of 0.01 lets nothing through
    rule = TwoKey(sigma=0.0)
    assert len(rule.select(candidates, labelled, 8, rng())) == 8
    assert str(funnel_of(rule, candidates, labelled, 8, 8)) == "40 candidates → 8 picked"


def test_the_gain_ranks_within_the_shortlist_alone():
    candidates, labelled = table(atoms=4), broad(scale=1.0)
    picks = TwoKey(sigma=0.0, quota="none").select(candidates, labelled, 3, rng())
    shortlist = np.argsort(-candidates.sigma)[:15]
    assert {p.index for p in picks} <= set(shortlist.tolist())
    gains = labelled.covariance.gains(candidates.rows)
    assert picks[0].index == shortlist[np.argmax(gains[shortlist])]
    found = funnel_of(TwoKey(sigma=0.0), candidates, labelled, 3, 3)
    lowest = candidates.sigma[shortlist].min()
    assert found == Funnel(40, 15, 15, 3, threshold=float(lowest))


def test_a_copy_of_a_chosen_frame_is_passed_over_for_one_that_is_new():
    known_rows = np.random.default_rng(0).normal(size=(200, 5))
    covariance = Covariance("per-atom")
    covariance.add(known_rows)
    new, other = np.random.default_rng(1).normal(size=(2, 6, 5)) * 2.5
    candidates = Candidates(
        list("abc"), np.full(3, 0.3), np.stack([new, new, other]).mean(axis=1), ["x"] * 3, [new, new, other]
    )
    picks = TwoKey(sigma=0.1).select(candidates, Labelled(np.zeros((1, 5)), covariance=covariance), 2, rng())
    assert {p.id for p in picks} in ({"a", "c"}, {"b", "c"})


def test_a_floor_of_old_keeps_its_meaning_and_is_warned_about():
    candidates, labelled = table(atoms=4), broad()
    assert TwoKey(sigma=0.0, gain=0.01).select(candidates, labelled, 8, rng()) == []
    assert "gain = 0.01 is an absolute floor" in TwoKey(gain=0.01).warning
    assert TwoKey().warning == TwoKey(gain=-np.inf).warning == ""
    old = TwoKey(sigma=0.0, gain=-1e3)
    assert funnel_of(old, candidates, labelled, 1, 1).uncertain == 40  # no shortlist unless it is stated
    assert before_gain_ranked("two_key", {"sigma": 0.1, "eps": 1e-4}) == {"sigma": 0.1, "gain": 0.01}
    assert before_gain_ranked("two_key", {"gain": 0.003}) == {"gain": 0.003}
    assert before_gain_ranked("hybrid", {"weight": 0.5}) == {"weight": 0.5}


def test_every_candidate_is_told_which_key_it_passes():
    candidates, labelled = table(atoms=4), broad(scale=1.0)
    keys = TwoKey(sigma=0.25, gain=0.02).keys(candidates, labelled, 5)
    gains = labelled.covariance.gains(candidates.rows)
    assert (keys.uncertain == (candidates.sigma >= 0.25)).all()
    assert (keys.new == (gains >= 0.02)).all()
    both = int(np.flatnonzero(keys.uncertain & ~keys.new)[0])
    said = keys.words(both, candidates.sigma[both])
    assert "passes the first key" in said
    assert "fails the second" in said
    assert "ranks it" in TwoKey(sigma=0.25).keys(candidates, labelled, 5).words(both, candidates.sigma[both])
    assert funnel_of(make_rule("random"), candidates, labelled, 5, 5) == Funnel(40, 40, 40, 5)


@pytest.mark.parametrize("name", ["logdet", "two_key"])
def test_the_eps_of_a_rule_is_used_though_the_dataset_has_its_own(name):
    candidates = table(atoms=4)
    narrow = Labelled(np.zeros((1, 5)), covariance=broad(scale=1e-3, eps=1e-1).covariance)
    usual = make_rule(name).select(candidates, narrow, 3, rng())
    finer = make_rule(name, eps=1e-9).select(candidates, narrow, 3, rng())
    assert finer[0].scores["gain"] > usual[0].scores["gain"] + 1.0
    assert narrow.covariance.eps == 1e-1
    with pytest.raises(InputError, match="eps must be a variance above 0"):
        make_rule(name, eps=-1.0).select(candidates, narrow, 3, rng())


def test_audit_frames_of_the_batch_join_what_the_rule_knows():
    candidates, labelled = table(atoms=4), broad(scale=1.0)
    first = LogDet(quota="none").select(candidates, labelled, 1, rng())[0]
    block = candidates.rows[first.index]
    joined = labelled.joined(block.mean(axis=0, keepdims=True), [block])
    assert joined.covariance.configurations == labelled.covariance.configurations + 1
    assert LogDet(quota="none").select(candidates, joined, 1, rng())[0].index != first.index
    assert labelled.joined(np.zeros((0, 5))) is labelled
    assert known().joined(np.zeros((2, 5))).features.shape == (8, 5)
