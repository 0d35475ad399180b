"""A member that reads the charge learns two energies for one geometry; one that does not learns their mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from support.training_data import E0S, labelled
from tentpole.committee import Committee
from tentpole.committee.member_files import description_file, read_description
from tentpole.errors import InputError, StateError
from tentpole.training import MACESettings, TrainingJob
from tentpole.training.stacked import Training

pytestmark = pytest.mark.slow

ENERGIES = {1: E0S["H"], 8: E0S["O"]}
APART_eV = 3.0


def trained(folder: Path, embed: tuple[str, ...], frames: list[Atoms], start: Path | None = None) -> Path:
    folder.mkdir()
    write(folder / "train.xyz", frames, format="extxyz")
    settings = MACESettings(channels=4, max_L=0, r_max=3.0, updates=60, batch_size=4, energy_weight=1000.0, embed=embed)
    train = folder / "train.xyz"
    job = TrainingJob(0, 1, train, train, folder, folder / "member-0", warm_start=start)
    Training([job], settings, ENERGIES).run()
    return job.out


def pairs() -> list[Atoms]:
    """Each geometry twice: neutral, and with charge 1 at a higher energy."""
    frames = []
    for atoms in labelled(6):
        for charge in (0, 1):
            copy = atoms.copy()
            copy.info |= {"charge": charge, "REF_energy": atoms.info["REF_energy"] + charge * APART_eV}
            frames.append(copy)
    return frames


def test_one_geometry_of_two_charges_has_two_energies(tmp_path: Path) -> None:
    frames = pairs()
    stem = trained(tmp_path / "reads", ("charge",), frames)
    assert read_description(stem)["training"]["settings"]["embed"] == ["charge"]
    neutral, charged = Committee.load(stem).evaluate(frames).energies[0].reshape(-1, 2).T
    assert np.mean(charged - neutral) == pytest.approx(APART_eV, abs=0.3)
    blind = trained(tmp_path / "blind", (), frames)
    neutral, charged = Committee.load(blind).evaluate(frames).energies[0].reshape(-1, 2).T
    assert (neutral == charged).all()
    on = trained(tmp_path / "on", ("charge",), frames, start=stem)  # and goes on from what it learned
    neutral, charged = Committee.load(on).evaluate(frames).energies[0].reshape(-1, 2).T
    assert np.mean(charged - neutral) == pytest.approx(APART_eV, abs=0.1)


def test_a_frame_without_a_charge_and_absurd_embeddings_in_a_file_are_refused(tmp_path: Path) -> None:
    frames = pairs()
    with pytest.raises(InputError, match="reads the charge of a structure, and one has none"):
        trained(tmp_path / "none", ("charge",), labelled(4))
    stem = trained(tmp_path / "reads", ("charge",), frames)
    text = description_file(stem).read_text()
    for old, new in (('"emb_dim": 16', '"emb_dim": 100000000'), ('"per": "graph"', '"per": "node"')):
        assert old in text
        changed = "\n".join(line for line in text.replace(old, new).splitlines() if '"checksum"' not in line)
        description_file(stem).write_text(changed.replace(",\n}", "\n}"))
        with pytest.raises((InputError, StateError), match="embedding_specs"):
            Committee.load(stem)
