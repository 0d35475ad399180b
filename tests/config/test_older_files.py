"""Campaigns that began before a default changed go on with what held then."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tentpole import Campaign
from tentpole.campaign.folder import stored_config
from tentpole.config.loading import load
from tentpole.errors import InputError
from tentpole.storage.journal import Journal, read

Make = Callable[..., Path]


def before(folder: Path) -> None:
    """Turn a new folder into one from before random numbers had a scheme."""
    path, lines = folder / "campaign.toml", folder / "journal.jsonl"
    content: dict[str, Any] = tomllib.loads(path.read_text())
    events = [{k: v for k, v in event.items() if k not in ("v", "time", "elapsed_s")} for event in read(lines)]
    for settings in (content, *(event["settings"] for event in events if event["event"] == "settings")):
        del settings["random_numbers"], settings["selection"]["sigma"], settings["explore"]["keep_last_sound"]
        del settings["selection"]["evidence"], settings["target"]["labels_needed"]
        del settings["committee"]["evaluation"]
    path.write_text(tomli_w.dumps(content))
    lines.unlink()
    journal = Journal(lines)
    for event in events:
        journal.append(event.pop("event"), **event)
    journal.close()


def test_a_new_campaign_has_todays_defaults(campaign_file: Make) -> None:
    config = load(campaign_file(selection={"rule": "two_key"}))
    assert (config.random_numbers, config.selection.sigma, config.explore.keep_last_sound) == (2, "auto", True)
    assert config.selection.settings == {}


def test_an_older_folder_keeps_what_held_when_it_began(campaign_file: Make, tmp_path: Path) -> None:
    file = campaign_file(selection={"rule": "two_key", "settings": {"eps": 1e-4}})
    with Campaign(file, tmp_path / "run"):
        pass
    before(tmp_path / "run")
    config = stored_config(tmp_path / "run")
    assert (config.random_numbers, config.selection.sigma, config.explore.keep_last_sound) == (1, "mean", False)
    assert (config.selection.evidence, config.target.labels_needed) == ("labels", 50)
    assert config.committee.evaluation == "mace"
    assert config.selection.settings == {"gain": 0.01}  # the floor that was the default; eps was not used
    with Campaign(file, tmp_path / "run") as campaign:  # with the file it was started with
        assert campaign.config.random_numbers == 1
    again = stored_config(tmp_path / "run")
    assert again.selection.settings == {"gain": 0.01}
    assert again.random_numbers == 1


def test_pressures_belong_to_an_ensemble_with_a_barostat(campaign_file: Make) -> None:
    npt = load(campaign_file(explore={"ensemble": {"kind": "npt"}, "pressures_GPa": [0.0, 10.0]}))
    assert npt.explore.pressures == (0.0, 10.0)
    assert load(campaign_file(explore={"ensemble": {"kind": "npt"}})).explore.pressures == (0.0,)
    assert load(campaign_file(explore={"ensemble": {"timestep_fs": 2.0}})).explore.pressures == (None,)
    with pytest.raises(InputError, match="a cell that moves"):
        load(campaign_file(explore={"pressures_GPa": [1.0]}))
    with pytest.raises(InputError, match="changes with every training"):
        load(campaign_file(explore={"ahead": True}, fingerprint={"kind": "mace"}))
