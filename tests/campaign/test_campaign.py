"""The whole loop, small: ask and tell, run, resume, scores, status, and what the folder holds."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.batches import Method, outcome_names, read_batch, read_outcome
from tentpole.campaign.export import export, export_campaign
from tentpole.campaign.facts import RoundOutcome
from tentpole.campaign.paths import VALIDATION, CampaignPaths
from tentpole.errors import InputError
from tentpole.storage import journal
from tentpole.storage.atomic import write_json
from tentpole.storage.labels import label_files, read_label

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


def tentpole(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tentpole", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished campaign of two rounds, made by the command."""
    from support.small_campaign import small_campaign

    folder = tmp_path_factory.mktemp("done")
    validation = {"kind": "reference-md", "frames": 6, "temperatures_K": [300, 600], "every": 5}
    path = small_campaign(folder, validation=validation)
    ended = tentpole("run", path, "--dir", folder / "run")
    assert ended.returncode == 0, ended.stderr
    assert "BUDGET" in ended.stdout
    return folder / "run"


def test_a_campaign_ends_with_a_verdict_and_says_what_is_missing(done: Path) -> None:
    facts = CampaignRecord.read(done).to_json()
    assert facts["verdict"]["kind"] == "BUDGET"
    assert {test["holds"] for test in facts["verdict"]["evidence"]} >= {False}
    assert len(facts["rounds"]) == 3
    assert facts["labels"] == 6 + 4 + 4
    assert facts["validation_labels"] == 6
    assert facts["label_files"] == facts["labels"] + facts["validation_labels"]
    assert all(r["validation_force_rmse"] > 0 for r in facts["rounds"])
    assert facts["rounds"][1]["force_std_chosen"]["median"] >= facts["rounds"][1]["force_std_remaining"]["median"]


def test_coverage_and_calibration_are_told_or_why_not(done: Path) -> None:
    rounds = CampaignRecord.read(done).to_json()["rounds"]
    assert all("not calibrated: 6 held-out structures" in r["calibration"]["words"] for r in rounds)
    assert all(r["coverage"] is None for r in rounds)
    assert all("members' spread" in r["likeness"] for r in rounds)


def test_every_pick_has_scores_and_a_reason_and_audit_frames_are_marked(done: Path) -> None:
    facts = json.loads((done / "rounds/r001/batch.json").read_text())
    picks = facts["requests"]
    assert [pick["audit"] for pick in picks] == [True, True, False, False]
    assert all(pick["reason"] and pick["scores"]["force_std"] > 0 for pick in picks)


def test_labels_are_those_of_the_reference(done: Path) -> None:
    for path in list(label_files(done))[:3]:
        label = read_label(path)
        atoms = label.atoms
        atoms.calc = EMT()
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert np.allclose(label.forces, atoms.get_forces(), atol=1e-9)


def test_validation_frames_never_train(done: Path) -> None:
    paths = CampaignPaths(done)
    held_out = set(read_outcome(paths, VALIDATION).accepted)
    trained = {name for r in range(3) for name in read_outcome(paths, r).accepted}
    assert not held_out & trained


def test_running_again_changes_nothing_and_a_larger_budget_goes_on(done: Path) -> None:
    before = [path.name for path in label_files(done)]
    again = tentpole("run", done)
    assert again.returncode == 0
    assert [path.name for path in label_files(done)] == before


