"""Bad input is refused before anything is spent: file, key, value, what is legal, what to do."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tomli_w
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from tentpole import Campaign
from tentpole.campaign.folder import (
    locate,
    open_config,
    refuse_edits,
    settings_to_record,
    settle,
    stored_config,
    stored_settings,
)
from tentpole.campaign.paths import CampaignPaths
from tentpole.config.checks import unreachable
from tentpole.config.loading import dump, load, starting_structures
from tentpole.config.schema import CampaignConfig
from tentpole.config.sections import branches, fields_of, kinds_of, read_as
from tentpole.errors import InputError, StateError
from tentpole.exploration import NPT
from tentpole.exploration.walker import Langevin
from tentpole.training.mace import MACESettings

Make = Callable[..., Path]


def open_folder(source: Path, folder: Path | None) -> tuple[CampaignConfig, Path]:
    """The configuration and the folder of a campaign, both ready to use."""
    given, root = locate(source, folder)
    return settle(given, CampaignPaths(root)), root


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


def test_a_misspelt_key_of_a_table_that_may_be_left_out_is_answered_too(campaign_file: Make) -> None:
    assert 'did you mean "reference"' in refused(campaign_file(baseline={"refrence": "zbl"}))
    explore = {"stacked": {"calculator": "a:b", "parametres": {}}}
    assert 'did you mean "parameters"' in refused(campaign_file(explore=explore))


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"explore": {"steps": "40"}}, ["explore.steps", "whole number", '"40"']),
        ({"explore": {"steps": True}}, ["explore.steps", "whole number", "true"]),
        ({"committee": {"driver": True}}, ["committee.driver", "true"]),
        ({"explore": {"temperatures_K": 300}}, ["a list, as in [300]", "given: 300"]),
        ({"explore": {"temperatures_K": []}}, ["explore.temperatures_K", "at least 1 entry is"]),
        ({"explore": {"temperatures_K": [300, 300.0]}}, ["twice"]),
        ({"explore": {"temperatures_K": [1e308]}}, ["100000 or less"]),
        ({"explore": {"bias": {"ratios": []}}}, ["explore.bias.ratios"]),
        ({"explore": {"steps": 5}}, ["snapshot_every = 10"]),
        ({"initial": {"stdev_A": []}}, ["initial.stdev_A"]),
        ({"initial": {"count": 1}}, ["initial.count", "2 or more"]),
        ({"validation": {"kind": "reference-md", "temperatures_K": []}}, ["validation.temperatures_K"]),
        ({"stop": {"labels": 4}}, ["stop.labels = 4", "6 initial"]),
        ({"seed": 2**63}, ["seed", "9223372036854775808"]),
        ({"name": ".."}, ["name"]),
        ({"name": "n" * 300}, ["100 letters"]),
        ({"committee": {"members": 100000}}, ["64 or less"]),
        ({"committee": {"voters": [":"]}}, ['foundation model ":"']),
        ({"committee": {"kind": "dep"}}, ['did you mean "deep"?']),
        ({"fingerprint": {"cutoff": 50}}, ["fingerprint: cutoff = 50", "0.5 to 20"]),
        ({"fingerprint": {"eps": 1e-300}}, ["fingerprint: eps = 1e-300"]),
        ({"fingerprint": {"kind": "mace"}, "explore": {"ahead": True}}, ["explore.ahead"]),
        ({"explore": {"pressures_GPa": [1.0]}}, ["explore: pressures_GPa", 'kind = "npt"']),
        ({"explore": {"ensemble": {"kind": "nvt"}}}, ["explore.ensemble.kind", '"langevin", "npt"', "nvt"]),
        ({"training": {"kind": "mace", "channels": 10**9}}, ["channels = 1000000000", "1 to 1024"]),
        ({"training": {"kind": "mace", "device": "gpu"}}, ["gpu", "cuda"]),
        ({"training": {"kind": "mace", "E0s": {"Cu": float("nan")}}}, ["training.E0s.Cu", "finite"]),
        ({"training": {"kind": "mace", "E0s": "labels"}}, ["E0s", "average, label", 'did you mean "label"?']),
        ({"training": {"kind": "mace", "E0s": {"O": -3.0}}}, ["training.E0s", "Cu lacking"]),
        ({"training": {"kind": "mace", "E0s": {"Cu": 0.0, "Xx": 0.0}}}, ['"Xx" is no element']),
        ({"selection": {"settings": {"gain": "foo"}}}, ["settings.gain", "a number is wanted", '"foo"']),
        ({"selection": {"settings": {"gain": float("nan")}}}, ["settings.gain", "finite"]),
        ({"selection": {"rule": "diversity", "settings": {"starts": 1.5}}}, ["settings.starts", "whole number"]),
        ({"executor": {"kind": "slurm", "walltime": "a day"}}, ["walltime", "24:00:00"]),
        ({"executor": {"kind": "parsl", "config": "nowhere.py:config"}}, ["executor.config", "nowhere.py"]),
        ({"executor": {"kind": "parsl", "config": "nowhere.py"}}, ["executor", "module:name"]),
        ({"executor": {"kind": "slurm", "partition": "a\nb"}}, ["partition", "one word"]),
        ({"stop": {"hours": 1e308}}, ["stop.hours", "or less"]),
        ({"training": {"kind": "mace", "energy_weight": 0, "forces_weight": 0}}, ["nothing would be learnt"]),
        ({"validation": {"frames": 3}}, ["validation.kind"]),
        ({"reference": "emtt"}, ["campaign.toml: reference: ", "emt"]),
        ({"version": "1"}, ["version", '"1"']),
        ({"structures": [{"fil": "copper.xyz"}]}, ['"fil"; did you mean "file"?', "structures.0.file: is missing"]),
        ({"structures": "copper.xyz"}, ["[[structures]]"]),
        ({"structures": [{"file": "~nobody-of-this-name/cu.xyz"}]}, ["nobody-of-this-name"]),
    ],
)
def test_what_would_fail_later_is_refused_in_plain_words(
    campaign_file: Make, changes: dict[str, Any], words: list[str]
) -> None:
    text = refused(campaign_file(**changes))
    assert all(word in text for word in words), text
    assert not any(word in text for word in ("Input should", "valid integer", "Tuple", " tag "))


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "a\nb", "a\0b", ".hidden", "initial-frames", "<b>", "x" * 300]
)
def test_a_structures_name_can_be_a_files_name_and_no_other(campaign_file: Make, name: str) -> None:
    assert "structures.0" in refused(campaign_file(structures=[{"file": "copper.xyz", "name": name}]))


def test_names_of_structures_differ_in_more_than_capitals(campaign_file: Make) -> None:
    structures = [{"file": "cu.xyz", "name": name} for name in ("Cu", "cu")]
    assert '"Cu" and "cu"' in refused(campaign_file(structures=structures))


def test_files_whose_names_are_odd_are_read(campaign_file: Make, tmp_path: Path) -> None:
    write(tmp_path / "copper @300K.xyz", molecule("H2"))
    write(tmp_path / "cu@1.xyz", molecule("N2"))
    config = load(campaign_file(structures=[{"file": "copper @300K.xyz"}, {"file": "cu@1.xyz"}], reference="mock"))
    assert [s.name for s in config.structures] == ["copper-300K", "cu-1"]


def test_a_file_with_a_byte_order_mark_is_read_and_a_nest_without_end_is_not(campaign_file: Make) -> None:
    path = campaign_file()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(path).name == "copper"
    path.write_text("a = " + "[" * 3000 + "]" * 3000)
    assert "not a TOML file" in refused(path)
    path.write_text("#" * 2_000_000)
    assert "2000000 bytes" in refused(path)


def test_what_is_trained_on_cannot_judge(campaign_file: Make, tmp_path: Path) -> None:
    atoms = molecule("H2O")
    frames = []
    for _ in range(6):
        atoms.rattle(0.01, rng=np.random.default_rng(len(frames)))
        frames.append(atoms.copy())
    write(tmp_path / "frames.xyz", frames)
    here = {"kind": "frames", "file": "frames.xyz"}
    assert "6 frames" in refused(campaign_file(initial=here, validation=here, reference="mock"))
    apart = {"initial": {**here, "index": ":3"}, "validation": {**here, "index": "3:"}}
    assert load(campaign_file(**apart, reference="mock")).initial.kind == "frames"


@pytest.mark.parametrize("what", ["no element", "no length", "no volume", "close"])
def test_structures_that_no_method_could_label_are_refused(campaign_file: Make, tmp_path: Path, what: str) -> None:
    atoms = Atoms("X2" if what == "no element" else "Cu2", [[0, 0, 0], [0, 0, 0.01 if what == "close" else 2.2]])
    if what.startswith("no "):
        atoms.pbc = what != "no element"
        atoms.cell = [[3, 0, 0], [3, 0, 0], [0, 0, 5]] if what == "no volume" else None
    write(tmp_path / "bad.xyz", atoms, format="extxyz")
    text = refused(campaign_file(structures=[{"file": "bad.xyz"}]))
    assert 'structure "bad"' in text
    assert ("covalent" if what == "close" else what) in text


def every_key(kind: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The place of each key, and the kind of table that it is in."""
    for branch in branches(kind):
        word = (kinds_of(branch) or [""])[0]
        for name, inner in fields_of(branch).items():
            yield (*place, name), word
            yield from every_key(inner, (*place, name))
        for item in get_args(branch)[:1]:
            if fields_of(item):
                yield from every_key(item, (*place, 0))


