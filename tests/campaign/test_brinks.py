"""A structure that falls apart speaks against a committee only where the committee is wrong right before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write

from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord
from tentpole.campaign.audit_tests import audit_tests, final_look_size, near_target
from tentpole.campaign.brinks import among, brinks_of
from tentpole.campaign.confidence import Look
from tentpole.campaign.evidence import Criteria, Round
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.selecting import choose_with_audits
from tentpole.exploration import Exploration, Mishap, init_walker
from tentpole.records import Candidate, Condition, Scores, Snapshot
from tentpole.selection import Labelled, TwoKey

COPPER = Condition("cu", 300.0)
CRITERIA = Criteria(
    0.05, 2, 20, 0.05, 5, None, None, None, evidence="audits", conditions=("cu, 300 K",), batch=20, frames=100
)
FIRST = Round(20, 0, np.zeros(0), [], {}, np.nan, 0, 0, 0, asked=20)


def shard(walker: str, steps: list[int], mishaps: list[tuple[int, str]]) -> Exploration:
    atoms = Atoms("Cu", positions=np.zeros((1, 3)))
    shots = [Snapshot(f"r001-{walker}-{s:06d}", atoms, COPPER, walker, 1, s, s % 10 != 0) for s in steps]
    state = init_walker(walker, COPPER, atoms, np.random.default_rng(0))
    return Exploration(1, state, snapshots=tuple(shots), mishaps=tuple(Mishap(s, r, "") for s, r in mishaps))


def candidate(shot: Snapshot) -> Candidate:
    return Candidate(shot, Scores(0.1, 0.1, 0.2, 0.3, 0.2), np.ones((1, 3)) * shot.step)


def explored(*brinks: float, parted: int = 0, other: int = 0, name: str = "cu, 300 K") -> Round:
    squares = np.full(6, 0.03**2) * np.array([0.6, 0.8, 1.0, 1.0, 1.2, 1.4])
    audits = Look(squares, ("cu, 300 K",) * 6, ("w00",) * 6)
    one = Round(20, 14, np.zeros(0), [], {}, np.nan, 40, 0, parted + other, asked=20, candidates=80)
    last = tuple((name, error**2) for error in brinks)
    return replace(one, audits=replace(one.audits, look=audits), parted=parted, brinks=last)


def test_the_last_snapshots_before_an_unbiased_structure_fell_apart_are_found() -> None:
    parts = [(25, "fell apart"), (42, "temperature"), (47, "fell apart"), (88, "fell apart")]
    plain = shard("w00", [10, 20, 24, 35, 40, 50, 60, 70, 80], parts)
    biased = shard("w01", [10], [(15, "fell apart")])
    # between steps 42 and 47 there is no snapshot: of the second fall nothing can be asked
    assert brinks_of([plain, biased], {"w00"}) == (3, ["r001-w00-000024", "r001-w00-000080"])


def test_of_many_the_labelled_are_spread_evenly_and_those_without_scores_left_out() -> None:
    plain = shard("w00", list(range(10, 110, 10)), [(s + 5, "fell apart") for s in range(10, 110, 10)])
    found = [candidate(shot) for shot in plain.snapshots]
    ids = brinks_of([plain], {"w00"})[1]
    assert among(found, ids) == [1, 5, 8]
    assert among(found[:2], ids) == [0, 1]
    assert among([], ids) == []


@pytest.mark.parametrize(
    ("last", "held"),
    [
        (explored(0.04, 0.05, parted=2), 0.0),
        (explored(0.04, 0.06, parted=2), 2.0),
        (explored(parted=1), 1.0),
        (explored(np.inf, parted=1), 1.0),
        (explored(np.nan, parted=1), 1.0),
        (explored(0.04, parted=1, other=1), 1.0),
        (explored(other=1), 1.0),
    ],
)
def test_a_fall_counts_unless_the_committee_is_right_on_every_frame_before(last: Round, held: float) -> None:
    history = [FIRST, explored(), explored(), last]
    (test,) = (t for t in audit_tests(history, CRITERIA) if t.test == "mishaps of unbiased MD")
    assert (test.value, test.holds) == (held, held == 0)
    assert ("fell apart" in test.note) == (held < last.plain_unhealthy)
    assert (final_look_size(history, CRITERIA) is None) == (held > 0)


def test_a_condition_with_a_target_of_its_own_is_held_to_that() -> None:
    hot = replace(CRITERIA, targets={"cu, 900 K": 0.1})
    history = [FIRST, explored(), explored(), explored(0.08, parted=1, name="cu, 900 K")]
    assert final_look_size(history, hot) is not None
    assert final_look_size(history, CRITERIA) is None


def test_they_are_asked_for_only_near_the_target() -> None:
    assert near_target([FIRST, explored(), explored()], CRITERIA)
    assert not near_target([FIRST, explored(), explored()], replace(CRITERIA, force_error_eV_per_A=0.01))
    assert not near_target([FIRST], CRITERIA)


def test_they_come_after_the_audit_frames_and_the_rule_knows_them() -> None:
    plain = shard("w00", list(range(10, 90, 10)), [])
    frames = [candidate(shot) for shot in plain.snapshots]
    none = Labelled(np.zeros((0, 3)))
    chosen, facts = choose_with_audits(
        frames, TwoKey(), none, 6, 2, [0, 1, 2], np.random.default_rng(0), brinks=[1, 5, 7]
    )
    assert [c.snapshot.step for c, _, _ in chosen[:4]] == [10, 20, 60, 80]  # the second is an audit frame already
    assert [audit for _, _, audit in chosen[:4]] == [True, True, False, False]
    assert "fell apart" in chosen[2][1].reason
    assert len({c.snapshot.id for c, _, _ in chosen}) == len(chosen) <= 6
    assert facts.funnel is not None
    assert facts.funnel.candidates == 4
    again = BatchFacts(bias_strength_eV={"w00": None}, parted=2, brinks=("r001-w00-000060",))
    assert BatchFacts.from_json(again.to_json()) == again


@pytest.mark.slow
def test_a_cluster_that_evaporates_as_the_reference_has_it_converges(tmp_path: Path) -> None:
    write(tmp_path / "dimer.xyz", Atoms("Cu2", positions=[[0, 0, 0], [2.3, 0, 0]]), format="extxyz")
    (tmp_path / "lenient.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 1e6\n')
    path = small_campaign(
        tmp_path,
        reference="lenient.toml",
        structures=[{"file": "dimer.xyz"}],
        stop={"rounds": 3},
        target={"force_error_eV_per_A": 50.0, "rounds": 1, "final_audits": 6},
        explore={
            "temperatures_K": [2000.0],
            "steps": 60,
            "snapshot_every": 4,
            "bias": {"ratios": [0.0, 0.3]},
            "health": {"max_gap_A": 2.5, "max_temperature_ratio": 50, "max_energy_rise_eV_per_atom": 1e3},
        },
        selection={"rule": "two_key", "batch": 6},
    )

    def label(campaign: Campaign) -> None:
        while requests := campaign.ask():
            for request in requests:
                atoms = request.atoms.copy()
                atoms.calc = EMT()
                campaign.tell(request.label(atoms.get_potential_energy(), atoms.get_forces()))

    with Campaign(path, tmp_path / "run") as campaign:
        label(campaign)
    record = CampaignRecord.read(tmp_path / "run")
    assert record.verdict is not None
    assert record.verdict.kind == "CONVERGED", record.verdict
    last = record.rounds[-1]
    assert last.facts.final_look == 1
    assert last.facts.parted > 0
    asked = {request.id: request for request in last.batch.requests}
    assert 1 <= len(last.facts.brinks) <= 3
    assert any("fell apart" in asked[name].reason for name in last.facts.brinks)
    (test,) = (t for t in record.verdict.evidence if t.test == "mishaps of unbiased MD")
    assert test.value == 0.0
    assert test.note
