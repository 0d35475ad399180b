"""Folders whose journal keeps no configuration: edits of campaign.toml that contradict the rounds are told."""

import shutil
from pathlib import Path

import pytest

from support.paths import DATA
from tentpole import Campaign
from tentpole.errors import StateError


def folder_with(home: Path, *edits: tuple[str, str]) -> Path:
    root = Path(shutil.copytree(DATA / "v1" / "halfway", home / "halfway"))
    path = root / "campaign.toml"
    text = path.read_text()
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([("members = 2", "members = 3")], r"committee.members \(2 networks were trained, 3 would be now"),
        ([("seed = 3", "seed = 4")], "seed, initial.stdev_A or the structures"),
        ([("    0.05,\n    0.1,", "    0.05,\n    0.2,")], "seed, initial.stdev_A or the structures"),
        ([("count = 8", "count = 9")], r"initial.count \(8 structures were asked for"),
        ([("    600.0,", "    700.0,")], r"explore.temperatures_K or pressures \(round 1 ran copper.*600"),
        ([("    600.0,", "    600.0,\n    700.0,")], r"bias.ratios \(2 walkers ran"),
    ],
)
def test_an_edit_that_the_rounds_contradict_is_refused(
    tmp_path: Path, edits: list[tuple[str, str]], words: str
) -> None:
    root = folder_with(tmp_path, *edits)
    with pytest.raises(StateError, match=rf"campaign.toml: was edited since this campaign began: .*{words}"):
        Campaign(root)
    assert not (root / "lock").exists()


def test_what_may_change_and_what_is_as_it_was_go_on(tmp_path: Path) -> None:
    root = folder_with(tmp_path, ("rounds = 3", "rounds = 5"))
    with Campaign(root) as campaign:
        assert campaign.round == 2
    with Campaign(root) as campaign:  # from now on the journal keeps it
        assert campaign.round == 2


def test_an_edited_structure_is_refused(tmp_path: Path) -> None:
    root = folder_with(tmp_path)
    path = root / "structures" / "copper.extxyz"
    text = path.read_text()
    assert "3.61" in text
    path.write_text(text.replace("3.61", "3.71"))
    with pytest.raises(StateError, match="or the structures"):
        Campaign(root)