STRANGE = ["x", "", "a\0b", -1, 2**70, 1e308, float("nan"), True, [], [[]], [1, 1], ["x"], {}, {"a": 1}, {"kind": 3}]


def test_no_value_of_any_key_is_answered_with_anything_but_words() -> None:
    said: list[tuple[str, str]] = []
    for place, word in every_key(CampaignConfig):
        for value in STRANGE:
            content: dict[str, Any] = {"name": "a", "reference": "emt", "stop": {"rounds": 1}}
            content |= {"structures": [{"file": "a.xyz"}]}
            here: Any = content
            for step in place[:-1]:
                here = here[step] if isinstance(here, list) else here.setdefault(step, {})
            if len(place) == 2 and word:
                here["kind"] = word
            here[place[-1]] = value
            try:
                read_as(CampaignConfig, content, "the file")
            except InputError as error:
                said.append((str(place[0]), str(error)))
    assert len(said) > 1000
    assert all(table in words and "Input should" not in words for table, words in said)


def test_settings_of_the_physics_keep_their_types(campaign_file: Make) -> None:
    config = load(campaign_file(training={"kind": "mace", "lr": 1, "r_max": 4}))
    assert config.training.build() == MACESettings(lr=1.0, r_max=4.0)
    assert isinstance(config.training, MACESettings)
    assert read_as(CampaignConfig, tomllib.loads(dump(config)), "the dump") == config


