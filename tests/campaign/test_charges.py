"""H3O+, water and OH- in one campaign: every label has its own charge, and members tell the charges apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from support.paths import DATA
from support.small_campaign import small_campaign
from tentpole import Campaign
from tentpole.campaign.export import export
from tentpole.campaign.folder import open_config
from tentpole.cli.files import label_file
from tentpole.committee import Committee, CommitteeCalculator
from tentpole.committee.lammps import pair_mace
from tentpole.committee.member_files import read_member
from tentpole.errors import InputError
from tentpole.storage.labels import label_files, read_label

pytestmark = pytest.mark.slow

STATES = {"hydronium": 1, "water": 0, "hydroxide": -1}
HYDRONIUM = Atoms("OH3", [[0, 0, 0.1], [0.94, 0, -0.2], [-0.47, 0.814, -0.2], [-0.47, -0.814, -0.2]])


def structures(folder: Path) -> list[dict[str, Any]]:
    """The files of the three, and their tables."""
    made = {"hydronium": HYDRONIUM, "water": molecule("H2O"), "hydroxide": molecule("OH")}
    for name, atoms in made.items():
        atoms.set_initial_magnetic_moments(None)
        write(folder / f"{name}.xyz", atoms, format="extxyz")
    return [{"file": f"{name}.xyz", "charge": charge} for name, charge in STATES.items()]


def ions(folder: Path, **changes: Any) -> Path:
    """A campaign of the three by xTB."""
    folder.mkdir(parents=True, exist_ok=True)
    training = {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": 6, "batch_size": 4}
    usual: dict[str, Any] = {
        "reference": "xtb",
        "multiplicity": 1,
        "structures": structures(folder),
        "stop": {"rounds": 1},
        "training": training | {"finishing": False, "embed": ["charge"]},
        "explore": {"temperatures_K": [300.0], "steps": 10, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
    }
    return small_campaign(folder, **(usual | changes))


def charge_of(atoms: Atoms) -> int:
    return {3: 1, 2: 0, 1: -1}[int((atoms.numbers == 1).sum())]


def test_labels_of_a_round_have_their_own_charges_before_and_after_an_interruption(tmp_path: Path) -> None:
    path = ions(tmp_path)
    with Campaign(path, tmp_path / "run") as campaign:
        first = [(request.name, request.charge, request.multiplicity) for request in campaign.ask()]
    with Campaign(path, tmp_path / "run") as campaign:  # from the batch as it was written
        assert [(request.name, request.charge, request.multiplicity) for request in campaign.ask()] == first
        campaign.run()
    labels = [read_label(file) for file in label_files(tmp_path / "run")]
    assert {label.charge for label in labels} == {1, 0, -1}
    assert len(labels) > 6  # those of the round beside the initial ones
    for label in labels:
        assert label.charge == label.atoms.info["charge"] == charge_of(label.atoms)
        assert label.multiplicity == 1
    made = export(tmp_path / "run", tmp_path / "out")
    dataset = read(made.files[0], ":")
    assert all(atoms.info["total_charge"] == atoms.info["charge"] == charge_of(atoms) for atoms in dataset)
    assert "Members read charge" in made.words[-1]
    with pytest.raises(InputError, match="cannot tell it: every structure would pass for a neutral singlet"):
        export(tmp_path / "run", tmp_path / "lammps", lammps=True)
    stem = tmp_path / "run" / "models" / "r001" / "member-0"
    with pytest.raises(InputError, match="LAMMPS's pair styles cannot tell it"):
        pair_mace(read_member(stem)[0])
    _a_committee_wants_to_know_the_charge(tmp_path / "run")


def _a_committee_wants_to_know_the_charge(folder: Path) -> None:
    water = molecule("H2O")
    water.calc = CommitteeCalculator(Committee.load(folder))
    with pytest.raises(InputError, match=r'atoms.info\["charge"\] = 0'):
        water.get_potential_energy()
    found = []
    for charge in (0, 1, 0):  # and what is kept of the one is no answer for the other
        water.info["charge"] = charge
        found.append(water.get_potential_energy())
    assert found[0] == found[2] != found[1]
    water.info["charge"] = 11
    with pytest.raises(InputError, match="charge = 11: these members read -10 to 10"):
        water.get_potential_energy()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"kind": "mace"}}, r'embed = \["charge"\], or run one campaign per charge'),
        ({"training": {"kind": "mace", "embed": ["charge", "multiplicity"]}, "multiplicity": None}, "multiplicity"),
        ({"training": {"kind": "mace", "embed": ["spin"]}}, 'unknown embed "spin"'),
        ({"training": {"kind": "mace", "embed": ["charge"], "loop": "mace"}}, 'needs loop = "stacked"'),
        ({"committee": {"kind": "shallow", "members": 2}}, "a shallow committee is trained by mace's own command"),
    ],
)
def test_what_members_cannot_tell_apart_is_refused_when_the_file_is_read(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        open_config(ions(tmp_path, **changes))


def test_a_file_that_says_another_charge_than_the_campaign_is_refused(tmp_path: Path) -> None:
    path = ions(tmp_path)
    charged = HYDRONIUM.copy()
    charged.info["charge"] = 2
    write(tmp_path / "hydronium.xyz", charged, format="extxyz")
    with pytest.raises(InputError, match=r"says charge = 2, and the campaign states 1"):
        open_config(path)
    charged.info["charge"] = "plus"
    write(tmp_path / "hydronium.xyz", charged, format="extxyz")
    with pytest.raises(InputError, match="charge = 'plus': a whole number is legal"):
        open_config(path)


def test_frames_of_a_file_are_labelled_with_their_own_charge(tmp_path: Path) -> None:
    bent = molecule("H2O")
    bent.positions[1] += 0.05
    frames = [bent.copy() for _ in range(3)]
    for atoms, charge in zip(frames, (0, 2, None), strict=True):
        atoms.info |= {} if charge is None else {"charge": charge}
    write(tmp_path / "mine.extxyz", frames, format="extxyz")
    initial = {"kind": "frames", "file": "mine.extxyz"}
    with Campaign(ions(tmp_path, initial=initial, charge=0), tmp_path / "run") as campaign:
        asked = campaign.ask()
    assert [request.charge for request in asked] == [0, 2]  # the third is the first, by the campaign's charge
    assert len({request.structure for request in asked}) == 2
    alone = {"structures": [{"file": "water.xyz"}], "charge": 0, "training": {"kind": "mace"}, "initial": initial}
    with pytest.raises(InputError, match=r'0 \(structure "water"\), 2 \(initial.file: frame 1\)'):
        open_config(ions(tmp_path / "other", **alone | {"initial": initial | {"file": str(tmp_path / "mine.extxyz")}}))


def test_a_frame_that_says_what_the_campaign_says_is_the_frame_that_it_was(tmp_path: Path) -> None:
    """Files of others have charge = 0 in them: labels, names and files are those of a campaign without it."""
    water = {"structures": [{"file": "water.xyz"}], "charge": 0, "training": {"kind": "mace"}}
    asked = []
    for name, info in (("plain", {}), ("stated", {"charge": 0, "multiplicity": 1})):
        home = tmp_path / name
        home.mkdir()
        atoms = molecule("H2O")
        atoms.info |= info
        write(home / "mine.extxyz", [atoms, Atoms(atoms, positions=1.01 * atoms.positions)], format="extxyz")
        path = ions(home, **water, initial={"kind": "frames", "file": "mine.extxyz"})
        with Campaign(path, home / "run") as campaign:
            asked.append([(request.name, dict(request.atoms.info)) for request in campaign.ask()])
    assert asked[0] == asked[1]
    assert asked[0][0][1] == {}


def test_label_takes_each_frames_own_charge(tmp_path: Path) -> None:
    frames = [HYDRONIUM.copy(), molecule("H2O")]
    for atoms, charge in zip(frames, (1, 0), strict=True):
        atoms.info["charge"] = charge
    write(tmp_path / "mine.extxyz", frames, format="extxyz")
    arguments = (tmp_path / "mine.extxyz", "xtb", tmp_path / "out.extxyz")
    with pytest.raises(InputError, match=r"frame 0 has charge = 1, and --charge says 0"):
        label_file(*arguments, folder=tmp_path / "labels", charge=0, multiplicity=1)
    assert label_file(*arguments, folder=tmp_path / "labels", multiplicity=1, workers=1).done == 2
    found = read(tmp_path / "out.extxyz", ":")
    assert [atoms.info["charge"] for atoms in found] == [1, 0]
    assert np.isfinite([atoms.info["REF_energy"] for atoms in found]).all()


def test_members_that_read_no_charge_are_no_start_for_some_that_do(tmp_path: Path) -> None:
    start = {"kind": "committee", "folder": str(DATA / "v1" / "finished")}
    with pytest.raises(InputError, match=r"member-0 reads neither charge nor multiplicity, and training.embed"):
        open_config(ions(tmp_path, pretraining=start))
