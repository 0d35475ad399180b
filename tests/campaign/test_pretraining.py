"""Members that start from what is known: a cheap reference, labels of another method, an earlier campaign."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from safetensors.numpy import load_file

from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.batches import read_outcome
from tentpole.campaign.facts import RoundOutcome
from tentpole.campaign.paths import PRETRAINING, CampaignPaths
from tentpole.campaign.record import read_pretraining
from tentpole.campaign.retry import retry_failed
from tentpole.committee.member_files import read_member, write_member
from tentpole.config.loading import load
from tentpole.errors import InputError, StateError
from tentpole.labeling import references
from tentpole.storage import journal
from tentpole.storage.atomic import write_json
from tentpole.storage.labels import label_files, quarantine
from tentpole.training import MACESettings

pytestmark = pytest.mark.slow


def pretrained_campaign(folder: Path, pretraining: dict[str, Any] | None = None, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soft.toml").write_text(
        'calculator = "ase.calculators.lj:LennardJones"\ncode_version = "1"\nproperties = ["energy", "forces"]\n'
        "[parameters]\nsigma = 2.3\nepsilon = 0.4\nrc = 5.0\n"
    )
    given = {"reference": "soft.toml", "frames": 12, "every": 5, "updates": 12}
    initial = {"kind": "pretraining", "count": 6}
    training = {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 12, "batch_size": 4, "finishing": False}
    settings: dict[str, Any] = {
        "training": training,
        "pretraining": given if pretraining is None else pretraining,
        "initial": initial,
        "stop": {"rounds": 1},
    }
    return small_campaign(folder, **{**settings, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of one round, whose members were pretrained."""
    folder = tmp_path_factory.mktemp("pretrained")
    selection = {"rule": "gradient", "batch": 4, "audit": 0.25}
    with Campaign(pretrained_campaign(folder, selection=selection), folder / "run") as campaign:
        campaign.run()
    return folder / "run"


def test_one_members_gradients_choose_beside_the_audit_frames(done: Path) -> None:
    asked = json.loads((done / "rounds/r001/batch.json").read_text())["requests"]
    assert [one["audit"] for one in asked] == [True, True, False, False]
    assert all("left by labels and picks" in one["reason"] for one in asked[2:])


def test_the_cheap_labels_lie_under_their_own_hash_and_train_no_round(done: Path) -> None:
    paths = CampaignPaths(done)
    cheap = read_outcome(paths, PRETRAINING).accepted
    own = [name for number in (0, 1) for name in read_outcome(paths, number).accepted]
    assert len(cheap) == 12
    assert len({name.partition("-")[2] for name in cheap}) == 1
    assert {name.partition("-")[2] for name in own} == {references.load("emt", ["Cu"]).hash}
    assert not {name.partition("-")[2] for name in cheap} & {name.partition("-")[2] for name in own}
    assert len(read(paths.models(1) / "train.extxyz", ":")) == len(own)
    assert len(list(label_files(done))) == len(cheap) + len(own)


def test_its_costs_are_on_record(done: Path) -> None:
    facts = read_pretraining(CampaignPaths(done))
    assert facts is not None
    assert (facts.labels, facts.failed, facts.reference, facts.updates) == (12, 0, "soft", 12)
    assert facts.core_seconds > 0
    assert len(facts.force_rmse) == 2
    events = [event["event"] for event in journal.events(CampaignPaths(done).journal)]
    assert events.index("pretrained") < events.index("closed round")
    record = CampaignRecord.read(done)
    assert record.to_json()["pretraining"]["labels"] == 12
    assert record.labels == 6 + 4  # the budget of labels counts the campaign's own


def test_rounds_go_on_from_the_pretrained_members_and_members_differ_from_the_first_on(done: Path) -> None:
    first = json.loads((done / "models/r000/member-0.json").read_text())
    assert first["training"]["warm_start"] == "member-0"
    later = json.loads((done / "models/r001/member-0.json").read_text())
    usual = MACESettings(channels=4).rates(warm=True)[0]
    assert [told["training"]["settings"]["lr_warm"] for told in (first, later)] == [usual / 4, None]
    structures = read(done / "models/pretraining/train.extxyz", ":3")
    sigma = [d.force_std for d in Committee.load(done / "models/pretraining").evaluate(structures).disagreements()]
    assert min(sigma) > 1e-6