def test_a_barostat_has_walkers_per_pressure_and_langevin_need_not_be_said(campaign_file: Make) -> None:
    plain = load(campaign_file(explore={"ensemble": {"timestep_fs": 2.0}})).explore
    assert plain.ensemble.build() == Langevin(timestep_fs=2.0)
    assert plain.pressures == (None,)
    moving = load(campaign_file(explore={"pressures_GPa": [0, 5], "ensemble": {"kind": "npt", "cell": "full"}})).explore
    assert moving.ensemble.build() == NPT(cell="full")
    assert moving.pressures == (0.0, 5.0)


def test_a_barostat_wants_a_cell_that_can_move(campaign_file: Make, tmp_path: Path) -> None:
    slab = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[2.6, 2.6, 12], pbc=[True, True, False])
    write(tmp_path / "slab.xyz", slab, format="extxyz")
    text = refused(campaign_file(structures=[{"file": "slab.xyz"}], explore={"ensemble": {"kind": "npt"}}))
    assert 'structure "slab" must be periodic in all three directions' in text


def test_a_folder_from_before_seeds_had_a_scheme_goes_on_as_it_began(campaign_file: Make, tmp_path: Path) -> None:
    config, root = open_folder(campaign_file(selection={"rule": "two_key", "batch": 3}), tmp_path / "run")
    assert (config.random_numbers, config.explore.keep_last_sound, config.selection.sigma) == (2, True, "auto")
    newer = {"campaign": ("random_numbers",), "explore": ("keep_last_sound",), "selection": ("sigma",)}
    paths, content = CampaignPaths(root), settings_to_record(config, root)
    for table, names in newer.items():
        part = content if table == "campaign" else content[table]
        for name in names:
            del part[name]
    paths.campaign_file.write_text(tomli_w.dumps(content))
    config, _ = open_folder(root, None)
    assert (config.random_numbers, config.explore.keep_last_sound, config.selection.sigma) == (1, False, "mean")
    assert config.selection.settings == {"gain": 0.01}
    assert stored_settings(root).random_numbers == 1
    refuse_edits(paths, content, settings_to_record(config, root))


