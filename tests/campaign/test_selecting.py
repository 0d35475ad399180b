"""What a rule is shown of candidates, and which of them may be audit frames."""

import numpy as np
import pytest
from ase.build import bulk

from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.preflight import _rule
from tentpole.campaign.selecting import View, audit_order, choose, choose_with_audits, draw_audit
from tentpole.config.loading import load
from tentpole.entropy import Covariance
from tentpole.records import Candidate, Condition, Scores, Snapshot
from tentpole.selection import Candidates, Labelled, Pick, TwoKey


def candidate(step: int, atoms: int = 1, before_mishap: bool = False) -> Candidate:
    crystal = bulk("Cu") * (atoms, 1, 1)
    snapshot = Snapshot(f"r001-w00-{step:06d}", crystal, Condition("cu", 300.0), "w00", 1, step, before_mishap)
    scores = Scores(0.1, 0.1 / atoms, 0.01, 1.0, 0.2, p95_force_std=0.5)
    return Candidate(snapshot, scores, np.ones((atoms, 3)) * step)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_sound_frame_before_a_mishap_is_a_candidate_but_no_audit_frame(seed: int) -> None:
    candidates = [candidate(10), candidate(17, before_mishap=True), candidate(30), candidate(37, before_mishap=True)]
    audited, rest = draw_audit(candidates, 4, 1.0, np.random.default_rng(seed))
    assert [c.snapshot.step for c in audited] == [10, 30]
    assert [c.snapshot.step for c in rest] == [17, 37]
    assert draw_audit(rest, 4, 1.0, np.random.default_rng(seed)) == ([], rest)


@pytest.mark.parametrize(
    ("kind", "few", "many"), [("auto", 0.01, 0.5), ("mean", 0.01, 0.01), ("max", 1.0, 1.0), ("p95", 0.5, 0.5)]
)
def test_the_rule_sees_the_sigma_that_the_campaign_asks_for(kind: str, few: float, many: float) -> None:
    shown = View(kind).table([candidate(10, atoms=2), candidate(20, atoms=60)])
    assert shown.sigma.tolist() == [few, many]


class Listens(TwoKey):
    """A rule that keeps what it was told."""

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list:
        told.append(labelled)
        return super().select(candidates, labelled, k, rng)


told: list[Labelled] = []


@pytest.mark.parametrize(("audits_known", "configurations"), [(True, 4), (False, 2)])
def test_the_rule_knows_the_audit_frames_of_its_batch(audits_known: bool, configurations: int) -> None:
    covariance = Covariance()
    rows = np.random.default_rng(0).normal(size=(2, 4, 3))
    for block in rows:
        covariance.add(block)
    labelled = Labelled(rows.mean(axis=1), ["initial"] * 2, covariance)
    candidates = [candidate(step) for step in range(10, 110, 10)]
    how = {"view": View("max"), "audits_known": audits_known}
    told.clear()
    chosen, facts = choose(candidates, Listens(sigma=0.5), labelled, 4, 0.5, np.random.default_rng(1), **how)
    assert told[0].covariance.configurations == configurations
    assert len(told[0].features) == configurations
    assert covariance.configurations == 2
    assert [audited for _, _, audited in chosen] == [True, True, False, False]
    assert facts.choice == "8 candidates → 2 picked + 2 audit of 4 wanted"
    again = BatchFacts.from_json(BatchFacts(bias_strength_eV={"w00": None}, funnel=facts.funnel, audits=2).to_json())
    assert (again.funnel, again.audits) == (facts.funnel, 2)


def test_check_doubts_an_absolute_floor_of_the_gain(campaign_file) -> None:
    floor = {"rule": "two_key", "settings": {"gain": 0.01}}
    (line,) = _rule(load(campaign_file(selection=floor)))
    assert line.good
    assert line.doubtful
    assert "absolute floor" in line.found
    assert not list(_rule(load(campaign_file(selection={"rule": "two_key"}))))
    assert not list(_rule(load(campaign_file())))


def unbiased(walker: str, step: int, before_mishap: bool = False) -> Candidate:
    crystal = bulk("Cu")
    snapshot = Snapshot(f"r001-{walker}-{step:06d}", crystal, Condition("cu", 300.0), walker, 1, step, before_mishap)
    return Candidate(snapshot, Scores(0.1, 0.1, 0.01 * step, 1.0, 0.2), np.full((1, 3), float(step)))


class Picks:
    """A rule that picks the first `count` frames it is shown, and remembers what it was shown as labelled."""

    def __init__(self, count: int) -> None:
        self.count, self.known = count, 0

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        self.known = len(labelled.features)
        return [Pick(i, candidates.ids[i], {}, "first") for i in range(min(self.count, k, len(candidates.ids)))]


@pytest.mark.parametrize("seed", range(3))
def test_audit_frames_come_first_from_unbiased_walkers_and_fill_what_the_rule_leaves(seed: int) -> None:
    frames = [unbiased("w00", s) for s in range(1, 11)] + [unbiased("w01", s) for s in range(1, 11)]
    frames.append(unbiased("w00", 11, before_mishap=True))
    none = Labelled(np.zeros((0, 3)))
    order = audit_order(frames, {"w00"}, 8, np.random.default_rng(seed))
    assert {frames[i].snapshot.walker for i in order} == {"w00"}
    assert all(not frames[i].snapshot.before_mishap for i in order)
    rule = Picks(2)
    chosen, facts = choose_with_audits(frames, rule, none, 8, 3, order, np.random.default_rng(0))
    audits = [c.snapshot.id for c, _, audit in chosen if audit]
    assert audits == [frames[i].snapshot.id for i in order[:6]]  # whatever the rule picked
    assert [audit for _, _, audit in chosen] == sorted([audit for _, _, audit in chosen], reverse=True)
    assert len({c.snapshot.id for c, _, _ in chosen}) == len(chosen) <= 8
    assert rule.known == 3
    assert facts.chosen == len(chosen)
    full, _ = choose_with_audits(frames, Picks(20), none, 8, 3, order, np.random.default_rng(0))
    assert sum(audit for _, _, audit in full) == 3
    blind, _ = choose_with_audits(frames, Picks(2), none, 8, 0, [], np.random.default_rng(0))
    assert [audit for _, _, audit in blind] == [False, False]