def test_first_labels_are_frames_of_the_pretraining_spread_out(done: Path) -> None:
    asked = [one["atoms"]["positions"] for one in json.loads((done / "rounds/r000/batch.json").read_text())["requests"]]
    known = [atoms.positions for atoms in read(done / "models/pretraining/train.extxyz", ":")]
    assert len(asked) == 6
    assert all(any(np.allclose(one, other, atol=1e-7) for other in known) for one in asked)


def test_it_goes_on_where_it_was_stopped_with_the_same_end(done: Path, tmp_path: Path) -> None:
    """Labels of the first half are there, the rest and the models are lost: the end is the same to the last bit."""
    half = tmp_path / "run"
    shutil.copytree(done, half)
    for place in ("models", "snapshots", "walkers", "rounds/r000", "rounds/r001"):
        shutil.rmtree(half / place, ignore_errors=True)
    for lost in ("rounds/pretraining/labels.json", "rounds/pretraining/done.json", "verdict.json"):
        (half / lost).unlink()
    cheap = sorted(half.glob("labels/*/*.json"))
    for path in cheap[::2]:
        path.unlink()
    with Campaign(half) as campaign:
        campaign.run()
    for place in ("models/pretraining/member-1", "models/r000/member-0", "models/r001/member-1"):
        assert (half / f"{place}.safetensors").read_bytes() == (done / f"{place}.safetensors").read_bytes()


def test_labelled_frames_and_an_earlier_committee_are_starts_too(done: Path, tmp_path: Path) -> None:
    write(tmp_path / "cheap.xyz", read(done / "models/pretraining/train.extxyz", ":"), format="extxyz")
    labelled = {"kind": "labelled", "file": "cheap.xyz", "updates": 12}
    with Campaign(pretrained_campaign(tmp_path, labelled, stop={"rounds": 0}), tmp_path / "one") as campaign:
        campaign.run()
    shutil.rmtree(tmp_path / "one" / "rounds")  # what starts from it needs its models alone
    earlier = {"kind": "committee", "folder": "one"}
    path = pretrained_campaign(tmp_path, earlier, stop={"rounds": 0}, initial={"kind": "rattle", "count": 4})
    with Campaign(path, tmp_path / "two") as campaign:
        shutil.rmtree(tmp_path / "one")
        campaign.run()
    with Campaign(tmp_path / "two") as campaign:
        assert campaign.ask() == []
    told = CampaignRecord.read(tmp_path / "two").to_json()["pretraining"]
    assert (told["reference"], told["labels"]) == ("an earlier campaign", 0)
    assert told["force_std"] > 1e-4


def test_members_of_one_model_have_its_body_and_readouts_of_their_own(done: Path, tmp_path: Path) -> None:
    """Only the readouts change where the body is frozen, and the energies of isolated atoms are those of the labels."""
    start = done / "models/pretraining/member-0"
    training = {
        "channels": 4,
        "max_L": 0,
        "r_max": 4.0,
        "updates": 12,
        "batch_size": 4,
        "finishing": False,
        "frozen": True,
    }
    foundation = {"kind": "foundation", "model": str(start) + ".json"}
    path = pretrained_campaign(
        tmp_path, foundation, stop={"rounds": 1}, initial={"kind": "rattle", "count": 4}, training=training
    )
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    body, one, other = (load_file(f"{s}.safetensors") for s in (start, *_members(tmp_path / "run/models/r001")))
    same = {name for name in body if np.array_equal(body[name], one[name])}
    assert {name.partition(".")[0] for name in set(body) - same} <= {"readouts", "atomic_energies_fn"}
    differ = {name for name in one if not np.array_equal(one[name], other[name])}
    assert any(name.startswith("readouts.") for name in differ)
    assert all(name.startswith("readouts.") for name in differ)


