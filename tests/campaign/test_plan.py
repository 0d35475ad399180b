"""What a campaign will do is told in numbers before it begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import write

from tentpole.campaign.plan import Line, plan_lines, planned
from tentpole.campaign.preflight import _magnitudes
from tentpole.config.loading import given_frames, load, starting_structures

Make = Callable[..., Path]


def lines(path: Path, seconds: float | None = 2.0) -> dict[str, Line]:
    config = load(path)
    starts, frames = starting_structures(config, path), given_frames(config, path)
    return {line.what: line for line in plan_lines(config, starts, frames, seconds, 2)}


def test_walkers_candidates_labels_and_their_time(campaign_file: Make) -> None:
    validation = {"kind": "reference-md", "frames": 10}
    path = campaign_file(
        validation=validation, target={"final_audits": 6, "rounds": 1}, stop={"labels": 30, "rounds": 9}
    )
    config = load(path)
    plan = planned(config, {})
    assert (plan.walkers, plan.snapshots, plan.candidates, plan.most_labels) == (2, 6, 12, 40)
    said = lines(path)
    assert "2 walkers × 6 snapshots = 12 candidates a round" in said["plan"].found
    assert "6 initial + 9 × 4 = 42 labels, of 30 that are allowed; 10 more" in said["plan"].found
    assert "16 s before the first committee, 4 s a round, 40 s in all" in said["labels take"].found
    assert not any(line.doubtful for line in said.values())
    assert "validation set" not in said
    assert "labels take" not in lines(path, None)


def test_without_a_validation_set_its_block_and_price_are_told(campaign_file: Make) -> None:
    line = lines(campaign_file())["validation set"]
    assert line.doubtful
    assert '[validation]\nkind = "reference-md"\nframes = 40\ntemperatures_K = [600]' in line.found
    assert "30 min 40 s" in line.found


def test_little_to_choose_from_is_a_warning(campaign_file: Make) -> None:
    said = lines(campaign_file(explore={"steps": 10, "snapshot_every": 10}))
    assert said["plan"].doubtful
    assert "1 snapshot = 2 candidates" in said["plan"].found
    assert "frames of unbiased MD" not in said["verdict"].found  # walkers go farther for a final look


def test_what_a_verdict_needs_is_told(campaign_file: Make) -> None:
    found = lines(campaign_file(explore={"steps": 100, "snapshot_every": 5}, stop={"rounds": 5}))["verdict"]
    assert not found.doubtful
    assert "2 audit frames in each of 2 rounds" in found.found
    assert "95 % bound below 50 meV/Å on 20 fresh ones, for which unbiased walkers go at least" in found.found


def test_what_no_verdict_can_speak_of_is_told(campaign_file: Make, tmp_path: Path) -> None:
    cold, hot = ({"structure": "copper", "temperature_K": kelvin, "ratio": r} for kelvin, r in ((300, 0.0), (900, 0.3)))
    explore = {"conditions": [cold, hot], "steps": 100, "snapshot_every": 5}
    said = lines(campaign_file(explore=explore, stop={"rounds": 5}))
    assert "no verdict speaks of copper, 900 K: each has" in said["conditions"].found
    assert "conditions" not in lines(campaign_file())
    target, chain = {"stress_error_GPa": 0.5}, [{"file": "chain.xyz"}]
    write(tmp_path / "chain.xyz", Atoms("Cu4", [[2.5 * k, 0, 0] for k in range(4)]))
    assert (
        "no label will have a stress"
        in lines(campaign_file(target=target, reference="mock", structures=chain))["verdict"].found
    )
    assert "stress" not in lines(campaign_file(target=target))["verdict"].found


def test_numbers_of_a_size_that_a_slip_of_the_unit_has_are_told(campaign_file: Make, tmp_path: Path) -> None:
    def told(**changes: Any) -> dict[str, Line]:
        config = load(path := campaign_file(**changes))
        return {line.what: line for line in _magnitudes(config, starting_structures(config, path))}

    assert told() == {}
    training = {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 0.9, "updates": 2}
    assert not told(training=training)["training.r_max"].good
    write(tmp_path / "one.xyz", bulk("Cu"), format="extxyz")
    assert "does not move" in told(structures=[{"file": "one.xyz"}, {"file": "copper.xyz"}])["structures"].found
    slips = told(
        target={"force_error_eV_per_A": 50},
        initial={"kind": "rattle", "count": 6, "stdev_A": [3.0]},
        explore={"temperatures_K": [30000.0], "ensemble": {"timestep_fs": 15}},
    )
    assert all(line.good and line.doubtful for line in slips.values())
    said = ("Is it meant in meV/Å? Then write 0.05", "30000 K", "seldom stable beyond 6 fs", "atoms would collide")
    assert all(any(words in line.found for line in slips.values()) for words in said)


def test_energies_that_are_ignored_and_atoms_that_are_fixed_are_told(campaign_file: Make, tmp_path: Path) -> None:
    frames = [molecule("N2") for _ in range(3)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
        atoms.info["REF_energy"] = -1.0
        atoms.arrays["REF_forces"] = np.zeros((2, 3))
    write(tmp_path / "n2.xyz", frames)
    changes: dict[str, Any] = {"initial": {"kind": "frames", "file": "n2.xyz"}, "reference": "mock"}
    assert "3 of 3 frames" in lines(campaign_file(**changes))["initial frames"].found
    slab = fcc111("Al", (2, 2, 3), vacuum=6.0)
    slab.set_constraint(FixAtoms(range(8)))
    write(tmp_path / "slab.extxyz", slab)
    said = lines(campaign_file(structures=[{"file": "slab.extxyz"}]))["motion"].found
    assert "slab: 8 of 12 atoms fixed" in said
    assert "lattice constants" in said
