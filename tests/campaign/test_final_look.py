"""A final look in a real campaign: audit frames alone, judged before training, the same after a stop in its middle."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ase.calculators.emt import EMT

from support.same_end import differing, manifest
from tentpole import Campaign, CampaignRecord
from tentpole.campaign.correlation import statistical_inefficiency
from tentpole.committee.committee_files import member_stems
from tentpole.committee.member_files import read_description
from tentpole.exploration.files import read_exploration
from tentpole.report import explain

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
EASY = {
    "reference": "lenient.toml",
    "stop": {"rounds": 3},
    "target": {"force_error_eV_per_A": 50.0, "rounds": 1, "final_audits": 6},
    "explore": {"temperatures_K": [600.0], "steps": 20, "snapshot_every": 2, "bias": {"ratios": [0.0, 0.3]}},
    "selection": {"rule": "two_key", "batch": 6},
}


def answer(campaign: Campaign, most: int | None = None) -> None:
    """Label by EMT until there is a verdict, or `most` labels of the final look are told."""
    while requests := campaign.ask():
        last = len(requests) == 8
        for request in requests[:most] if last else requests:
            atoms = request.atoms.copy()
            atoms.calc = EMT()
            campaign.tell(request.label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        if last and most is not None:
            return


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with an easy target, stopped in the middle of its final look, and a copy of that moment beside it."""
    from support.small_campaign import small_campaign

    folder = tmp_path_factory.mktemp("final")
    # a committee of this size finds frames whose forces EMT's own limit would turn away
    (folder / "lenient.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 1e6\n')
    path = small_campaign(folder, **EASY)
    with Campaign(path, folder / "run") as campaign:
        answer(campaign, most=3)
        assert campaign.verdict is None
    shutil.copytree(folder / "run", folder / "halfway")
    with Campaign(folder / "run") as campaign:
        answer(campaign)
    return folder / "run"


def test_the_campaign_converges_by_a_look_that_nothing_was_trained_on(done: Path) -> None:
    record = CampaignRecord.read(done)
    assert record.verdict is not None
    assert record.verdict.kind == "CONVERGED"
    last = record.rounds[-1]
    assert last.facts.final_look == 1
    assert [frame.audit for frame in record.state.record(2).frames] == [True] * 8
    assert {frame.walker for frame in record.state.record(2).frames} == {"w00"}
    assert last.outcome is not None
    assert last.outcome.passed is True
    assert not list((done / "models" / "r002").glob("*.safetensors"))
    assert all(test.holds for test in record.verdict.evidence if test.bound is not None)
    assert any("stress" in test.test and test.value for test in record.verdict.evidence)


def test_the_committee_is_trained_to_its_end_before_the_look_and_before_it_is_handed_out(tmp_path: Path) -> None:
    training = {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 6, "batch_size": 4}
    from support.small_campaign import small_campaign

    (tmp_path / "lenient.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 1e6\n')
    path = small_campaign(tmp_path, **EASY, training=training)
    with Campaign(path, tmp_path / "run") as campaign:
        answer(campaign)
    record = CampaignRecord.read(tmp_path / "run")
    assert record.verdict is not None
    assert record.verdict.kind == "CONVERGED"
    finished = record.paths.finished(1)
    assert [one.facts.finished for one in record.rounds] == [False, False, True]
    assert record.state.newest_models(2) == finished  # the committee that was looked at is the one handed out
    assert {stem.parent for stem in member_stems(tmp_path / "run")} == {finished}
    limits = [one.end.limit.limit for one in record.rounds[1:] if one.end is not None and one.end.limit is not None]
    assert [limit.frames for limit in limits] == [3, 8]  # frames that it has judged itself, not those of the one before
    assert record.rounds[2].outcome is not None
    assert record.rounds[2].outcome.covered is None  # no promise was made of its σ
    assert record.state.calibrated(1) == (None, None)
    told = [read_description(stem)["training"] for stem in member_stems(tmp_path / "run")]
    assert all(one["finishing"] and one["updates"] >= 6 for one in told)
    before = manifest(tmp_path / "run")
    shutil.rmtree(finished)
    with Campaign(tmp_path / "run") as campaign:
        answer(campaign)
    assert differing(manifest(tmp_path / "run"), before) == []  # lost, it is made anew


def test_frames_of_a_look_lie_as_far_apart_in_time_as_sigma_takes_to_forget(done: Path, tmp_path: Path) -> None:
    record = CampaignRecord.read(done)
    first, *more = [read_exploration(done / "snapshots" / f"{name}r002-w00.h5") for name in ("", "longer-", "longer2-")]
    assert [first.done, more[0].done] == [20, 34]  # at first 8 frames in place of 3
    series = [math.log(scores.force_std) for shard in (first, more[0]) for scores in shard.scores]
    forgets = 2 * statistical_inefficiency([series])  # a snapshot every 2 steps
    assert 3 * 20 < 8 * forgets < 8 * 20
    assert 0 <= sum(one.done for one in (first, *more)) - 8 * forgets < 2
    look = record.explorations(2)
    assert look["w00"].done >= first.done + sum(one.done for one in more)
    assert look["w01"].done == 20
    seen = look["w00"]
    assert [s.step for s in seen.snapshots] == list(range(seen.snapshots[0].step, seen.walker.step + 1, 2))
    assert len(seen.scores) == len(seen.snapshots) == seen.done // 2
    assert record.explorations(1)["w00"].done == 20
    asked = {frame.id for frame in record.state.record(2).frames}
    assert asked <= {s.id for s in seen.snapshots}
    assert asked - {s.id for s in seen.snapshots[:10]}
    assert max(asked) in explain(done, max(asked))


def test_a_look_whose_md_was_stopped_has_the_same_frames(done: Path, tmp_path: Path) -> None:
    again = shutil.copytree(done.parent / "halfway", tmp_path / "again")
    longer = again / "snapshots" / "longer2-r002-w00.h5"
    whole = read_exploration(longer)
    for path in (longer, again / "rounds" / "r002" / "batch.json"):
        path.unlink()
    for path in (again / "labels").rglob("*.json"):
        if path.stem in {frame.name for frame in CampaignRecord.read(done).state.record(2).frames}:
            path.unlink()
    with Campaign(again) as campaign:
        assert len(campaign.ask()) == 8
    found = read_exploration(longer)
    assert [s.id for s in found.snapshots] == [s.id for s in whole.snapshots]
    assert found.walker.step == whole.walker.step
    batch = "rounds/r002/batch.json"
    assert (again / batch).read_bytes() == (done.parent / "halfway" / batch).read_bytes()


def test_audit_frames_come_first_and_calibrate(done: Path) -> None:
    record = CampaignRecord.read(done)
    audit = [request.audit for request in record.rounds[1].batch.requests]
    assert audit == sorted(audit, reverse=True)
    assert audit[:3] == [True] * 3
    assert record.rounds[2].end is not None
    assert record.rounds[2].end.limit is not None
    assert record.rounds[2].end.limit.limit.scale
    assert record.rounds[2].end.limit.threshold_eV_per_A == pytest.approx(50.0 / record.rounds[2].end.limit.limit.scale)


def test_a_stop_in_the_middle_of_the_look_changes_nothing(done: Path, tmp_path: Path) -> None:
    again = shutil.copytree(done.parent / "halfway", tmp_path / "again")
    with Campaign(again) as campaign:
        waiting = campaign.ask()
        assert len(waiting) == 5
        answer(campaign)
    assert differing(manifest(again), manifest(done)) == []


def test_a_lower_target_goes_on_from_a_look_that_was_passed(done: Path, tmp_path: Path) -> None:
    lower = shutil.copytree(done, tmp_path / "lower")
    file = lower / "campaign.toml"
    file.write_text(file.read_text().replace("force_error_eV_per_A = 50.0", "force_error_eV_per_A = 0.0001"))
    with Campaign(lower) as campaign:
        assert campaign.verdict is None
        answer(campaign)
        assert campaign.verdict is not None
        assert campaign.verdict.kind == "BUDGET"
    record = CampaignRecord.read(lower)
    assert record.rounds[3].facts.final_look == 0
    assert list((lower / "models" / "r003").glob("*.safetensors"))
    looked, after = (record.explorations(number)["w00"] for number in (2, 3))
    assert after.snapshots[0].step == looked.snapshots[-1].step + 2  # where the look's MD ended, not where it began


def test_a_look_that_fails_is_trained_on_and_the_campaign_goes_on(done: Path, tmp_path: Path) -> None:
    strict = shutil.copytree(done.parent / "halfway", tmp_path / "strict")
    file = strict / "campaign.toml"
    file.write_text(file.read_text().replace("force_error_eV_per_A = 50.0", "force_error_eV_per_A = 0.0001"))
    with Campaign(strict) as campaign:
        answer(campaign)
        assert campaign.verdict is not None
        assert campaign.verdict.kind == "BUDGET"
    record = CampaignRecord.read(strict)
    assert record.rounds[2].outcome is not None
    assert record.rounds[2].outcome.passed is False
    assert list((strict / "models" / "r002").glob("*.safetensors"))
    content = json.loads((strict / "rounds" / "r002" / "batch.json").read_text())
    assert content["facts"]["final_look"] == 1


def test_a_look_has_all_its_frames_where_a_round_has_fewer(tmp_path: Path) -> None:
    from support.small_campaign import small_campaign

    (tmp_path / "lenient.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 1e6\n')
    short = {"temperatures_K": [600.0], "steps": 6, "snapshot_every": 2, "bias": {"ratios": [0.0, 0.3]}}
    with Campaign(small_campaign(tmp_path, **EASY | {"explore": short}), tmp_path / "run") as campaign:
        answer(campaign)
    record = CampaignRecord.read(tmp_path / "run")
    assert record.verdict is not None
    assert record.verdict.kind == "CONVERGED"
    assert [frame.audit for frame in record.state.record(2).frames] == [True] * 8
    assert len(record.explorations(1)["w00"].snapshots) == 3
    assert len(record.explorations(2)["w00"].snapshots) >= 8