BY_MACE = {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 12, "batch_size": 4, "finishing": False, "loop": "mace"}


def test_a_model_replays_its_own_labels_of_frames_that_are_named(done: Path, tmp_path: Path) -> None:
    """The second head is gone, the frames' energies are the model's own, and the campaign's are those of its labels."""
    start = done / "models/pretraining/member-0"
    write(tmp_path / "kept.xyz", _rattled("Cu", 11), format="extxyz")
    foundation = {"kind": "foundation", "model": f"{start}.json", "file": "kept.xyz"}
    path = pretrained_campaign(
        tmp_path,
        foundation,
        stop={"rounds": 0},
        initial={"kind": "rattle", "count": 6},
        training={**BY_MACE, "finetuning": "replay", "replay_frames": 10},
    )
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    replayed = read(tmp_path / "run/models/pretraining/replay.extxyz", ":")
    said = Committee.load([start]).evaluate(replayed)
    assert np.allclose(replayed[0].arrays["REF_forces"], said.forces[0][0], atol=1e-5)
    for stem in _members(tmp_path / "run/models/r000"):
        description = read_member(stem)[1]
        assert description["heads"] == ["Default"]
        assert description["training"]["finetuning"] == "replay"


@pytest.mark.parametrize("training", [{"finetuning": "lora"}, {"loop": "stacked", "frozen": True}])
def test_random_weights_are_not_fine_tuned(training: dict[str, Any], tmp_path: Path) -> None:
    path = small_campaign(tmp_path, training={**BY_MACE, **training})
    with pytest.raises(InputError, match="random weights know nothing"):
        load(path)


def _members(folder: Path) -> list[Path]:
    return [folder / "member-0", folder / "member-1"]


def test_members_that_agree_to_numerical_noise_are_refused(done: Path, tmp_path: Path) -> None:
    """Two files that differ in their last digits alone are one model."""
    model, _ = read_member(done / "models/pretraining/member-0")
    for number in range(2):
        with torch.no_grad():
            next(model.readouts.parameters()).mul_(1.0 + 1e-7 * number)
        write_member(tmp_path / "alike" / f"member-{number}", model)
    path = pretrained_campaign(
        tmp_path, {"kind": "committee", "folder": "alike"}, initial={"kind": "rattle", "count": 4}
    )
    with Campaign(path, tmp_path / "run") as campaign, pytest.raises(StateError, match="numerical noise"):
        campaign.ask()


def test_the_energies_of_isolated_atoms_are_estimated_around_the_start(done: Path) -> None:
    """The cheap reference's zero of energy is another one: the first training starts with the labels' own."""
    events = [e for e in journal.events(CampaignPaths(done).journal) if e["event"] == "started from pretrained members"]
    assert len(events) == 1
    assert events[0]["energy_error_eV_per_atom"] < 0.4
    cheap, own = (
        json.loads((done / f"models/{folder}/member-0.json").read_text())["E0s"] for folder in ("pretraining", "r000")
    )
    assert cheap != own


def _labelled(path: Path, frames: list[Atoms]) -> None:
    for atoms in frames:
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    write(path, frames, format="extxyz")


