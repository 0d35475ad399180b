"""Fine-tuning by mace's command: changes of low rank, replay of what a model knew, and what it would pass over."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.io import read

from support.training_data import E0S, files, labelled
from tentpole.committee import Committee, read_member
from tentpole.committee.member_files import write_member
from tentpole.errors import InputError
from tentpole.storage.structures import write_frames
from tentpole.training import MACESettings, TrainingError, TrainingJob, train_committee
from tentpole.training import replay as replay_module
from tentpole.training.mace import _start_from
from tentpole.training.readouts import first_settings, write_fresh_members
from tentpole.training.replay import (
    OTHER,
    OWN,
    check_alike,
    replay_of,
    without_replay_head,
    write_learned,
    write_pseudo_labels,
)
from tentpole.training.reports import read_curve
from tentpole.training.settings import told

pytestmark = pytest.mark.slow

SMALL = MACESettings(channels=4, max_L=0, max_ell=1, correlation=1, r_max=4.0, epochs=20, E0s=E0S, together=1, lr=0.02)
BY_MACE = replace(SMALL, loop="mace", epochs=3, E0s="average")
SHIFT_eV = 3.0  # another method's zero of energy


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A member trained on labels of another zero of energy, and the frames that it knows, as they are replayed."""
    folder = tmp_path_factory.mktemp("known")
    write_frames(folder / "cheap.xyz", labelled(24, seed=5, offset_eV=SHIFT_eV))
    job = TrainingJob(0, 1, folder / "cheap.xyz", None, folder, folder / "start")
    train_committee([job], SMALL)
    write_learned(job.out, folder / "cheap.xyz", folder / "replay.xyz")
    return folder


def job_from(known: Path, folder: Path, **more) -> TrainingJob:
    train, valid = files(folder)
    return TrainingJob(0, 3, train, valid, folder, folder / "member", warm_start=known / "start", **more)


def test_whole_members_meet_other_labels_at_a_lower_rate_and_fresh_readouts_at_the_usual_one(known, tmp_path) -> None:
    write_fresh_members([known / "start"], tmp_path / "fresh", [1, 2])
    settings = MACESettings()
    usual = settings.rates(warm=True)[0]
    first = first_settings(settings, known / "start", 40)
    assert first.rates(warm=True)[0] == usual / 4
    assert first.updates_of(40, warm=True) == settings.updates_of(40, warm=False)
    assert first_settings(settings, tmp_path / "fresh", 40).rates(warm=True)[0] == usual
    assert first_settings(replace(settings, lr_warm=0.02), known / "start", 40).rates(warm=True)[0] == 0.02
    assert first_settings(replace(settings, finetuning="frozen"), known / "start", 40).rates(warm=True)[0] == usual


def weights(stem):
    return {name: value.numpy() for name, value in read_member(stem)[0].state_dict().items()}


def rank_of_change(before, after, rows):
    return np.linalg.matrix_rank((after - before).reshape(rows, -1), tol=1e-6)


def test_low_rank_changes_are_merged_and_of_that_rank(known, tmp_path):
    job = job_from(known, tmp_path)
    (report,) = train_committee([job], replace(BY_MACE, finetuning="lora", lora_rank=1))
    before, after = weights(known / "start"), weights(job.out)
    assert before.keys() == after.keys()
    for name in before:
        if "symmetric_contractions" in name or "skip_tp" in name:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    name = "interactions.1.linear_up.weight"
    assert rank_of_change(before[name], after[name], 4) == 1
    valid = read(job.valid, ":")
    found = Committee.load([job.out]).evaluate(valid)
    errors = [found.forces[k][0] - atoms.arrays["REF_forces"] for k, atoms in enumerate(valid)]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(report.force_rmse, rel=1e-3)  # what it erred unmerged


