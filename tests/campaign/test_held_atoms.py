"""Errors of new labels are those of the atoms that can move, as is the disagreement that frames were chosen by."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write

from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.paths import VALIDATION
from tentpole.storage.labels import read_label


@pytest.mark.slow
def test_errors_leave_out_atoms_that_are_held(tmp_path: Path) -> None:
    crystal = bulk("Cu", cubic=True)
    crystal.set_constraint(FixAtoms([0]))
    explore = {"temperatures_K": [600.0], "steps": 4, "snapshot_every": 2, "bias": {"ratios": [0.0]}}
    training = {"kind": "mace", "channels": 2, "max_L": 0, "r_max": 3.0, "updates": 2, "finishing": False}
    path = small_campaign(
        tmp_path,
        stop={"rounds": 1},
        initial={"kind": "rattle", "count": 3},
        validation={"kind": "frames", "file": "valid.xyz"},
        explore=explore,
        training=training,
        selection={"rule": "random", "batch": 2, "audit": 0.5},
        executor={"workers": 1},
    )
    write(tmp_path / "copper.xyz", crystal, format="extxyz")
    valid = [bulk("Cu", cubic=True) for _ in range(2)]
    for seed, atoms in enumerate(valid):
        atoms.rattle(0.1, seed=seed)
    write(tmp_path / "valid.xyz", valid, format="extxyz")
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    record = CampaignRecord.read(tmp_path / "run")
    judge = Committee.load(record.paths.models(0), dtype="float64")
    outcome = record.rounds[1].outcome
    assert outcome is not None
    assert outcome.errors is not None
    squares = []
    assert record.rounds[1].end is not None
    assert record.rounds[1].end.validation is not None
    newest, told = Committee.load(record.paths.models(1), dtype="float64"), record.rounds[1].end.validation
    for name in record.state.outcome(VALIDATION).accepted:
        label = read_label(record.paths.label(name))
        forces = newest.evaluate([label.atoms]).forces[0][:, 1:]
        squares.append(((forces.mean(axis=0) - label.forces[1:]) ** 2).mean())
    assert told.force_rmse == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
    squares = []
    for name, error in outcome.errors.frames.items():
        label = read_label(record.paths.label(name))
        assert np.abs(label.forces[0]).max() > 1e-3  # a label has the force of every atom
        forces = judge.evaluate([label.atoms]).forces[0][:, 1:]
        squares.append(((forces.mean(axis=0) - label.forces[1:]) ** 2).mean())
        assert error.force_mse == pytest.approx(squares[-1], rel=1e-6)
        assert error.max_force_std == pytest.approx(
            np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)).max(), rel=1e-6
        )
    assert outcome.errors.force_rmse == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
