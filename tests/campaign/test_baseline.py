"""Members learn the difference to a baseline, which is added back wherever they predict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from safetensors.numpy import load_file

from support.same_end import differing, manifest
from support.small_campaign import small_campaign
from tentpole import Campaign
from tentpole.campaign.export import export
from tentpole.campaign.finishing import finish_campaign
from tentpole.campaign.folder import open_config
from tentpole.campaign.preflight import check_campaign
from tentpole.campaign.pretraining import pretrain
from tentpole.campaign.record import CampaignRecord
from tentpole.cli.files import score_file
from tentpole.committee import Committee, CommitteeCalculator
from tentpole.config.baseline import whole_first
from tentpole.errors import InputError
from tentpole.labeling import load
from tentpole.report.standing import advice

pytestmark = pytest.mark.slow

NEAR = 'calculator = "ase.calculators.emt:EMT"\nproperties = ["energy", "forces", "stress"]\n[parameters]\n'
"""EMT as ASAP cuts it off: not the reference, and hardly another surface."""


def near_emt(folder: Path, parameters: str = "asap_cutoff = true\n") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "near.toml").write_text(NEAR + parameters)
    return str(folder / "near.toml")


def errors(folder: Path) -> list[float]:
    found = [frame.force_rmse for frame in CampaignRecord.read(folder).frames if frame.round == 1]
    return [error for error in found if error is not None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with its baseline, ended after a round."""
    home = tmp_path_factory.mktemp("near")
    changes: dict[str, Any] = {"stop": {"rounds": 1}, "initial": {"kind": "rattle", "count": 20}}
    path = small_campaign(home, baseline={"reference": near_emt(home / "own")}, **changes)
    (home / "own" / "away").mkdir()
    with Campaign(path, home / "run") as campaign:
        campaign.ask()
    (home / "own" / "near.toml").rename(home / "own" / "away" / "near.toml")  # the folder has its own copy
    with Campaign(home / "run") as campaign:
        campaign.run()
    return home / "run"


def test_what_the_baseline_knows_need_not_be_learned(run: Path, tmp_path: Path) -> None:
    """Twelve updates leave the error of a network that knows nothing: here it is that of the difference."""
    assert max(errors(run)) < 0.1
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    committee = Committee.load(run, baseline=run / "reference" / "baseline" / "near.toml")
    crystal.calc = CommitteeCalculator(committee, stress=True)
    found = crystal.get_potential_energy(), crystal.get_forces(), crystal.get_stress()
    crystal.calc = EMT()
    np.testing.assert_allclose(found[0], crystal.get_potential_energy(), atol=0.1)
    np.testing.assert_allclose(found[1], crystal.get_forces(), atol=0.1)
    np.testing.assert_allclose(found[2], crystal.get_stress(), atol=0.02)
    described = json.loads((run / "models" / "r001" / "member-0.json").read_text())["baseline"]
    assert described["hash"] == load(run / "reference" / "baseline" / "near.toml").hash
    trained = read(run / "models" / "r001" / "train.extxyz")
    assert trained.info["REF_energy"] == pytest.approx(trained.info["baseline_energy"], abs=0.2)


def test_members_are_not_loaded_without_their_baseline_nor_with_another(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"learned the difference to near .* --baseline near"):
        Committee.load(run)
    with pytest.raises(InputError, match=r'and "zbl" is .* here: another method'):
        Committee.load(run, baseline="zbl")
    by_word = Committee.load(run, baseline=EMT(asap_cutoff=True))  # a calculator is taken at its giver's word
    by_file = Committee.load(run, baseline=run / "reference" / "baseline" / "near.toml")
    crystal = bulk("Cu", cubic=True)
    np.testing.assert_array_equal(by_word.evaluate([crystal]).energies, by_file.evaluate([crystal]).energies)
    write(tmp_path / "some.extxyz", crystal)
    arguments = (tmp_path / "some.extxyz", [run], None, tmp_path / "out.extxyz")
    with pytest.raises(InputError, match="--baseline near"):
        score_file(*arguments)
    assert score_file(*arguments, baseline=str(run / "reference" / "baseline" / "near.toml")).done == 1