def test_a_verdict_out_of_reach_is_known_before(campaign_file: Make) -> None:
    selection = {"rule": "uncertainty", "batch": 4, "audit": 0.0}
    text = " ".join(unreachable(load(campaign_file(stop={"rounds": 2, "labels": 20}, selection=selection))))
    assert all(word in text for word in ("stop.rounds = 2", "selection.audit = 0", "14 labels after"))
    explore = {"temperatures_K": [600.0], "steps": 10, "snapshot_every": 10}  # walkers go farther for a final look
    assert unreachable(load(campaign_file(stop={"rounds": 4, "labels": 40}, explore=explore))) == []
    ramp = [{"structure": "copper", "points": [{"at": 0, "temperature_K": 300}, {"at": 1, "temperature_K": 600}]}]
    explore = {"conditions": ramp, "steps": 100, "snapshot_every": 10}  # those on a ramp do not
    (text,) = unreachable(load(campaign_file(stop={"rounds": 4, "labels": 40}, explore=explore)))
    assert "20 frames of unbiased MD, and a round has 10: raise explore.steps" in text
    biased = {"temperatures_K": [600.0], "steps": 100, "snapshot_every": 10, "bias": {"ratios": [0.3]}}
    (text,) = unreachable(load(campaign_file(stop={"rounds": 4, "labels": 40}, explore=biased)))
    assert "no walker is unbiased: let explore.bias.ratios" in text
    labels = {"rule": "uncertainty", "batch": 4, "evidence": "labels"}
    text = " ".join(unreachable(load(campaign_file(stop={"rounds": 4, "labels": 20}, selection=labels))))
    assert all(word in text for word in ("labels_needed = 20", "batch = 4", "14 labels after"))


def test_structures_that_no_round_could_use_are_refused_before(campaign_file: Make, tmp_path: Path) -> None:
    write(tmp_path / "silver.xyz", [bulk("Cu", cubic=True), bulk("Ag", cubic=True)], format="extxyz")
    text = refused(campaign_file(validation={"kind": "frames", "file": "silver.xyz"}))
    assert "frame 1 of [validation] has Ag, which no structure and no frame of [initial] has" in text
    write(tmp_path / "one.xyz", bulk("Cu"), format="extxyz")
    text = refused(campaign_file(structures=[{"file": "one.xyz"}]))
    assert "one atom alone does not move in MD" in text
    assert 'kind = "supercell"' in text
    load(campaign_file(structures=[{"file": "one.xyz"}], explore={"ensemble": {"kind": "npt"}}))
    load(campaign_file(structures=[{"file": "one.xyz"}, {"file": "copper.xyz"}]))  # the other one moves
    load(campaign_file(structures=[{"file": "one.xyz"}]), written=True)  # a campaign that has begun goes on


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


def test_temperatures_beside_conditions_are_refused_where_a_user_states_them(
    campaign_file: Make, tmp_path: Path
) -> None:
    conditions = [{"structure": "copper", "temperature_K": 500.0}]
    path = campaign_file(explore={"conditions": conditions, "temperatures_K": [300.0]})
    assert "explore.temperatures_K = [300.0] stands beside explore.conditions" in refused(path)
    path = campaign_file(explore={"conditions": conditions})
    stored, root = open_folder(path, tmp_path / "run")
    stored_file = CampaignPaths(root).campaign_file
    assert load(stored_file) == stored  # a copy of it can begin another campaign
    content = tomllib.loads(stored_file.read_text())
    content["explore"]["temperatures_K"] = [300.0]  # as folders of earlier versions state it
    stored_file.write_text(tomli_w.dumps(content))
    assert "leave one of the two out" in refused(stored_file)
    assert stored_config(root) == stored
    CampaignPaths(root).journal.touch()
    assert open_config(stored_file) == stored


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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["os:system", "os:getcwd", "no_such_package:Thing"])
def test_an_import_path_that_gives_no_calculator_is_refused_with_the_file(campaign_file: Make, name: str) -> None:
    text = refused(campaign_file(committee={"members": 2, "driver": name}))
    assert "campaign.toml: committee: " in text
    assert name in text


def test_more_charge_than_electrons_is_refused(campaign_file: Make) -> None:
    assert "has 116 electrons" in refused(campaign_file(charge=1000))