def test_a_verdict_that_a_crash_took_is_given_when_the_campaign_is_opened(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    (tmp_path / "run" / "verdict.json").unlink()
    with Campaign(tmp_path / "run") as campaign:
        assert campaign.verdict is not None
        assert campaign.ask() == []
    assert not (tmp_path / "run" / "snapshots" / "r003-w00.h5").exists()


def test_the_committee_of_a_campaign_loads_and_scores_files(done: Path, tmp_path: Path) -> None:
    frames = [bulk("Cu", cubic=True) for _ in range(5)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
    frames[3].positions[1] = frames[3].positions[0] + [0.3, 0, 0]
    frames[4].positions[0, 0] = np.nan
    write(tmp_path / "frames.extxyz", frames)
    ended = tentpole("score", tmp_path / "frames.extxyz", "--models", done, "--out", tmp_path / "scored.extxyz")
    assert ended.returncode == 0, ended.stderr
    assert "3 frames scored, 2 failed" in ended.stdout
    scored = read(tmp_path / "scored.extxyz", index=":")
    for atoms in scored[:3]:
        assert all(np.isfinite(atoms.info[key]) for key in ("energy_std", "force_std", "max_force_std", "gain"))
    assert "close contact" in scored[3].info["failed"]
    assert "not finite" in scored[4].info["failed"]


def test_status_as_json_accounts_for_the_time(done: Path) -> None:
    facts = json.loads(tentpole("status", done, "--json").stdout)
    assert set(facts["seconds"]) == {"md", "scoring", "labelling", "training", "engine"}
    assert facts["hours"] * 3600 == pytest.approx(sum(facts["seconds"].values()), abs=1.0)


def test_export_gives_data_and_models_that_others_read(done: Path, tmp_path: Path) -> None:
    made = export_campaign(done, tmp_path)
    frames = read(tmp_path / "dataset.extxyz", index=":")
    assert len(frames) == 14
    assert all("REF_energy" in atoms.info and "REF_forces" in atoms.arrays for atoms in frames)
    assert all(atoms.get_potential_energy() == atoms.info["REF_energy"] for atoms in frames)  # plain ASE reads it
    assert all(np.allclose(atoms.get_forces(), atoms.arrays["REF_forces"]) for atoms in frames)
    said = (tmp_path / "README.txt").read_text()
    assert said.count("labels that it held back") == 2
    assert "MACECalculator(" in said
    assert not list(tmp_path.glob("*lammps*"))
    models = [path for path in made if path.suffix == ".json"]
    assert Committee.load(models).size == 2


def test_export_for_lammps_says_how_each_file_is_used(done: Path, tmp_path: Path) -> None:
    found = export(done, tmp_path, lammps=True)
    assert {p.name for p in found.files} >= {"member-0-lammps.pt", "member-1-mliap_lammps.pt", "README.txt"}
    words = "\n".join(found.words)
    assert "pair_style mace no_domain_decomposition" in words
    assert "pair_style mliap unified" in words
    assert words.count("forces of 14 frames differ from the model's by") == 3
    assert f"pair_coeff * * {tmp_path / 'mean'}-lammps.pt Cu" in words


def test_a_pickled_model_is_refused_without_trust_and_the_same_with_it(done: Path, tmp_path: Path) -> None:
    export_campaign(done, tmp_path)
    pickle = tmp_path / "member-0.model"
    refused = tentpole("score", tmp_path / "dataset.extxyz", "--models", pickle, "--out", tmp_path / "x.extxyz")
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    assert tentpole("models", "import", pickle).returncode == 2
    imported = tentpole("models", "import", pickle, "--trust", "--out", tmp_path / "imported")
    assert imported.returncode == 0
    made = tmp_path / "imported.json"
    assert f'driver = "mace-mp:{made}"' in imported.stdout
    assert f'kind = "foundation", model = "{made}"' in imported.stdout
    frames = read(tmp_path / "dataset.extxyz", index=":3")
    same = Committee.load([tmp_path / "imported"]).evaluate(frames).energies
    assert np.allclose(same, Committee.load([done / "models/r002/member-0"]).evaluate(frames).energies)


def test_ask_and_tell_in_any_order_and_what_nobody_asked_for_is_refused(campaign_file: Make, tmp_path: Path) -> None:
    path = campaign_file(stop={"rounds": 0})
    with Campaign(path, tmp_path / "run") as campaign:
        batch = campaign.ask()
        assert len(batch) == 6
        assert [q.name for q in campaign.ask()] == [q.name for q in batch]
        answers = []
        for request in reversed(batch[1:]):
            atoms = request.atoms.copy()
            atoms.calc = EMT()
            answers.append(request.label(atoms.get_potential_energy(), atoms.get_forces()))
        campaign.tell(answers[:2])
        campaign.tell(answers[2:])
        with pytest.raises(InputError, match="not finite"):
            campaign.tell([batch[0].label(float("nan"), np.zeros((4, 3)))])
        with pytest.raises(InputError, match="shape"):
            campaign.tell([batch[0].label(0.0, np.zeros((3, 3)))])
        assert [q.name for q in campaign.ask()] == [batch[0].name]
        campaign.tell([batch[0].failed("unconverged", "60 steps")])
        assert campaign.ask() == []
        assert campaign.verdict is not None
        assert campaign.verdict.kind == "BUDGET"
    assert read_outcome(CampaignPaths(tmp_path / "run"), 0).failed == (batch[0].name,)
    assert (tmp_path / "run" / "quarantine" / batch[0].name / "structure.xyz").exists()


def test_the_journal_tells_the_story_in_order(done: Path) -> None:
    told = [event["event"] for event in journal.read(done / "journal.jsonl")]
    order = ["opened", "batch", "label", "closed round", "phase", "validation", "round done", "verdict", "closed"]
    places = [told.index(event) for event in order if event != "phase"]
    assert places == sorted(places)


def test_a_label_of_other_physics_is_a_failed_label_and_the_campaign_ends(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "class Picky(LennardJones):\n"
        "    def calculate(self, atoms=None, properties=None, system_changes=()):\n"
        "        if self.parameters.sigma > 2.25 and atoms.positions[0, 0] > 0:\n"
        "            raise RuntimeError('did not converge')\n"
        "        super().calculate(atoms, properties, system_changes)\n"
    )
    (tmp_path / "picky.toml").write_text(
        'calculator = "picky:Picky"\ncode_version = "1"\nproperties = ["energy", "forces"]\n'
        '[parameters]\nsigma = 2.3\nepsilon = 0.4\n[[retry]]\nname = "softer"\nsigma = 2.2\n'
    )
    command = [sys.executable, "-m", "tentpole", "run", str(campaign_file(reference="picky.toml", stop={"rounds": 0}))]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = [*command, "--dir", str(tmp_path / "run")]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=300, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    closed = read_outcome(CampaignPaths(tmp_path / "run"), 0)
    assert closed.accepted
    assert closed.failed
    reasons = [json.loads(path.read_text())["reason"] for path in (tmp_path / "run/quarantine").glob("*/reason.json")]
    assert reasons == ["other_physics"] * len(closed.failed)


def test_a_reference_that_changed_is_refused_before_its_labels_mix(campaign_file: Make, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('parent = "emt"\ncode_version = "1"\n')
    path = campaign_file(reference="mine.toml")
    with Campaign(path, tmp_path / "run") as campaign:
        batch = campaign.ask()
        campaign.tell([request.label(0.0, np.zeros((4, 3))) for request in batch])
    paths = CampaignPaths(tmp_path / "run")
    names = outcome_names(paths, read_batch(paths, 0, Method(batch[0].reference)))
    write_json(paths.outcome(0), RoundOutcome(*names).to_json())
    mine.write_text('parent = "emt"\ncode_version = "2"\n')
    with pytest.raises(InputError, match="different physics"):
        Campaign(path, tmp_path / "run")
