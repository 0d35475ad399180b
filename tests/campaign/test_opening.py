"""Opening a folder: what cannot go on says so at once, and nothing outside the folder is needed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from support.paths import DATA
from tentpole import Campaign, CampaignRecord
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.training import member_seed
from tentpole.errors import InputError, StateError
from tentpole.labeling import Task, compute, load
from tentpole.report import explain
from tentpole.storage.journal import read

Make = Callable[..., Path]
ZERO = np.zeros((4, 3))
MINE = 'parent = "emt"\ncode_version = "1"\n'


def test_too_few_initial_labels_are_refused_at_every_start_with_the_reason(campaign_file: Make, tmp_path: Path) -> None:
    with Campaign(campaign_file(), tmp_path / "run") as campaign:
        first, *others = campaign.ask()
        campaign.tell([first.label(0.0, ZERO), *(request.failed("unconverged") for request in others)])
        with pytest.raises(StateError, match="1 of 6 initial labels were accepted"):
            campaign.ask()
    for _ in range(2):
        with pytest.raises(StateError, match=r"1 of 6 initial labels.*needs at least 2.*quarantine"):
            Campaign(tmp_path / "run")
    assert CampaignRecord.read(tmp_path / "run").failed_labels == 5


def test_there_is_no_committee_before_the_first() -> None:
    record = CampaignRecord.read(DATA / "v1" / "finished")
    assert record.state.newest_models(3) == record.paths.models(3)
    with pytest.raises(StateError, match="no committee has been trained up to round -1"):
        record.state.newest_models(-1)


@pytest.mark.parametrize("journal", ["none", "older"])
def test_a_lost_or_older_journal_does_not_stop_the_next_drivers(
    campaign_file: Make, tmp_path: Path, journal: str
) -> None:
    path, paths = campaign_file(stop={"rounds": 0}), CampaignPaths(tmp_path / "run")
    Campaign(path, paths.root).close()
    older = paths.journal.read_bytes()
    for _ in range(2):
        Campaign(path, paths.root).close()
    if journal == "older":
        paths.journal.write_bytes(older)
    else:
        paths.journal.unlink()
    paths.spent.mkdir(exist_ok=True)
    (paths.spent / "done-driver.3_1-host.1-1").write_text('{"driver.3": 3600.0}')
    for _ in range(2):
        Campaign(path, paths.root).close()
    assert CampaignRecord.read(paths.root).usage.hours == pytest.approx(1.0, abs=0.02)
    numbers = [event.get("driver") for event in read(paths.journal) if event["event"] == "opened"]
    assert numbers[-2:] == [4, 5]


def test_seeds_of_members_are_as_they_were_and_large_ones_fit() -> None:
    assert [member_seed(7, m) for m in range(3)] == [7000, 7001, 7002]
    large = [member_seed(seed, m) for seed in (4294968, 20261121, 2**63 - 1) for m in range(4)]
    assert all(0 <= seed < 2**32 for seed in large)
    assert len(set(large)) == 12


def test_a_folder_that_was_moved_is_not_made_again(campaign_file: Make, tmp_path: Path) -> None:
    root, now = tmp_path / "run", tmp_path / "moved"
    campaign = Campaign(campaign_file(), root)
    first, *_ = campaign.ask()
    root.rename(now)
    for action in (campaign.ask, lambda: campaign.tell(first.label(0.0, ZERO))):
        with pytest.raises(StateError, match=r"was moved or removed.*tentpole run FOLDER"):
            action()
    task = Task(root, load("emt"), first.atoms, root_exists=True)
    with pytest.raises(StateError, match="cannot be written"):
        compute(task)
    campaign.close()
    assert not root.exists()
    (now / "lock").unlink()  # it names this process, which works on
    with Campaign(now) as again:
        assert len(again.ask()) == 6


def test_another_folder_in_the_place_of_a_moved_one_is_left_alone(campaign_file: Make, tmp_path: Path) -> None:
    root = tmp_path / "run"
    with Campaign(campaign_file(), root) as campaign:
        first, *_ = campaign.ask()
        root.rename(tmp_path / "moved")
        root.mkdir()
        with pytest.raises(StateError, match="was moved or removed"):
            campaign.tell(first.label(0.0, ZERO))
    assert list(root.iterdir()) == []


def test_the_folder_holds_its_reference_and_is_read_without_it(campaign_file: Make, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE)
    path, root = campaign_file(reference="mine.toml"), tmp_path / "run"
    with Campaign(path, root) as campaign:
        wanted = [request.name for request in campaign.ask()]
    assert 'reference = "reference/mine.toml"' in (root / "campaign.toml").read_text()
    mine.unlink()
    (tmp_path / "elsewhere").mkdir()
    root = Path(shutil.move(root, tmp_path / "elsewhere" / "run"))
    with Campaign(root) as campaign:
        assert [request.name for request in campaign.ask()] == wanted
    (root / "reference" / "mine.toml").unlink()
    assert CampaignRecord.read(root).config.name == "copper"
    assert "initial: a rattled" in explain(root, "r000-0001")


def test_a_calculator_of_ones_own_is_kept_with_its_reference(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "own_depth.py").write_text("DEPTH = 0.4\n")
    (tmp_path / "own_calculator.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "from own_depth import DEPTH\n"
        "def make(**settings):\n    return LennardJones(epsilon=DEPTH, **settings)\n"
    )
    (tmp_path / "mine.toml").write_text('calculator = "own_calculator:make"\nproperties = ["energy", "forces"]\n')
    root = tmp_path / "run"
    with Campaign(campaign_file(reference="mine.toml"), root) as campaign:
        wanted = [request.name for request in campaign.ask()]
    for name in ("mine.toml", "own_calculator.py", "own_depth.py"):
        (tmp_path / name).unlink()
    with Campaign(root) as campaign:
        assert [request.name for request in campaign.ask()] == wanted
    home = root / "reference"
    assert {path.name for path in home.iterdir()} == {"mine.toml", "own_calculator.py", "own_depth.py"}
    calculator = load(home / "mine.toml").calculator(atoms=bulk("Cu", cubic=True))
    assert calculator.parameters.epsilon == 0.4


def test_a_project_moved_as_a_whole_goes_on(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    campaign_file(reference="mine.toml")
    project = tmp_path / "project"
    project.mkdir()
    for name in ("mine.toml", "campaign.toml", "copper.xyz"):
        shutil.move(tmp_path / name, project / name)
    Campaign(project / "campaign.toml", project / "run").close()
    moved = project.rename(tmp_path / "moved")
    with Campaign(moved / "campaign.toml", moved / "run") as campaign:
        assert len(campaign.ask()) == 6


def test_reading_needs_no_foundation_model(campaign_file: Make, tmp_path: Path) -> None:
    Campaign(campaign_file(), tmp_path / "run").close()
    file = tmp_path / "run" / "campaign.toml"
    file.write_text(file.read_text().replace("driver = 0", 'driver = "no_such_package:Model"'))
    assert CampaignRecord.read(tmp_path / "run").phase == "not begun"


def test_edits_of_the_folders_own_file_are_refused_by_key(campaign_file: Make, tmp_path: Path) -> None:
    root = tmp_path / "run"
    Campaign(campaign_file(), root).close()
    file = root / "campaign.toml"
    text = file.read_text()
    file.write_text(text.replace("members = 2", "members = 3").replace("seed = 5", "seed = 6"))
    with pytest.raises(StateError, match=r"was edited since.*committee\.members, seed.*Undo that"):
        Campaign(root)
    file.write_text(text.replace("rounds = 2", "rounds = 5", 1))
    with Campaign(root) as campaign:
        assert campaign.config.stop.rounds == 5
    file.write_text("members = [")
    for opened in (Campaign, CampaignRecord.read):
        with pytest.raises((StateError, InputError), match=r"campaign\.toml.*TOML"):
            opened(root)


def test_the_journal_keeps_the_settings_and_their_hash(campaign_file: Make, tmp_path: Path) -> None:
    root = tmp_path / "run"
    for stop in ({"rounds": 2}, {"rounds": 2}, {"rounds": 3}):
        Campaign(campaign_file(stop=stop), root).close()
    events = read(root / "journal.jsonl")
    assert [e["settings"]["stop"]["rounds"] for e in events if e["event"] == "settings"] == [2, 3]
    opened = [event for event in events if event["event"] == "opened"]
    assert len({event["config"] for event in opened}) == 1
    assert [event["driver"] for event in opened] == [1, 2, 3]


def test_the_users_own_file_is_not_overwritten(
    campaign_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = campaign_file(version=1)
    path.write_text("# my notes\n" + path.read_text())
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="would be overwritten"):
        Campaign("campaign.toml", ".")
    assert path.read_bytes() == before
    assert not (tmp_path / "journal.jsonl").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StateError, match="is a file, not a folder"):
        Campaign(campaign_file(), tmp_path / "run")


def test_an_edited_structure_is_refused_by_name(campaign_file: Make, tmp_path: Path) -> None:
    root = tmp_path / "run"
    Campaign(campaign_file(), root).close()
    (path,) = (root / "structures").glob("*.extxyz")
    path.write_text(path.read_text().replace("Cu ", "Ag "))
    with pytest.raises(StateError, match=f"{path.name} was edited since"):
        Campaign(root)


def test_a_folder_in_which_nothing_was_asked_for_may_be_deleted_and_that_is_said(campaign_file: Make, tmp_path: Path):
    Campaign(campaign_file(), tmp_path / "run").close()
    with pytest.raises(InputError, match=r"these differ: reference.*No label has been asked for there yet: delete the"):
        Campaign(campaign_file(reference="mock"), tmp_path / "run")
