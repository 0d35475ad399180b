"""A new composition under fitted energies of isolated atoms: they are fitted again, and that is said."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.seeding import ALONE
from tentpole.committee.member_files import read_description
from tentpole.progress import NoProgress
from tentpole.storage.structures import labelled_frames

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


class Listener(NoProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def alloys(folder: Path, copper: int) -> None:
    crystal = bulk("Au", "fcc", a=3.9, cubic=True)
    crystal.symbols[:copper] = "Cu"
    frames = []
    for seed in range(6):
        frames.append(crystal.copy())
        frames[-1].rattle(0.03, seed=seed)
    write(folder / f"cu{copper}.xyz", frames, format="extxyz")


def test_energies_of_isolated_atoms_are_fitted_again_for_a_new_composition(campaign_file: Make, tmp_path: Path) -> None:
    for copper in (1, 2):
        alloys(tmp_path, copper)
    changes = {
        "structures": [{"file": "cu1.xyz"}],
        "initial": {"kind": "frames", "file": "cu2.xyz"},
        "stop": {"rounds": 2},
        "explore": {"temperatures_K": [300.0], "steps": 20, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
    }
    listener = Listener()
    with Campaign(campaign_file(**changes), tmp_path / "run", progress=listener) as campaign:
        campaign.run()
    told = [note for note in listener.notes if "fitted again" in note]
    assert len(told) == 1
    assert told[0].startswith("round 1")
    rounds = [[read_description(tmp_path / f"run/models/r00{r}/member-{m}") for m in (0, 1)] for r in (0, 1, 2)]
    energies = [[member["E0s"] for member in members] for members in rounds]
    assert all(one == other for one, other in energies)
    assert energies[0][0] != energies[1][0] == energies[2][0]
    assert all(member["training"]["warm_start"] for members in rounds[1:] for member in members)
    frames = labelled_frames(tmp_path / "run/models/r001/train.extxyz")
    found = Committee.load(tmp_path / "run/models/r000", dtype="float64").evaluate(frames).energies.mean(axis=0)
    moved = {int(z): e - energies[0][0]["Default"][z] for z, e in energies[1][0]["Default"].items()}
    residual = [
        atoms.info["REF_energy"] - e - sum(moved[z] for z in atoms.numbers)
        for atoms, e in zip(frames, found, strict=True)
    ]
    for copper in (1, 2):  # what is left has no mean in either composition
        part = [r for r, atoms in zip(residual, frames, strict=True) if atoms.symbols.count("Cu") == copper]
        assert part
        assert abs(sum(part) / len(part)) < 1e-4


def test_a_campaign_labels_isolated_atoms_itself(campaign_file: Make, tmp_path: Path) -> None:
    alloys(tmp_path, 1)
    training = {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": 4, "finishing": False}
    changes = {
        "structures": [{"file": "cu1.xyz"}],
        "stop": {"rounds": 1},
        "explore": {"temperatures_K": [300.0], "steps": 20, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
        "training": {**training, "E0s": "label"},
    }
    with Campaign(campaign_file(**changes), tmp_path / "run") as campaign:
        campaign.run()
    record = CampaignRecord.read(tmp_path / "run")
    frames = [frame for frame in record.frames if frame.round == 0]
    alone = frames[-2:]
    assert [str(frame.request.atoms.symbols) for frame in alone] == ["Cu", "Au"]
    assert all(frame.request.reason == ALONE and frame.outcome == "accepted" for frame in alone)
    energies = {str(label.atoms.numbers[0]): label.energy for label in record.dataset()[6:8]}
    assert len(frames) == 8
    for models in ("r000/member-0", "r000/member-1", "r001/member-0"):
        description = read_description(tmp_path / "run/models" / models)
        assert description["E0s"]["Default"] == pytest.approx(energies, abs=1e-12)
