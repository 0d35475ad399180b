"""Summaries of closed batches and of the journal: believed while they say the truth, and never missed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.paths import DATA
from tentpole import Campaign, CampaignRecord
from tentpole.campaign import state as state_module
from tentpole.campaign.batches import read_end, read_outcome
from tentpole.campaign.journal_summary import keep_summary, read_journal
from tentpole.campaign.paths import VALIDATION, BatchName, CampaignPaths
from tentpole.campaign.state import RoundState
from tentpole.campaign.usage import Usage
from tentpole.errors import StateError
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.journal import Journal

NAMES: list[BatchName] = [0, VALIDATION, 1, 2, 3]


@pytest.fixture
def paths(tmp_path: Path) -> CampaignPaths:
    """A finished campaign with all summaries."""
    found = CampaignPaths(Path(shutil.copytree(DATA / "v1" / "finished", tmp_path / "run")))
    state = RoundState(found, CampaignRecord.read(found.root).state.method, True, summarises=True)
    for name in NAMES:
        state.record(name)
    keep_summary(found, always=True)
    return found


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches and the events that were read from their own files."""
    found: list[Any] = []
    read_batch, add = state_module.read_batch, Usage.add

    def counted(paths: CampaignPaths, name: BatchName, method: Any) -> Any:
        found.append(name)
        return read_batch(paths, name, method)

    def added(self: Usage, event: Any) -> None:
        found.append(event["event"])
        add(self, event)

    monkeypatch.setattr(state_module, "read_batch", counted)
    monkeypatch.setattr(Usage, "add", added)
    return found


def said(root: Path) -> str:
    """All that a status says."""
    record = CampaignRecord.read(root)
    return json.dumps(record.to_json()) + repr((record.tests, record.projection, record.written))


def test_a_status_says_the_same_with_and_without_and_writes_nothing(paths: CampaignPaths, parsed: list[Any]) -> None:
    found = said(paths.root)
    assert parsed == []
    shutil.rmtree(paths.cache)
    assert said(paths.root) == found
    assert {*NAMES, "opened", "label"} < set(parsed)
    assert not paths.cache.exists()


def test_a_copied_folder_keeps_them_and_a_driver_makes_those_that_lack(
    paths: CampaignPaths, parsed: list[Any], tmp_path: Path
) -> None:
    for name in NAMES:
        os.utime(paths.batch(name), (1, 1))
    said(paths.root)
    assert parsed == []
    shutil.rmtree(paths.cache)
    for number in range(3):  # frozen with its last models alone
        shutil.copytree(paths.models(3), paths.models(number))
    paths.verdict.unlink()
    with Campaign(paths.root) as campaign:  # judges what is done
        assert campaign.verdict is not None
    names = {"validation.json", *(f"r00{number}.json" for number in range(4))}
    assert {path.name for path in paths.cache.iterdir()} == names


def test_a_summary_holds_all_of_outcome_and_end_but_the_pairs(paths: CampaignPaths) -> None:
    state = CampaignRecord.read(paths.root).state
    for number in range(4):
        said, end = read_outcome(paths, number), read_end(paths, number)
        assert replace(state.outcome(number), errors=None) == replace(said, errors=None)
        assert replace(state.end(number), validation=None) == replace(end, validation=None)
        for light, whole in (
            (state.outcome(number).errors, said.errors),
            (state.end(number).validation, end.validation),
        ):
            assert (light is None) == (whole is None)
            if light is not None and whole is not None:
                assert len(whole.parity)
                assert not len(light.parity)
                assert light.to_json() | {"parity": []} == whole.to_json() | {"parity": []}


def test_what_changes_after_it_was_summed_is_read_again(paths: CampaignPaths) -> None:
    end = read_end(paths, 2)
    write_json(paths.end(2), replace(end, under_trained=3).to_json())
    state = CampaignRecord.read(paths.root).state
    assert state.end(2).under_trained == 3
    assert state.outcome(2).errors is not None


@pytest.mark.parametrize("damage", ["flipped", "emptied", "of another", "another method", "another version"])
def test_a_summary_that_is_not_right_counts_as_none(paths: CampaignPaths, parsed: list[Any], damage: str) -> None:
    found = said(paths.root)
    path = paths.summary(2)
    content = read_json(path)
    if damage == "flipped":
        path.write_bytes(path.read_bytes().replace(b"walker", b"walkes").replace(b"true", b"tsue"))
        path.write_bytes(path.read_bytes()[:-20] + b"x" + path.read_bytes()[-19:])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "of another":
        shutil.copy(paths.summary(1), path)
    elif damage == "another method":
        write_json(path, content | {"method": {"reference": "0", "charge": None, "multiplicity": None}})
    else:
        write_json(path, content | {"version": 99})
    assert said(paths.root) == found
    assert set(parsed) == {2}


def test_a_batch_that_was_damaged_is_found_in_spite_of_its_summary(paths: CampaignPaths) -> None:
    path = paths.batch(2)
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2", 1))
    with pytest.raises(StateError, match=r"r002/batch.json: damaged"):
        CampaignRecord.read(paths.root)


@pytest.mark.parametrize("damage", ["flipped", "older journal", "other journal", "another version"])
def test_a_sum_of_a_journal_that_is_not_this_one_counts_as_none(paths: CampaignPaths, damage: str) -> None:
    before = read_journal(paths)
    content = read_json(paths.journal_summary)
    lines = paths.journal.read_bytes().splitlines(keepends=True)
    if damage == "flipped":
        paths.journal_summary.write_text(paths.journal_summary.read_text().replace("labelling", "labellinh", 1))
    elif damage == "older journal":
        paths.journal.write_bytes(b"".join(lines[:-5]))
    elif damage == "other journal":
        paths.journal.write_bytes(b"".join(lines[1:]) + lines[0])
    else:
        write_json(paths.journal_summary, content | {"version": 99})
    now = read_journal(paths)
    assert now.place.lines == len(lines) - 5 * (damage == "older journal")
    paths.journal_summary.unlink()
    assert now.to_json() == read_journal(paths).to_json()
    if damage in ("flipped", "another version"):
        assert now.to_json() == before.to_json()


def test_a_damaged_line_is_named_before_and_after_what_is_summed(paths: CampaignPaths) -> None:
    lines = paths.journal.read_bytes().splitlines(keepends=True)
    with Journal(paths.journal) as log:
        log.append("phase", phase="md", seconds=1.0)
        log.append("phase", phase="md", seconds=2.0)
    assert read_journal(paths).place.lines == len(lines) + 2
    whole = paths.journal.read_bytes()
    for number in (3, len(lines) + 1):
        broken = whole.splitlines(keepends=True)
        broken[number - 1] = broken[number - 1].replace(b"0", b"1")
        paths.journal.write_bytes(b"".join(broken))
        with pytest.raises(StateError, match=rf"journal.jsonl, line {number}: damaged"):
            read_journal(paths)


def test_lines_that_joined_are_added_to_the_sum(paths: CampaignPaths, parsed: list[Any]) -> None:
    with Journal(paths.journal) as log:
        log.append("phase", phase="md", seconds=5.0)
    lines = read_json(paths.journal_summary)["place"][1]
    assert read_journal(paths).place.lines == lines + 1
    assert parsed == ["phase"]
    keep_summary(paths)  # too little is new to be worth it
    assert read_json(paths.journal_summary)["place"][1] == lines
    keep_summary(paths, always=True)
    assert read_json(paths.journal_summary)["place"][1] == lines + 1
