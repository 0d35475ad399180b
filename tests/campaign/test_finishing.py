"""A production model: all labels, the plateau, honest errors, and a card that says where it must not be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.small_campaign import small_campaign
from tentpole import Campaign, Committee
from tentpole.campaign.finishing import finish_campaign
from tentpole.errors import InputError, StateError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of 24 labels, six of them audit frames, with a validation set."""
    folder = tmp_path_factory.mktemp("finished")
    path = small_campaign(
        folder,
        initial={"kind": "rattle", "count": 20, "stdev_A": [0.05, 0.1]},
        validation={"kind": "reference-md", "frames": 4, "temperatures_K": [300], "every": 2},
        stop={"rounds": 1},
        training={"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 12, "batch_size": 4, "finishing": False},
        selection={"rule": "random", "batch": 6, "audit": 0.5},
        explore={"temperatures_K": [600.0], "steps": 40, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
    )
    with Campaign(path, folder / "run") as campaign:
        campaign.run()
    finish_campaign(folder / "run")
    return folder / "run"


def test_the_model_is_trained_on_all_labels_but_the_newest_audit_frames(done: Path) -> None:
    card = finish_campaign(done)
    assert (card.labels, card.trained, card.held_out) == (26, 24, 2)
    asked = json.loads((done / "rounds/r001/batch.json").read_text())["requests"]
    assert sum(one["audit"] for one in asked) >= 2
    assert card.stopped in ("plateau", "limit")
    assert card.start == "the first member of the campaign"
    assert Committee.load([done / "production" / "model"]).size == 1


def test_the_card_says_errors_physics_and_what_the_model_is_not_for(done: Path) -> None:
    card, text = finish_campaign(done), (done / "production" / "card.md").read_text()
    assert sorted(found.frames for found in card.errors.values()) == [2, 4]
    assert all(found.force_rmse > 0 and found.stress_rmse for found in card.errors.values())
    assert card.physics["calculator"] == "ase.calculators.emt:EMT"
    for words in ("elements other than Cu", "temperatures above 600 K", "densities", "did not end with CONVERGED"):
        assert words in text
    assert card.text == text


def test_finishing_again_gives_the_card_that_is_there(done: Path) -> None:
    before = (done / "production" / "model.safetensors").stat().st_mtime_ns
    told = json.loads((done / "production" / "card.json").read_text())
    card = finish_campaign(done)
    assert {**told, "checksum": None} == {**json.loads(json.dumps(card.to_json())), "checksum": None}
    assert (done / "production" / "model.safetensors").stat().st_mtime_ns == before


def test_what_was_lost_is_made_again_with_the_same_bits(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "production")
    assert finish_campaign(tmp_path / "run") == finish_campaign(done)
    made, there = (root / "production" / "model.safetensors" for root in (tmp_path / "run", done))
    assert made.read_bytes() == there.read_bytes()


def test_another_size_wants_another_folder_and_begins_with_random_weights(done: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other labels or settings"):
        finish_campaign(done, size="small")
    card = finish_campaign(done, tmp_path / "small", size="small")
    assert card.start == "random weights"
    assert "16x0e" in card.model["irreps"]


def test_too_few_labels_and_no_campaign_are_refused(tmp_path: Path) -> None:
    path = small_campaign(tmp_path, stop={"rounds": 0})
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    with pytest.raises(InputError, match=r"has 6 labels.*20 at least"):
        finish_campaign(tmp_path / "run")
    with pytest.raises(StateError, match="not a campaign folder"):
        finish_campaign(tmp_path / "run" / "models")