def test_what_is_handed_out_says_that_it_is_a_difference(run: Path, tmp_path: Path) -> None:
    made = export(run, tmp_path / "out")
    names = {path.name for path in made.files}
    assert "member-0-difference.model" in names
    assert "member-0.model" not in names
    assert "learned the difference to near" in made.words[-1]
    assert "MACECalculator" not in "".join(made.words[:-1])
    (how,) = (line.strip() for line in made.words if "Committee.load" in line)
    committee = eval(how.partition("faster(")[2].partition("))  #")[0], {"Committee": Committee})  # as it is told
    assert len(committee.voters) == 2
    record = CampaignRecord.read(run)
    assert len(Committee.load(run, baseline=record.baseline).voters) == 2  # what the page tells
    assert not any("--lammps" in command for _, command in advice(record, "CONVERGED", ""))
    with pytest.raises(InputError, match="LAMMPS's pair styles would leave out"):
        export(run, tmp_path / "lammps", lammps=True)
    card = finish_campaign(run, tmp_path / "model", size=None)
    assert card.baseline.startswith("near (")
    assert "which is to be added back" in card.text
    assert max(found.force_rmse for found in card.errors.values()) < 0.05


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": {"reference": "zlb"}}, 'unknown reference "zlb"; did you mean "zbl"'),
        ({"baseline": {"reference": "emt"}}, "is the campaign's own reference: nothing would be left to learn"),
        ({"baseline": {"reference": "xtb"}}, "needs the charge of Cu4"),
        ({"baseline": {"reference": "energies.toml"}}, "properties must have energy and forces"),
    ],
)
def test_a_baseline_that_cannot_be_one_is_refused_when_the_file_is_read(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    text = NEAR.replace(', "forces", "stress"', "")
    (tmp_path / "energies.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        open_config(small_campaign(tmp_path, **changes))


def test_check_tries_it_on_every_structure(tmp_path: Path) -> None:
    write(tmp_path / "argon.xyz", bulk("Ar", cubic=True), format="extxyz")
    both = [{"file": "copper.xyz"}, {"file": "argon.xyz"}]
    path = small_campaign(tmp_path, reference="mock", baseline={"reference": "emt"}, structures=both)
    line = next(line for line in check_campaign(path) if line.what.startswith("baseline"))
    assert not line.good
    assert 'nothing for structure "argon"' in line.found
    path = small_campaign(tmp_path, reference="mock", baseline={"reference": "zbl"}, structures=both)
    line = next(line for line in check_campaign(path) if line.what.startswith("baseline"))
    assert line.good
    assert "paid at every MD step" in line.found
    assert not any(line.what == "start" for line in check_campaign(path))
    dear = small_campaign(tmp_path, reference="vasp", charge=0)
    assert any(line.what == "start" and "learned first saves" in line.found for line in check_campaign(dear))


def test_members_that_learned_whole_energies_take_no_baseline(tmp_path: Path, run: Path) -> None:
    earlier = {"kind": "committee", "folder": str(run)}
    with pytest.raises(InputError, match=r"learned the difference to near .* this campaign's is none"):
        open_config(small_campaign(tmp_path, pretraining=earlier))
    same = {"reference": str(run / "reference" / "baseline" / "near.toml")}
    with Campaign(small_campaign(tmp_path, pretraining=earlier, baseline=same), tmp_path / "run") as campaign:
        assert len(campaign.ask()) == 6


def test_what_is_both_pretrained_on_and_the_baseline_is_learned_whole_and_then_left_out(tmp_path: Path) -> None:
    """The difference to be pretrained on would be zero."""
    near = near_emt(tmp_path / "own")
    cheap = {"reference": near, "frames": 12, "every": 2, "updates": 12}
    changes: dict[str, Any] = {"stop": {"rounds": 1}, "initial": {"kind": "rattle", "count": 20}}
    path = small_campaign(tmp_path, pretraining=cheap, baseline={"reference": near}, **changes)
    said = next(line.found for line in check_campaign(path) if line.what == "start")
    assert said.startswith("whole energies first; from the first label on fresh readouts learn the difference")
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    paths = CampaignRecord.read(tmp_path / "run").paths
    learned = read(paths.pretrained_whole / "train.extxyz", ":")
    assert "REF_energy" in learned[0].info
    assert not any("baseline_energy" in atoms.info for atoms in learned)
    whole, fresh = (load_file(folder / "member-1.safetensors") for folder in (paths.pretrained_whole, paths.pretrained))
    changed = {name for name in whole if not np.array_equal(whole[name], fresh[name])}
    assert changed
    assert all(name.startswith("readouts.") for name in changed)
    told = [json.loads((folder / "member-1.json").read_text()) for folder in (paths.pretrained_whole, paths.pretrained)]
    assert told[0].get("baseline") is None
    assert told[1]["baseline"]["hash"] == load(near).hash
    assert max(errors(tmp_path / "run")) < 1.0
    before = manifest(tmp_path / "run")
    shutil.rmtree(paths.pretrained)
    with Campaign(tmp_path / "run") as campaign:
        pretrain(campaign._context)
    assert differing(manifest(tmp_path / "run"), before) == []


def test_a_model_of_others_may_have_a_baseline_beside_it_but_nothing_is_replayed(tmp_path: Path, run: Path) -> None:
    model = {"kind": "foundation", "model": str(run / "models" / "r001" / "member-0.json")}
    near, training = {"reference": near_emt(tmp_path)}, {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 12}
    replayed = training | {"finetuning": "replay", "loop": "mace"}
    given = {**model, "file": str(run / "models" / "r001" / "train.extxyz")}
    with pytest.raises(InputError, match="repeats whole energies"):
        open_config(small_campaign(tmp_path, pretraining=given, baseline=near, training=replayed))
    assert whole_first(open_config(small_campaign(tmp_path, pretraining=model, baseline=near, training=training)))
    assert not whole_first(open_config(small_campaign(tmp_path, pretraining=model, training=training)))


def test_no_bit_depends_on_what_was_asked_before() -> None:
    """tblite would go on from its last density."""
    from tentpole.committee import Baseline

    water, other, baseline = molecule("H2O"), molecule("H2O"), Baseline("xtb", 0, 1)
    other.rattle(0.1, seed=1)
    first = baseline.of(water)
    baseline.of(other)
    again = baseline.of(water)
    assert first[0] == again[0]
    assert (first[1] == again[1]).all()


def test_a_frame_without_a_baseline_is_no_small_number(run: Path) -> None:
    """EMT knows no argon: such a frame has failed."""
    from tentpole.committee import Baseline

    baseline = Baseline("emt")
    energy, forces, stress = baseline.of(Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]), stress=True)
    assert np.isnan(energy)
    assert np.isnan(forces).all()
    assert np.isnan(stress).all()
    assert "Ar" in baseline.said
    assert np.isfinite(baseline.of(molecule("H2O"))[0])
