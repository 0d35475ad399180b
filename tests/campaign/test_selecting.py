"""What a rule is shown of candidates, and which of them may be audit frames."""

import numpy as np
import pytest
from ase.build import bulk

from tentpole.campaign.selecting import draw_audit, table
from tentpole.records import Candidate, Condition, Scores, Snapshot


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
    shown = table([candidate(10, atoms=2), candidate(20, atoms=60)], kind)
    assert shown.sigma.tolist() == [few, many]
