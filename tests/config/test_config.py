"""Bad input is refused before anything is spent: file, key, value, what is legal, what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from tentpole import Campaign
from tentpole.campaign.folder import open_folder, stored_config
from tentpole.config.loading import load, starting_structures
from tentpole.errors import InputError, StateError

Make = Callable[..., Path]


def refused(path: Path) -> str:
    with pytest.raises((InputError, StateError)) as caught:
        load(path)
    return str(caught.value)


def test_a_misspelt_key_is_answered_with_the_right_one(campaign_file: Make) -> None:
    text = refused(campaign_file(stop={"rounds": 2, "labals": 10}))
    assert "stop" in text
    assert '"labals"' in text
    assert 'did you mean "labels"?' in text


def test_a_misspelt_key_of_the_training_is_answered_too(campaign_file: Make) -> None:
    assert 'did you mean "channels"?' in refused(campaign_file(training={"kind": "mace", "chanels": 8}))


def test_every_mistake_is_named_at_once(campaign_file: Make) -> None:
    text = refused(campaign_file(stop={"labels": 0}, selection={"batch": "many"}, explore={"steps": -1}))
    assert all(key in text for key in ("stop.labels", "selection.batch", "explore.steps"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop": {}}, ["hard limit", "labels, rounds, hours or core_hours"]),
        ({"reference": "xtbb"}, ["xtbb", "xtb"]),
        ({"selection": {"rule": "two_keys"}}, ["two_keys", 'did you mean "two_key"?', "uncertainty"]),
        ({"selection": {"rule": "logdet", "settings": {"quotas": 3}}}, ["quotas", "quota"]),
        ({"structures": [{"file": "nowhere.xyz"}]}, ["structures.0.file", "nowhere.xyz"]),
        ({"structures": []}, ["structures"]),
        ({"seed": float("nan")}, ["seed"]),
        ({"explore": {"temperatures_K": [float("nan")]}}, ["temperatures_K"]),
        ({"committee": {"members": 4, "driver": 4}}, ["driver", "0 to 3"]),
        ({"training": {"kind": "mace", "dtype": "float16"}}, ["float16", "float32"]),
        ({"validation": {"frames": 3}}, ["validation", "kind", '"reference-md"', '"none"']),
        ({"initial": {"kind": "ratle"}}, ["ratle", "rattle"]),
        ({"executor": {"kind": "slurn"}}, ["slurn", "slurm"]),
        ({"executor": {"persistent": True}}, ["executor.persistent", "emt", "socket"]),
        ({"executor": {"kind": "slurm", "wall": "1:00"}}, ["wall", 'did you mean "walltime"?']),
        ({"magnetism": {"moments": {"Cu": 1.0}}}, ["magnetism", '"emt"', "espresso, vasp, aims, gpaw"]),
        ({"magnetism": {"moments": {"cu": 1.0}}}, ["magnetism", '"cu" is no element', 'did you mean "Cu"?']),
        ({"magnetism": {"moments": "from file"}}, ["magnetism.moments", "from structure"]),
        ({"magnetism": {}}, ["magnetism.moments"]),
        ({"version": 99}, ["99", "1"]),
    ],
)
def test_bad_values_are_explained(campaign_file: Make, changes: dict[str, Any], words: list[str]) -> None:
    text = refused(campaign_file(**changes))
    assert all(word in text for word in words), text


def test_charge_and_spin_have_no_default_where_the_reference_requires_them(campaign_file: Make, tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    text = refused(campaign_file(reference="xtb", structures=[{"file": "water.xyz"}]))
    assert "charge" in text
    text = refused(campaign_file(reference="xtb", charge=1, multiplicity=1, structures=[{"file": "water.xyz"}]))
    assert "multiplicity" in text
    assert "electrons" in text


def test_moments_are_those_stated_and_belong_to_the_campaign(campaign_file: Make, tmp_path: Path) -> None:
    write(tmp_path / "fe.extxyz", bulk("Fe", cubic=True))  # ASE's iron carries 2.3 µB
    write(tmp_path / "cr.extxyz", bulk("Cr", cubic=True))
    iron = {"reference": "vasp", "charge": 0, "structures": [{"file": "fe.extxyz"}]}
    silent = campaign_file(**iron)
    assert not starting_structures(load(silent), silent)["fe"].has("initial_magmoms")
    _, root = open_folder(silent, tmp_path / "silent")
    with pytest.raises(InputError, match="magnetism"):
        open_folder(campaign_file(**iron, magnetism={"moments": {"Fe": 2.5}}), root)
    for moments, found in (({"Fe": 2.5}, [2.5, 2.5]), ("from structure", [2.3, 2.3])):
        path = campaign_file(**iron, magnetism={"moments": moments})
        _, root = open_folder(path, tmp_path / f"run{found[0]}")
        for place in (path, root / "campaign.toml"):
            start = starting_structures(load(place), place)["fe"]
            assert start.get_initial_magnetic_moments().tolist() == found
    both = [{"file": "fe.extxyz"}, {"file": "cr.extxyz"}]
    text = refused(campaign_file(**iron | {"structures": both}, magnetism={"moments": "from structure"}))
    assert "structures.1.file" in text
    assert "no initial_magmoms" in text
    text = refused(campaign_file(**iron | {"structures": both[1:]}, magnetism={"moments": {"Fe": 2.5}}))
    assert "give no atom" in text


@pytest.mark.parametrize("kind", ["nan", "empty", "not a structure"])
def test_unusable_structures_are_refused(campaign_file: Make, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "bad.xyz"
    if kind == "nan":
        atoms = molecule("H2O")
        atoms.positions[1, 2] = np.nan
        write(file, atoms, format="extxyz")
    elif kind == "empty":
        write(file, Atoms(), format="extxyz")
    else:
        file.write_text("hello\n")
    text = refused(campaign_file(structures=[{"file": "bad.xyz"}]))
    assert "bad.xyz" in text


def test_the_folder_holds_the_resolved_configuration_and_the_structures(campaign_file: Make, tmp_path: Path) -> None:
    settings, root = open_folder(campaign_file(), tmp_path / "run")
    (tmp_path / "copper.xyz").unlink()
    stored = stored_config(root)
    assert stored.explore.steps == 30
    assert stored.target == settings.target
    assert "timestep_fs" in (root / "campaign.toml").read_text()


def test_another_campaign_file_on_the_same_folder_is_refused_by_key(campaign_file: Make, tmp_path: Path) -> None:
    open_folder(campaign_file(), tmp_path / "run")
    with pytest.raises(InputError, match=r"training\.channels"):
        open_folder(campaign_file(training={"kind": "mace", "channels": 8}), tmp_path / "run")


def test_limits_may_change_when_a_campaign_goes_on(campaign_file: Make, tmp_path: Path) -> None:
    base = campaign_file()
    open_folder(base, tmp_path / "run")
    settings, _ = open_folder(campaign_file(stop={"rounds": 9}), tmp_path / "run")
    assert settings.stop.rounds == 9


def test_a_folder_of_another_version_is_refused(campaign_file: Make, tmp_path: Path) -> None:
    _, root = open_folder(campaign_file(), tmp_path / "run")
    text = (root / "campaign.toml").read_text()
    (root / "campaign.toml").write_text(text.replace("version = 1", "version = 7"))
    with pytest.raises(StateError, match="version 7"):
        open_folder(root, None)


def test_a_folder_that_is_no_campaign_is_left_alone(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(StateError, match="not a campaign folder"):
        open_folder(campaign_file(), tmp_path / "run")


def test_a_second_driver_is_refused_with_the_first_ones_host_and_pid(campaign_file: Make, tmp_path: Path) -> None:
    path = campaign_file()
    with Campaign(path, tmp_path / "run"):
        command = [sys.executable, "-m", "tentpole", "run", str(path), "--dir", str(tmp_path / "run")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert second.returncode == 2
    assert str(os.getpid()) in second.stderr
    assert os.uname().nodename in second.stderr
    with Campaign(path, tmp_path / "run"):
        pass  # the first one gave it back
