"""Settings that change in a campaign under way hold from the first round that had not begun; structures may join."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.io import write
from rich.console import Console

from support.same_end import differing, manifest
from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.settings_history import SettingsHistory
from tentpole.campaign.status_schema import check_status
from tentpole.cli.status import print_status
from tentpole.config.loading import load
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration
from tentpole.progress import NoProgress
from tentpole.report import tables, write_report
from tentpole.report.page import pictures

pytestmark = pytest.mark.slow

STRAINED = {"file": "strained.xyz", "name": "strained"}
COPPER = {"file": "copper.xyz"}
EXPLORE = {"temperatures_K": [600.0], "steps": 30, "snapshot_every": 5, "bias": {"ratios": [0.0, 0.3]}}
SELECTION = {"rule": "uncertainty", "batch": 4, "audit": 0.25}


class Notes(NoProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def other(folder: Path, **changes: Any) -> Path:
    """The small campaign with one round and a strained copy of its structure beside it, but for `changes`."""
    folder.mkdir(exist_ok=True)
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 0.95, scale_atoms=True)
    write(folder / "strained.xyz", atoms, format="extxyz")
    return small_campaign(folder, **{"stop": {"rounds": 1}} | changes)


def run(source: Path, folder: Path) -> list[str]:
    notes = Notes()
    with Campaign(source, folder, progress=notes) as campaign:
        campaign.run()
    return notes.said


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that ended after one round."""
    home = tmp_path_factory.mktemp("begun")
    run(other(home), home / "run")
    return home / "run"