def test_replay_keeps_one_head_and_the_labels_zero_of_energy_and_repeats_itself(known, tmp_path):
    settings = replace(BY_MACE, finetuning="replay", replay_frames=20)
    job = job_from(known, tmp_path, replay=known / "replay.xyz")
    shifted = {1: E0S["H"], 8: E0S["O"] - SHIFT_eV}
    (report,) = train_committee([job], settings, energies=shifted)
    again = replace(job, out=tmp_path / "again", folder=tmp_path / "again-logs")
    train_committee([again], settings, energies=shifted)
    first, second = weights(job.out), weights(again.out)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    _, description = read_member(job.out)
    assert description["heads"] == [OWN]
    assert description["training"]["finetuning"] == "replay"
    valid = read(job.valid, ":")
    found = Committee.load([job.out]).evaluate(valid)
    errors = [found.forces[k][0] - atoms.arrays["REF_forces"] for k, atoms in enumerate(valid)]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(report.force_rmse, rel=1e-3)
    assert abs(found.energies[0, 0] - valid[0].info["REF_energy"]) < SHIFT_eV / 3
    text = job.log.read_text()
    assert f"Head '{OTHER}' training dataset size: 18" in text
    assert f"Head '{OWN}' training dataset size: 24" in text  # 12 labels, twice
    assert len(read_curve(job.log)) == len(report.curve) > 1


def test_what_is_replayed_is_less_the_energies_of_isolated_atoms(known, tmp_path):
    frames = read(known / "replay.xyz", ":")
    assert all(abs(atoms.info["REF_energy"]) < 100 for atoms in frames)
    write_pseudo_labels(known / "start", frames, tmp_path / "own.xyz")
    own = read(tmp_path / "own.xyz", ":")
    said = Committee.load([known / "start"]).evaluate(frames)
    np.testing.assert_allclose(own[3].arrays["REF_forces"], said.forces[3][0], atol=1e-5)
    apart = [one.info["REF_energy"] - two.info["REF_energy"] for one, two in zip(own, frames, strict=True)]
    assert np.abs(apart).max() < 1.0


def test_labels_are_repeated_until_they_are_half(known, tmp_path):
    settings, job = replace(BY_MACE, finetuning="replay"), job_from(known, tmp_path, replay=known / "replay.xyz")
    replay = replay_of(job, settings, 5)
    assert (len(replay.train), len(replay.valid), replay.times) == (22, 2, 4)
    assert replay.in_epoch(5) == 42
    assert replay_of(job, settings, 500).times == 1
    other = replay_of(replace(job, seed=4), settings, 5)
    assert [a.info["REF_energy"] for a in other.train] != [a.info["REF_energy"] for a in replay.train]
    assert replay_of(job, replace(BY_MACE), 5) is None
    write_frames(tmp_path / "few.xyz", labelled(4))
    with pytest.raises(InputError, match="4 frames: 10 at least"):
        replay_of(replace(job, replay=tmp_path / "few.xyz"), settings, 5)


def test_a_start_of_one_element_has_a_table_of_energies(known, tmp_path):
    """mace's command takes a table of one head and one element for a number, where it replays."""
    frames = labelled(12)
    for atoms in frames:
        atoms.numbers[:] = 1
        atoms.info["REF_energy"] = -30.0
    write_frames(tmp_path / "train.xyz", frames)
    job = TrainingJob(0, 1, tmp_path / "train.xyz", None, tmp_path, tmp_path / "m")
    train_committee([job], replace(SMALL, epochs=1))
    model, _ = read_member(job.out)
    model.atomic_energies_fn.atomic_energies = model.atomic_energies_fn.atomic_energies.reshape(1, 1)  # as mace has it
    write_member(tmp_path / "by-mace", model)
    replay = replace(BY_MACE, finetuning="replay")
    _start_from(tmp_path / "by-mace", tmp_path / "start.model", replay, {1: -10.0})
    written = torch.load(tmp_path / "start.model", weights_only=False)
    assert written.atomic_energies_fn.atomic_energies.tolist() == [0.0]


def test_elements_that_no_label_has_keep_their_energies_of_isolated_atoms(known, tmp_path):
    frames = labelled(12)
    for atoms in frames:
        atoms.numbers[:] = 1
        atoms.info["REF_energy"] = -30.0
    write_frames(tmp_path / "train.xyz", frames)
    job = TrainingJob(0, 3, tmp_path / "train.xyz", None, tmp_path, tmp_path / "m", warm_start=known / "start")
    settings = replace(BY_MACE, finetuning="replay", epochs=1)
    train_committee([replace(job, replay=known / "replay.xyz")], settings, energies={1: -10.0})
    found = read_member(job.out)[1]["E0s"][OWN]
    assert found == {"1": pytest.approx(-10.0), "8": pytest.approx(E0S["O"])}


