"""A new composition under fitted energies of isolated atoms: trained from scratch, and said."""

from collections.abc import Callable
from pathlib import Path

from ase.build import bulk
from ase.io import write

from tentpole import Campaign
from tentpole.committee.members import read_description
from tentpole.watch import Silent

Make = Callable[..., Path]


class Listener(Silent):
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


def test_a_new_composition_is_trained_from_scratch_where_energies_were_fitted(
    campaign_file: Make, tmp_path: Path
) -> None:
    for copper in (1, 2):
        alloys(tmp_path, copper)
    changes = {
        "structures": [{"file": "cu1.xyz"}],
        "initial": {"kind": "frames", "file": "cu2.xyz"},
        "stop": {"rounds": 2},
        "explore": {"temperatures_K": [300.0], "steps": 20, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
    }
    listener = Listener()
    with Campaign(campaign_file(**changes), tmp_path / "run", watch=listener) as campaign:
        campaign.run()
    told = [note for note in listener.notes if "training.E0s" in note]
    assert len(told) == 1
    assert told[0].startswith("round 1")
    starts = [read_description(tmp_path / f"run/models/r00{r}/member-0")["training"]["warm_start"] for r in (1, 2)]
    assert starts == [None, "member-0"]
