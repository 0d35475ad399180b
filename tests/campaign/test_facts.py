"""Facts of rounds: read from the files of format version 1, and written as they were."""

import json
from pathlib import Path

import pytest

from support.paths import DATA
from tentpole.campaign.batches import Method, read_batch, read_outcome, write_batch
from tentpole.campaign.facts import BatchFacts, ErrorFacts, RoundEnd
from tentpole.campaign.paths import VALIDATION, CampaignPaths
from tentpole.errors import StateError
from tentpole.storage.atomic import read_json, write_json

OLD = CampaignPaths(DATA / "v1" / "finished")
NAMES = (0, VALIDATION, 1, 2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_outcomes_are_written_as_they_were_read(tmp_path: Path, name: int | str) -> None:
    new = CampaignPaths(tmp_path)
    batch = read_batch(OLD, name, Method("ref"))
    write_batch(new, name, batch.requests, batch.facts)
    assert new.batch(name).read_bytes() == OLD.batch(name).read_bytes()
    write_json(new.outcome(name), read_outcome(OLD, name).to_json())
    assert new.outcome(name).read_bytes() == OLD.outcome(name).read_bytes()


@pytest.mark.parametrize("number", range(4))
def test_the_end_of_a_round_is_written_as_it_was_read(tmp_path: Path, number: int) -> None:
    new = CampaignPaths(tmp_path)
    write_json(new.end(number), RoundEnd.from_json(read_json(OLD.end(number))).to_json())
    assert new.end(number).read_bytes() == OLD.end(number).read_bytes()


def test_a_batch_that_was_not_explored_has_no_facts() -> None:
    assert BatchFacts().to_json() == {}
    assert BatchFacts.from_json({}) == BatchFacts()
    assert ErrorFacts.from_json({}) is None


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    paths = CampaignPaths(tmp_path)
    write_json(paths.outcome(1), {"version": 2})
    with pytest.raises(StateError, match=r"labels\.json: format version 2, this Tentpole reads 1"):
        read_outcome(paths, 1)


def test_old_facts_have_what_a_report_needs() -> None:
    facts = read_batch(OLD, 3, Method("ref")).facts
    raw = json.loads(OLD.batch(3).read_text())["facts"]
    assert facts.candidates == raw["candidates"] > 0
    assert facts.force_std_chosen is not None
    assert facts.force_std_chosen.median == raw["force_std_chosen"]["median"]
    assert set(facts.bias_strength_eV) == {"w00", "w01"}