@pytest.fixture(scope="module")
def changed(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The same, gone on for a round with longer walkers, one temperature more, another rule and another structure."""
    home = tmp_path_factory.mktemp("changed")
    shutil.copytree(begun, home / "run")
    explore = EXPLORE | {"steps": 40, "temperatures_K": [600.0, 900.0]}
    source = other(
        home,
        stop={"rounds": 2},
        explore=explore,
        structures=[COPPER, STRAINED],
        selection=SELECTION | {"rule": "random", "batch": 6},
    )
    said = run(source, home / "run")
    return home / "run", said


def test_what_belongs_to_rounds_holds_from_the_next_one_and_is_on_record(changed: tuple[Path, list[str]]) -> None:
    folder, said = changed
    paths = CampaignPaths(folder)
    ends = [read_exploration(paths.shard(number, "w00")).walker.step for number in (1, 2)]
    assert ends == [30, 70]  # the walker whose condition stayed goes on
    assert len(paths.shards(1)) == 2
    assert len(paths.shards(2)) == 8
    assert read_exploration(paths.shard(2, "w02")).walker.step == 40  # at 900 K, a new one
    first = next(text for text in said if "from round 2 on" in text)
    assert "explore.steps: 30, now 40" in first
    assert 'selection.rule: "uncertainty", now "random"' in first
    assert "structures: copper, now copper, strained" in first
    events = [json.loads(line.split(" ", 1)[1]) for line in paths.journal.read_text().splitlines()]
    assert [event.get("from_round") for event in events if event["event"] == "settings"] == [None, 2]


def test_status_json_and_page_tell_the_changes_of_settings_by_round(changed: tuple[Path, list[str]]) -> None:
    record = CampaignRecord.read(changed[0])
    (change,) = record.setting_changes
    assert change.from_round == 2
    assert "explore.steps: 30, now 40" in change.changes
    told = record.to_json()
    check_status(json.loads(json.dumps(told)))
    assert told["setting_changes"] == [{"from_round": 2, "changes": list(change.changes)}]
    out = io.StringIO()
    print_status(Console(file=out, width=200), record)
    assert "From round 2 on: explore.steps: 30, now 40;" in out.getvalue()
    page = write_report(changed[0], changed[0].parent / "page").read_text()
    assert "Settings that changed" in page
    assert "explore.steps: 30, now 40" in page


def test_errors_of_forces_energies_and_stress_are_told_each_round_without_a_validation_set(
    changed: tuple[Path, list[str]],
) -> None:
    record = CampaignRecord.read(changed[0])
    assert record.validation is None
    newest = record.rounds[2]
    assert newest.new_force_rmse
    assert newest.new_energy_rmse
    assert newest.new_stress_rmse
    (said,) = [text for text in changed[1] if text.startswith("round 2: on ") and "before training" in text]
    assert f"force RMSE {1000 * newest.new_force_rmse:.1f} meV/Å" in said  # one name, one number
    assert "meV/atom" in said
    assert "stress" in said
    (tile,) = [tile for tile in tables.tiles(record) if tile["what"] == "force RMSE on new labels"]
    assert tile["value"] == tables.milli(newest.new_force_rmse)
    rows = tables.rounds(record)
    column = [name for name, _, _ in rows["columns"]].index("New labels,")
    assert rows["rows"][2][column] == tile["value"]
    out = io.StringIO()
    print_status(Console(file=out, width=200), record)
    assert "stress" in out.getvalue()
    assert {"parity-energy", "parity-stress"} <= {picture.name for picture in pictures(record)}


def test_a_structure_that_joins_gets_first_labels_of_its_own(changed: tuple[Path, list[str]]) -> None:
    record = CampaignRecord.read(changed[0])
    asked = record.state.batch(2).requests
    first = [request for request in asked if request.condition is None]
    assert [request.id for request in first] == [f"r002-{k:04d}" for k in range(6)]
    assert all(request.atoms.get_volume() < 45 for request in first)
    assert {request.condition.structure for request in asked if request.condition} == {"copper", "strained"}
    assert any("strained joined, 6 first labels" in text for text in changed[1])


def test_rounds_that_are_done_are_made_anew_as_they_were(changed: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(changed[0], folder)
    before = manifest(folder)
    paths = CampaignPaths(folder)
    for lost in (paths.shard(1, "w01"), paths.shard(2, "w01"), *paths.models(1).iterdir()):
        lost.unlink()
    shutil.rmtree(paths.cache)
    run(folder, folder)
    assert differing(manifest(folder), before) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"explore": EXPLORE | {"ahead": True}}, "explore.ahead"),
        ({"structures": [STRAINED, COPPER]}, "structures.0.name"),
        ({"training": {"kind": "mace", "channels": 8, "max_L": 0, "r_max": 4.0}}, "training.channels"),
        ({"seed": 6}, "seed"),
    ],
)
def test_what_makes_another_campaign_is_refused(begun: Path, tmp_path: Path, changes: Any, named: str) -> None:
    shutil.copytree(begun, tmp_path / "run")
    with pytest.raises(InputError, match="these differ:") as caught:
        Campaign(other(tmp_path, **changes), tmp_path / "run")
    assert named in str(caught.value)
    assert "training.updates" not in str(caught.value)


def test_a_structure_of_other_elements_is_refused_with_what_to_do(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    write(tmp_path / "silver.xyz", bulk("Ag", cubic=True), format="extxyz")
    source = other(tmp_path, structures=[COPPER, {"file": "silver.xyz"}])
    with pytest.raises(InputError, match=r"brings Ag.*--labels-from"):
        Campaign(source, tmp_path / "run")


def test_the_settings_of_a_round_are_those_that_held_then(tmp_path: Path) -> None:
    first = load(other(tmp_path))
    then = load(other(tmp_path, explore=EXPLORE | {"steps": 40}, stop={"rounds": 9}, structures=[COPPER, STRAINED]))
    history = SettingsHistory(then, ((0, first), (3, then)))
    assert [history.at(number).explore.steps for number in (0, 2, 3, 7)] == [30, 30, 40, 40]
    assert [len(history.at(number).structures) for number in (2, 3)] == [1, 2]
    assert {history.at(number).stop.rounds for number in range(5)} == {9}
    assert [history.joined(number) for number in (0, 2, 3, 4)] == [(), (), ("strained",), ()]


def test_a_campaign_whose_rule_found_nothing_goes_on_under_another(tmp_path: Path) -> None:
    blind = {"rule": "two_key", "batch": 4, "audit": 0.0, "settings": {"sigma": 1e9, "gain": 0.0}, "evidence": "labels"}
    limits = {"stop": {"rounds": 6}, "target": {"force_error_eV_per_A": 1e-4, "rounds": 2}}
    run(small_campaign(tmp_path, **limits, selection=blind), tmp_path / "run")
    record = CampaignRecord.read(tmp_path / "run")
    assert record.verdict is not None
    assert (record.verdict.kind, len(record.rounds)) == ("COVERAGE_EXHAUSTED", 3)
    run(tmp_path / "campaign.toml", tmp_path / "run")  # nothing has changed: it stays as it is
    assert CampaignRecord.read(tmp_path / "run").verdict == record.verdict
    run(small_campaign(tmp_path, **limits, selection=blind | {"settings": {"sigma": 0.0}}), tmp_path / "run")
    record = CampaignRecord.read(tmp_path / "run")
    assert record.verdict is not None
    assert (record.verdict.kind, len(record.rounds)) == ("BUDGET", 7)
    assert all(one.labels for one in record.rounds[3:])
    before = manifest(tmp_path / "run")
    with Campaign(tmp_path / "run") as campaign:
        assert campaign.run().kind == "BUDGET"
    assert differing(manifest(tmp_path / "run"), before) == []
