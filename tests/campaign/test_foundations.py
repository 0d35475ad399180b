"""Foundation models in a campaign: as the driver, as a frozen voter, and refused before anything is spent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tentpole import Campaign
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.preflight import check_campaign
from tentpole.config.loading import load
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
EMT_NAME = "ase.calculators.emt:EMT"


def test_a_foundation_model_drives_and_another_votes(campaign_file: Make, tmp_path: Path) -> None:
    shards = {}
    for name, voters, updates in (("driven", [], 8), ("voted", [EMT_NAME], 12)):
        training = {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": updates, "batch_size": 4}
        training["finishing"] = False
        committee = {"members": 2, "driver": EMT_NAME, "voters": voters}
        path = campaign_file(stop={"rounds": 1}, committee=committee, training=training, explore={"steps": 15})
        with Campaign(path, tmp_path / name) as campaign:
            campaign.run()
        shards[name] = read_exploration(CampaignPaths(tmp_path / name).shard(1, "w00"))
    driven, voted = shards["driven"], shards["voted"]
    assert driven.snapshots
    for one, other in zip(driven.snapshots, voted.snapshots, strict=True):  # members differ, and move no atom
        assert np.array_equal(one.atoms.positions, other.atoms.positions)
    assert all(a.force_std != b.force_std for a, b in zip(driven.scores, voted.scores, strict=True))


def test_names_are_refused_with_what_is_legal(campaign_file: Make) -> None:
    with pytest.raises(InputError, match='did you mean "chgnet"'):
        load(campaign_file(committee={"driver": "chgnt"}))
    with pytest.raises(InputError, match="legal are 0 to 3"):
        load(campaign_file(committee={"members": 4, "driver": 4}))


def test_a_model_that_cannot_be_loaded_is_refused_before_anything_is_spent(campaign_file: Make, tmp_path: Path) -> None:
    path = campaign_file(committee={"voters": ["no_such_package.models:best"]})
    with pytest.raises(InputError, match="cannot be imported"):
        Campaign(path, tmp_path / "run")
    assert not list((tmp_path / "run").glob("labels/*"))
    with pytest.raises(InputError, match="there is no module no_such_package"):
        list(check_campaign(path))


def test_chgnet_drives_a_campaign(campaign_file: Make, tmp_path: Path) -> None:
    pytest.importorskip("chgnet")
    path = campaign_file(stop={"rounds": 1}, committee={"members": 2, "driver": "chgnet"}, explore={"steps": 10})
    with Campaign(path, tmp_path / "run") as campaign:
        assert campaign.run().kind == "BUDGET"
    shard = read_exploration(CampaignPaths(tmp_path / "run").shard(1, "w00"))
    assert shard.snapshots
    assert all(scores.finite for scores in shard.scores)