def _rattled(element: str, count: int) -> list[Atoms]:
    frames = [bulk(element, cubic=True) for _ in range(count)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    return frames


@pytest.mark.parametrize(
    ("pretraining", "changes", "said"),
    [
        ({"reference": "emt"}, {}, "the campaign's own"),
        ({"kind": "foundation", "model": "mace.model"}, {}, "--trust"),
        ({"kind": "foundation", "model": "nothing.json"}, {}, "no model"),
        ({"reference": "energy-only.toml"}, {}, "forces"),
        ({"reference": "no-such"}, {}, "no-such"),
        (
            {"reference": "soft.toml", "frames": 12},
            {"initial": {"kind": "pretraining", "count": 20}},
            "more than the 12",
        ),
        ({"kind": "labelled", "file": "few.xyz"}, {}, "10 at least"),
        ({"kind": "labelled", "file": "silver.xyz"}, {}, "does not know Cu"),
        ({"kind": "labelled", "file": "charged.xyz"}, {}, "structures differ in charge"),
        ({"kind": "labelled", "file": "bare.xyz"}, {}, "no energy"),
        ({"kind": "committee", "folder": "nowhere"}, {}, "no such folder"),
        (
            {"kind": "committee", "folder": "nowhere"},
            {"initial": {"kind": "pretraining", "count": 4}},
            "there are none",
        ),
        ({"reference": "soft.toml"}, {"committee": {"kind": "shallow", "members": 2}}, "shallow"),
        (
            {"reference": "soft.toml"},
            {"training": {"channels": 4, "max_L": 0, "r_max": 4.0, "E0s": {"Cu": -1.0}}},
            "average",
        ),
        ({"reference": "soft.toml"}, {"training": {**BY_MACE, "loop": "stacked", "finetuning": "lora"}}, "needs loop"),
        (
            {"kind": "committee", "folder": "nowhere"},
            {"training": {**BY_MACE, "finetuning": "replay"}},
            "a folder of members brings none",
        ),
        ({"kind": "foundation", "model": "m.json"}, {"training": {**BY_MACE, "finetuning": "replay"}}, "name a file"),
        ({"kind": "foundation", "model": "m.json", "file": "bare.xyz"}, {}, "leave it out"),
        (
            {"kind": "foundation", "model": "m.json", "file": "few.xyz"},
            {"training": {**BY_MACE, "finetuning": "replay"}},
            "10 at least are replayed",
        ),
    ],
)
def test_what_cannot_be_a_start_is_refused_before_anything_is_spent(
    pretraining: dict[str, Any] | None, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "energy-only.toml").write_text(
        'calculator = "ase.calculators.lj:LennardJones"\ncode_version = "1"\nproperties = ["energy"]\n'
    )
    _labelled(tmp_path / "few.xyz", _rattled("Cu", 3))
    _labelled(tmp_path / "silver.xyz", _rattled("Ag", 12))
    charged = _rattled("Cu", 12)
    charged[3].info["charge"] = 1
    _labelled(tmp_path / "charged.xyz", charged)
    (tmp_path / "mace.model").write_bytes(b"PK")
    write(tmp_path / "bare.xyz", _rattled("Cu", 12), format="extxyz")
    usual = {"initial": {"kind": "rattle", "count": 6}}
    path = pretrained_campaign(tmp_path, pretraining, **{**usual, **changes})
    with pytest.raises(InputError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"channels": 4, "max_L": 0, "r_max": 4.5, "updates": 12, "finishing": False}}, "cutoff 4 Å"),
        ({"committee": {"members": 3}}, "copies of one agree exactly"),
        ({"structures": [{"file": "silver.xyz"}]}, "does not know Ag"),
    ],
)
def test_an_earlier_committee_of_another_kind_is_refused(
    done: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    write(tmp_path / "silver.xyz", bulk("Ag", cubic=True), format="extxyz")
    usual = {"initial": {"kind": "rattle", "count": 4}}
    path = pretrained_campaign(tmp_path, {"kind": "committee", "folder": str(done)}, **{**usual, **changes})
    with pytest.raises(InputError, match=said):
        load(path)


def test_failed_labels_of_a_pretraining_that_is_done_are_not_tried_again(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    outcome = json.loads((tmp_path / "run/rounds/pretraining/labels.json").read_text())
    name = outcome["accepted"].pop()
    write_json(
        CampaignPaths(tmp_path / "run").outcome(PRETRAINING),
        RoundOutcome(tuple(outcome["accepted"]), (name,)).to_json(),
    )
    quarantine(tmp_path / "run", name, "crashed", "it did", bulk("Cu"))
    retried, late = retry_failed(tmp_path / "run")
    assert (retried, [one for one, _ in late]) == ([], [name])
