"""Campaigns whose members are linear in their weights at last: rounds, resume, export, and what cannot be had."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.export import export
from tentpole.campaign.finishing import finish_campaign
from tentpole.campaign.preflight import check_campaign
from tentpole.committee import read_member
from tentpole.committee.baseline import without_baseline
from tentpole.committee.mace_voter import MaceVoter
from tentpole.committee.member_files import read_any_member
from tentpole.config.loading import load
from tentpole.errors import InputError
from tentpole.training import linear

pytestmark = pytest.mark.slow

SMALL = {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 12, "batch_size": 4}


def soft(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soft.toml").write_text(
        'calculator = "ase.calculators.lj:LennardJones"\ncode_version = "1"\nproperties = ["energy", "forces"]\n'
        "[parameters]\nsigma = 2.3\nepsilon = 0.4\nrc = 5.0\n"
    )
    return str(folder / "soft.toml")


def solved_campaign(folder: Path, solve: str, **changes: Any) -> Path:
    return small_campaign(folder, **{"training": {**SMALL, "solve": solve}, "stop": {"rounds": 1}, **changes})


@pytest.fixture(scope="module")
def instead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of one round, pretrained on what is its baseline too, whose members are never updated on labels."""
    folder = tmp_path_factory.mktemp("instead")
    reference = soft(folder)
    known = {"reference": reference, "frames": 12, "every": 5, "updates": 12}
    path = solved_campaign(
        folder,
        "instead",
        pretraining=known,
        baseline={"reference": reference},
        selection={"rule": "gradient", "batch": 4},
        initial={"kind": "rattle", "count": 16},
    )
    with Campaign(path, folder / "run") as campaign:
        campaign.run()
    return folder / "run"


def test_every_round_begins_with_the_pretrained_weights_and_learns_the_difference_alone(instead: Path) -> None:
    start = read_member(instead / "models/pretraining-whole/member-1", dtype="float64")[0]
    for place in ("r000", "r001"):
        model, told, linear = read_any_member(instead / "models" / place / "member-1")
        assert linear is not None
        assert not linear.whole
        assert all(
            np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.parameters(), start.parameters(), strict=True)
        )
        assert told["training"]["stopped"] == "solved"
        assert told["training"]["force_rmse"] > 0
    record = CampaignRecord.read(instead)
    assert record.rounds[1].outcome is not None


def test_a_round_that_is_lost_is_done_again_to_the_last_bit(instead: Path, tmp_path: Path) -> None:
    half = tmp_path / "run"
    shutil.copytree(instead, half)
    for place in ("models/r000", "models/r001", "snapshots", "walkers", "rounds/r001"):
        shutil.rmtree(half / place, ignore_errors=True)
    (half / "verdict.json").unlink()
    with Campaign(half) as campaign:
        campaign.run()
    for place in ("r000/member-0", "r001/member-1"):
        ours, theirs = ((folder / f"models/{place}.safetensors").read_bytes() for folder in (half, instead))
        assert ours == theirs


def test_after_updates_members_go_on_from_the_updated_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = solved_campaign(tmp_path, "after")
    lines = {line.what: line.found for line in check_campaign(path)}
    assert "ms a label to solve for" in lines["a round takes"]
    assert "force components are drawn" in lines["solving"]
    monkeypatch.setattr(linear, "MEMORY_B", 100_000)
    full = next(line for line in check_campaign(path) if line.what == "solving")
    assert not full.good
    assert "10 labels have too many energies" in full.found
    monkeypatch.undo()
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    told = json.loads((tmp_path / "run/models/r001/member-0.json").read_text())
    assert told["training"]["warm_start"] == "member-0"
    assert told["linear"]["whole"] is True
    assert not (tmp_path / "run/models/r001/updated").exists()
    assert not (tmp_path / "run/models/r000-finished").exists()


def test_they_are_exported_as_models_of_mace_and_so_is_their_mean(instead: Path, tmp_path: Path) -> None:
    shutil.copytree(instead, tmp_path / "run")
    made = export(tmp_path / "run", tmp_path / "out")
    models = [file.name for file in made.files if file.suffix == ".model"]
    assert models == ["member-0-difference.model", "member-1-difference.model", "mean-difference.model"]
    assert any("which verdicts judge" in words for words in made.words)
    assert any("which `baseline` adds back" in words for words in made.words)
    assert sum("before these were solved for too" in words for words in made.words) == 2
    with pytest.raises(InputError, match=r"LAMMPS"):
        export(tmp_path / "run", tmp_path / "other", lammps=True)
    known = tmp_path / "run/reference/baseline/soft.toml"
    frame = CampaignRecord.read(instead).frames[0]
    committee, frames = Committee.load(tmp_path / "out", baseline=known), [frame.request.atoms]
    whole = committee.evaluate(frames)
    alone = Committee([without_baseline(voter) for voter in committee.voters]).evaluate(frames)
    mean = torch.load(tmp_path / "out/mean-difference.model", weights_only=False)
    said = Committee([MaceVoter(mean, [0], "cpu")]).evaluate(frames)
    np.testing.assert_allclose(said.forces[0][0], alone.forces[0].mean(axis=0), atol=1e-8)
    assert np.abs(whole.forces[0] - alone.forces[0]).max() > 1e-3


def test_a_production_model_is_solved_for_as_members_are(instead: Path, tmp_path: Path) -> None:
    shutil.copytree(instead, tmp_path / "run")
    card = finish_campaign(tmp_path / "run")
    assert (card.start, card.stopped) == ("the first pretrained member", "solved")
    start = read_any_member(tmp_path / "run/models/pretraining-whole/member-0")[0]
    model, _, linear = read_any_member(tmp_path / "run/production/model")
    assert linear is not None
    assert not linear.whole
    assert all(bool((a == b).all()) for a, b in zip(model.parameters(), start.double().parameters(), strict=True))
    assert (tmp_path / "run/production/model-difference.model").is_file()
    small = finish_campaign(tmp_path / "run", tmp_path / "small", size="small")
    assert (small.start, small.stopped) == ("random weights", "solved")
    assert small.errors.keys() == card.errors.keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {**SMALL, "solve": "instead"}}, "random weights know nothing"),
        ({"training": {**SMALL, "solve": "after", "loop": "mace"}}, 'needs loop = "stacked"'),
        ({"training": {**SMALL, "solve": "soon"}}, 'unknown solve "soon"'),
        ({"training": {**SMALL, "solve": "after", "ridge": -1.0}}, "must be positive"),
        (
            {"training": {**SMALL, "solve": "after"}, "committee": {"kind": "shallow", "members": 2}},
            'set committee.kind = "deep"',
        ),
        (
            {"training": {**SMALL, "solve": "instead"}, "pretraining": {"kind": "foundation", "model": "m.json"}},
            "copies of one model agree",
        ),
    ],
)
def test_what_cannot_be_solved_for_is_refused_before_anything_is_spent(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        load(small_campaign(tmp_path, **changes))
