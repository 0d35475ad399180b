"""Labels that exist already are used: one's own from a file, and those of another campaign."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from tentpole import Campaign
from tentpole.campaign.batches import Request
from tentpole.campaign.opening import open_campaign
from tentpole.campaign.own_labels import own_labels_line, telling_frame
from tentpole.campaign.plan import Line, plan_lines
from tentpole.campaign.seeding import initial_requests
from tentpole.campaign.usage import Usage
from tentpole.config.loading import given_frames, load, starting_structures
from tentpole.errors import InputError
from tentpole.records import Label, structure_hash
from tentpole.storage.journal import read
from tentpole.storage.labels import carry_labels, label_files, read_label, write_label

Make = Callable[..., Path]
OWN = {"kind": "labelled", "file": "mine.xyz", "reference": "emt"}


def labelled(number: int) -> list[Atoms]:
    frames = []
    for seed in range(number):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def test_ones_own_labels_are_used_and_none_is_computed(campaign_file: Make, tmp_path: Path) -> None:
    frames = labelled(5)
    write(tmp_path / "mine.xyz", frames, format="extxyz")
    path = campaign_file(initial=OWN, stop={"rounds": 0}, training={"kind": "mace", "updates": 2, "channels": 2})
    config = load(path)
    said = plan_lines(config, starting_structures(config, path), given_frames(config, path), 1.0, 1)
    assert "5 of 5 frames carry energies and forces: used" in " ".join(line.found for line in said)
    Campaign(path, tmp_path / "run").close()
    (tmp_path / "mine.xyz").unlink()  # the folder goes on without the file
    opened = open_campaign(tmp_path / "run", None, None)
    requests = initial_requests(opened.context)
    assert len(requests) == 5
    assert all(opened.context.paths.label(request.name).exists() for request in requests)
    opened.meter.close()
    opened.lock.release()
    kept = {label.energy: label for label in map(read_label, label_files(tmp_path / "run"))}
    for atoms in frames:
        label = kept[min(kept, key=lambda e: abs(e - atoms.get_potential_energy()))]
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
        assert label.forces == pytest.approx(atoms.get_forces(), abs=1e-7)
        assert label.stress == pytest.approx(atoms.get_stress(), abs=1e-7)
        assert label.details["core_s"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": "lj"}, ["initial.reference", '"lj"', '"emt"']),
        ({"reference": None}, ["initial.reference: is missing"]),
        ({"index": ":1"}, ["1 frame is too few"]),
        ({"file": "bare.xyz"}, ["no energy under any of"]),
        ({"file": "wild.xyz"}, ["frame 1", "largest force"]),
        ({"file": "double.xyz"}, ["frames 0 and 2 are one structure"]),
    ],
)
def test_labels_that_cannot_be_the_campaigns_are_refused(
    campaign_file: Make, tmp_path: Path, change: dict[str, str | None], words: list[str]
) -> None:
    frames = labelled(3)
    write(tmp_path / "mine.xyz", frames, format="extxyz")
    write(tmp_path / "bare.xyz", [bulk("Cu", cubic=True)] * 2, format="extxyz")
    write(tmp_path / "double.xyz", [*frames[:2], frames[0]], format="extxyz")
    frames[1].calc.results["forces"] = 1e6 * frames[1].get_forces()
    write(tmp_path / "wild.xyz", frames, format="extxyz")
    section = {key: value for key, value in (OWN | change).items() if value is not None}
    with pytest.raises(InputError) as caught:
        load(campaign_file(initial=section))
    assert all(word in str(caught.value) for word in words), caught.value


def test_check_labels_a_frame_of_ones_own_to_see_whose_labels_they_are_and_in_which_units(tmp_path: Path) -> None:
    frames = labelled(2)
    frames[1].rattle(0.1, seed=3)
    frames[1].calc = EMT()
    for atoms in frames:
        atoms.info.update({"REF_energy": atoms.get_potential_energy(), "REF_stress": atoms.get_stress()})
        atoms.arrays["REF_forces"] = atoms.get_forces()
    own = telling_frame(frames)
    assert own is frames[1]
    energy, forces, stress = own.info["REF_energy"], own.get_forces(), own.get_stress()
    label = Request("x", own, "0" * 16, None, None).label(energy, forces, stress)

    def line(energy: float = energy, forces: Any = forces, stress: Any = stress) -> Line:
        own.info.update({"REF_energy": energy, "REF_stress": stress})
        own.arrays["REF_forces"] = forces
        return own_labels_line(own, label)

    same, version, other = (line(energy + off) for off in (1e-5, 0.02, 3.0))
    assert (same.good, same.doubtful) == (True, False)
    assert (version.good, version.doubtful) == (True, True)
    assert not other.good
    assert "another method" in other.found
    assert line(forces=1.1 * forces).doubtful
    wrong = [line(forces=-forces), line(forces=forces / 51.42207), line(stress=1602.177 * stress), line(stress=-stress)]
    assert not any(one.good for one in wrong)
    names = ("gradients", "in Hartree/Bohr", "in kbar", "a pressure")
    assert all(f"(yours look like {name}" in one.found for name, one in zip(names, wrong, strict=True))
    assert not line(forces=forces[::-1]).good
    assert not line(forces=np.nan * forces).good


def test_labels_of_another_campaign_are_not_computed_again(campaign_file: Make, tmp_path: Path) -> None:
    path = campaign_file(stop={"rounds": 0})
    with Campaign(path, tmp_path / "old") as old:
        asked = old.ask()
        atoms = [request.atoms.copy() for request in asked]
        for one in atoms:
            one.calc = EMT()
        old.tell(
            request.label(one.get_potential_energy(), one.get_forces(), seconds=100.0, core_s=200.0)
            for request, one in zip(asked[:4], atoms, strict=False)
        )
    other = campaign_file(stop={"rounds": 0}, explore={"steps": 20})
    with Campaign(other, tmp_path / "new") as new:
        assert new.carry_labels(tmp_path / "old") == (4, 0)
        assert len(new.ask()) == 2
        assert new.carry_labels(tmp_path / "old") == (4, 0)
    label = next(map(read_label, label_files(tmp_path / "new")))
    assert (label.details["core_s"], label.details["carried"]["core_s"]) == (0.0, 200.0)
    with Campaign(tmp_path / "new"):
        pass  # what lies there is booked now
    events = read(tmp_path / "new" / "journal.jsonl")
    assert [event["number"] for event in events if event["event"] == "labels carried"] == [4, 4]
    assert Usage(events).core_seconds["labelling"] < 1


def test_labels_of_another_reference_stay_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no labels"):
        carry_labels(tmp_path, tmp_path / "new", "ab")
    atoms = bulk("Cu")
    for reference in ("aa", "bb"):
        write_label(tmp_path, Label(structure_hash(atoms), reference, atoms, 0.0, np.zeros((1, 3))))
    (tmp_path / "new").mkdir()
    assert carry_labels(tmp_path, tmp_path / "new", "aa") == (1, 1)
    with pytest.raises(InputError, match="are of reference aa, bb, this campaign's is cc"):
        carry_labels(tmp_path, tmp_path / "new", "cc")
