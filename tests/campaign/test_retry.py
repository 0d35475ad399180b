"""What the machine spoiled is labelled again, as long as nothing was built on its absence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ase.build import bulk

from support.paths import DATA
from support.small_campaign import small_campaign
from tentpole import Campaign
from tentpole.campaign.record import CampaignRecord
from tentpole.campaign.retry import retry_failed
from tentpole.cli.status import standing_now
from tentpole.errors import InputError, StateError
from tentpole.report.standing import advice
from tentpole.storage import journal
from tentpole.storage.labels import quarantine, quarantined
from tentpole.storage.lock import Lock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign with one failure in a closed round, and two in the open one."""
    root = tmp_path / "halfway"
    shutil.copytree(DATA / "v1" / "halfway", root)
    for name, reason in (("open-1", "crashed"), ("open-2", "unconverged")):
        quarantine(root, name, reason, "the licence server was down", bulk("Cu"))
    return root


def test_failures_of_the_open_round_are_taken_back_and_those_of_closed_ones_are_explained(folder: Path) -> None:
    before = dict(quarantined(folder))
    (closed,) = before.keys() - {"open-1", "open-2"}
    retried, too_late = retry_failed(folder)
    assert retried == ["open-1", "open-2"]
    assert [name for name, _ in too_late] == [closed]
    assert "closed" in too_late[0][1]
    assert list(dict(quarantined(folder))) == [closed]
    *_, event = journal.read(folder / "journal.jsonl")
    assert (event["event"], event["names"]) == ("retry", retried)


def test_one_reason_alone_can_be_retried(folder: Path) -> None:
    assert retry_failed(folder, "crashed")[0] == ["open-1"]
    with pytest.raises(InputError, match=r'"crahsed".*unconverged'):
        retry_failed(folder, "crahsed")


def test_a_label_that_was_lost_and_cannot_be_had_anew_can_be_retried_and_that_is_said(folder: Path) -> None:
    state = CampaignRecord.read(folder).state
    name = state.outcome(0).accepted[1]
    state.paths.label(name).unlink()
    quarantine(folder, name, "crashed", "node died", bulk("Cu"))
    with pytest.raises(StateError, match=r"lost.*crashed: node died.*`tentpole retry .*halfway`"):
        state.labels(0)
    assert name in retry_failed(folder)[0]


def test_nothing_is_taken_back_under_a_driver_at_work(folder: Path) -> None:
    with Lock(folder), pytest.raises(StateError, match="another driver"):
        retry_failed(folder)
    assert len(dict(quarantined(folder))) == 3


def test_first_labels_that_failed_are_asked_for_again_where_nothing_was_trained_yet(tmp_path: Path) -> None:
    with Campaign(small_campaign(tmp_path), tmp_path / "run") as campaign:
        asked = campaign.ask()
        campaign.tell([request.failed("crashed", "no queue here") for request in asked])
        with pytest.raises(StateError, match=r"0 of 6 initial labels.*tentpole retry"):
            campaign.ask()
    record = CampaignRecord.read(tmp_path / "run")
    assert "0 of 6 initial labels were accepted" in standing_now(record)
    assert standing_now(record).endswith(f"tentpole retry {tmp_path / 'run'}")
    assert [command for _, command in advice(record, "", "")][:1] == [f"tentpole retry {tmp_path / 'run'}"]
    names = sorted(request.name for request in asked)
    retried, too_late = retry_failed(tmp_path / "run")
    assert (sorted(retried), too_late) == (names, [])
    with Campaign(tmp_path / "run") as campaign:
        assert sorted(request.name for request in campaign.ask()) == names
