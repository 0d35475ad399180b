"""A magnet in a campaign: its starting moments reach every label that is asked for, and `check` asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from tentpole import Campaign
from tentpole.campaign.preflight import check_campaign
from tentpole.exploration.initial import ReferenceMD, reference_md
from tentpole.labeling import Reference, Task, compute, load
from tentpole.labeling.codes import Setup
from tentpole.storage.labels import label_files, read_label

SPINFUL = '''
from ase.calculators.emt import EMT


class Spinful(EMT):
    """EMT that insists on the moments of its atoms, and gives them back."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        moments = atoms.get_initial_magnetic_moments()
        assert moments.tolist() == [1.5, -1.5, 1.5, -1.5]
        super().calculate(atoms, properties, system_changes)
        self.results |= {"magmom": moments.sum(), "magmoms": 0.5 * moments}
'''


MOMENTS = [1.5, -1.5, 1.5, -1.5]


def test_moments_of_the_structure_reach_every_request_and_label(
    campaign_file: Callable[..., Path], tmp_path: Path
) -> None:
    magnet = bulk("Ni", cubic=True)
    magnet.set_initial_magnetic_moments(MOMENTS)
    write(tmp_path / "magnet.extxyz", magnet)
    (tmp_path / "spinful.py").write_text(SPINFUL)
    (tmp_path / "own.toml").write_text(
        'calculator = "spinful:Spinful"\nproperties = ["energy", "forces", "stress"]\n'
        "[parameters]\nasap_cutoff = false\n[accept]\nabsolute_magnetization = [0.7, 0.8]\n"
    )
    path = campaign_file(
        reference="own.toml", structures=[{"file": "magnet.extxyz"}], magnetism={"moments": "from structure"}
    )
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.ask()
    with Campaign(path, tmp_path / "run") as campaign:  # again, from the batch as it was written
        request = campaign.ask()[0]
    reference = load(tmp_path / "own.toml", request.atoms.get_chemical_symbols())
    outcome = compute(Task(tmp_path / "run", reference, request.atoms))
    assert outcome.ok, outcome.message
    assert outcome.name == request.name
    (label,) = (read_label(file) for file in label_files(tmp_path / "run"))
    assert label.atoms.get_initial_magnetic_moments().tolist() == MOMENTS
    assert label.details["magnetization"] == {
        "total_muB": 0.0,
        "absolute_muB": 3.0,
        "sites_muB": [0.75, -0.75, 0.75, -0.75],
    }


@pytest.mark.parametrize(("start", "found"), [([2.5, -2.5], [2.5, -2.5]), (None, [0.0, 0.0])])
def test_frames_of_the_references_own_md_start_from_the_moments_of_their_structure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: list[float] | None, found: list[float]
) -> None:
    """And not from what the program was given of them: pw.x takes fractions, also for a multiplicity."""
    pair = Atoms("Fe2", [[5, 5, 5], [7, 5, 5]], cell=[12, 12, 12], magmoms=start)
    monkeypatch.setattr(
        Reference, "setup", lambda self, atoms, *_: Setup(Atoms(atoms, magmoms=[0.3, -0.3], pbc=True), {})
    )
    job = ReferenceMD("mock", None, None, "pair", pair, 300.0, 2, 1, 0.5, 1, 0, 2, tmp_path)
    assert [atoms.get_initial_magnetic_moments().tolist() for atoms in reference_md(job)] == [found] * 2


def test_check_speaks_of_open_shells_and_lets_the_campaign_run(
    campaign_file: Callable[..., Path], tmp_path: Path
) -> None:
    write(tmp_path / "fe.extxyz", bulk("Fe", cubic=True))
    iron = {"reference": "vasp", "charge": 0, "structures": [{"file": "fe.extxyz"}]}
    line = next(line for line in check_campaign(campaign_file(**iron)) if line.what == "magnetism")
    assert (line.good, line.doubtful) == (True, True)
    assert "Fe: open d or f shells, and no [magnetism]" in line.found
    stated = check_campaign(campaign_file(**iron, magnetism={"moments": {"Fe": 2.5}}))
    assert [next(stated).what, next(stated).what, next(stated).what] == ["campaign file", "disk", 'reference "vasp"']