def test_a_replay_that_did_not_happen_is_refused():
    """mace's command goes on with one head, and says so in its log alone, where it lacks something."""

    class OneHead(torch.nn.Module):
        heads = (OWN,)

    log = f"INFO: Head '{OWN}' training dataset size: 24\n"
    with pytest.raises(TrainingError, match=r"has not replayed.*heads Default.*wanted are pt_head with 18"):
        without_replay_head(OneHead(), log, 24, 18)
    two = OneHead()
    two.heads = (OTHER, OWN)
    with pytest.raises(TrainingError, match="Default: 24 frames"):
        without_replay_head(two, log, 24, 18)


def test_a_weight_of_what_is_replayed_would_have_no_effect():
    """mace's command sets this loss where it replays: a frame's weight, where `--weight_pt_head` ends, is not in it."""
    from mace.modules.loss import UniversalLoss

    class Batch(SimpleNamespace):
        __getitem__ = SimpleNamespace.__getattribute__

    one = torch.ones(1)
    like = {"energy_weight": one, "forces_weight": one, "stress_weight": one, "ptr": torch.tensor([0, 2])}
    labels = {"energy": one, "forces": torch.ones(2, 3), "stress": torch.ones(1, 3, 3)}
    said = Batch(energy=0 * one, forces=torch.zeros(2, 3), stress=torch.zeros(1, 3, 3))
    loss = UniversalLoss(1.0, 1.0, 1.0)
    light, heavy = (float(loss(Batch(weight=w * one, **like, **labels), said, ddp=False)) for w in (1.0, 100.0))
    assert light == heavy > 0


def test_a_head_that_predicts_something_else_by_itself_is_refused(known, monkeypatch):
    class Voter:
        """Says 1 eV/Å, and `single` by itself what is asked for."""

        def __init__(self, model, heads, device):
            self.says = model[1] if heads == [0] else 1.0

        def evaluate(self, graph, votes, stress):
            return None, np.full((1, 3, 3), self.says), None

    monkeypatch.setattr(replay_module, "MaceVoter", Voter)

    class Single(tuple):
        r_max = 4.0

    frame = labelled(1)[0]
    check_alike(None, Single((0, 1.0 + 1e-5)), frame)
    for wrong in (1.01, np.nan):
        with pytest.raises(TrainingError, match="other forces by itself"):
            check_alike(None, Single((0, wrong)), frame)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"finetuning": "lora"}, 'finetuning = "lora" needs loop = "mace", not "stacked"'),
        ({"finetuning": "replay", "loop": "mace-total"}, 'finetuning = "replay" needs loop = "mace"'),
        ({"finetuning": "frozen", "loop": "mace"}, 'needs loop = "stacked", not "mace"'),
        ({"finetuning": "lora", "loop": "mace", "frozen": True}, "leave one out"),
        ({"finetuning": "low"}, 'unknown finetuning "low"'),
        ({"finetuning": "lora", "loop": "mace", "lora_rank": 0}, "lora_rank = 0 must be at least 1"),
        ({"finetuning": "replay", "loop": "mace", "replay_frames": 3}, "replay_frames = 3 must be at least 10"),
    ],
)
def test_settings_that_cannot_work_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        MACESettings(**given)


def test_frozen_is_one_thing_by_two_names_and_old_settings_read_the_same():
    assert MACESettings(frozen=True) == MACESettings(finetuning="frozen")
    assert MACESettings(finetuning="frozen").frozen
    assert {"finetuning", "lora_rank", "replay_frames"}.isdisjoint(told(MACESettings(frozen=True)))
    assert told(replace(BY_MACE, finetuning="lora"))["lora_rank"] == 4


def test_a_start_is_needed_and_frames_to_replay(known, tmp_path):
    job = job_from(known, tmp_path)
    with pytest.raises(InputError, match="member has none to go on from"):
        train_committee([replace(job, warm_start=None)], replace(BY_MACE, finetuning="lora"))
    with pytest.raises(InputError, match="needs frames of what start knows"):
        train_committee([job], replace(BY_MACE, finetuning="replay"))
