"""Members trained as one: as if trained singly, resumed bit for bit, ended in time, exact on absolute energies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from support.training_data import E0S, files, labelled
from tentpole.committee import Committee, read_member
from tentpole.errors import InputError, StateError
from tentpole.training import MACESettings, TrainingError, TrainingJob, train_committee
from tentpole.training.committee import groups
from tentpole.training.frames import frames_of, isolated_energies
from tentpole.training.reports import read_curve, read_progress, read_report
from tentpole.training.stacked import Training, train_stacked

pytestmark = pytest.mark.slow

SMALL = MACESettings(channels=4, max_L=0, max_ell=1, correlation=1, r_max=4.0, updates=40, E0s=E0S)
ENERGIES = {1: E0S["H"], 8: E0S["O"]}


def weights(stem: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in read_member(stem)[0].state_dict().items()}


def jobs_in(folder: Path, train: Path, valid: Path | None = None, members: int = 2, **more) -> list[TrainingJob]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        TrainingJob(member=k, seed=k, train=train, valid=valid, folder=folder, out=folder / f"m-{k}", **more)
        for k in range(members)
    ]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return files(tmp_path_factory.mktemp("labels"), n=30)[0]


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """Three members as one, and what was heard while they were trained."""
    heard = []
    jobs = jobs_in(tmp_path_factory.mktemp("trained"), train, members=3)
    reports = train_committee(jobs, replace(SMALL, updates=64), on_progress=lambda *told: heard.append(told))
    return jobs, reports, heard


def test_members_learn_and_differ(trained):
    jobs, reports, heard = trained
    for job, report in zip(jobs, reports, strict=True):
        assert (report.out, report.updates, report.skipped, report.stopped) == (job.out, 64, False, "limit")
        assert report.force_rmse < 0.3 * report.curve[0][2]
        assert report.train_force_rmse < 0.6 * report.curve[0][2]
        assert report.under_trained is (report.train_force_rmse > 0.8 * report.force_rmse)
        assert read_progress(job.log) == (64, 64)
        assert len(read_curve(job.log)) == len(report.curve) == 16
    assert {member for member, _, _ in heard} == {0, 1, 2}
    assert all(0 < update <= updates == 64 for _, update, updates in heard)
    prediction = Committee.load([job.out for job in jobs]).evaluate(labelled(20, seed=7))
    assert all(found.force_std > 0 for found in prediction.disagreements())


def test_members_that_are_there_are_not_trained_again(trained):
    jobs, reports, _ = trained
    again = train_committee(jobs, replace(SMALL, updates=64))
    assert [replace(report, skipped=False) for report in again] == reports
    assert all(report.skipped for report in again)


def test_a_warm_start_is_better_than_its_start(trained, train, tmp_path):
    before, reports, _ = trained
    jobs = [replace(job, folder=tmp_path, out=tmp_path / job.out.name, warm_start=job.out) for job in before]
    train_stacked(jobs, SMALL, ENERGIES)
    after = [read_report(job) for job in jobs]
    assert np.mean([r.force_rmse for r in after]) < np.mean([r.force_rmse for r in reports])
    assert all(report.warm_start for report in after)


def test_a_member_is_the_same_trained_alone(train, tmp_path):
    together, alone = (jobs_in(tmp_path / name, train, members=3) for name in ("together", "alone"))
    train_stacked(together, SMALL, ENERGIES)
    train_stacked(alone[1:2], SMALL, ENERGIES)
    first, second = weights(together[1].out), weights(alone[1].out)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=1e-5, err_msg=name)


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(monkeypatch, train, tmp_path):
    whole, halved = (jobs_in(tmp_path / name, train) for name in ("whole", "halved"))
    settings = replace(SMALL, updates=24, max_updates=48)
    train_stacked(whole, settings, ENERGIES, finishing=True)
    update = Training._update

    def die(self):
        if self.stack.updates == 37:
            raise Killed
        update(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_update", die)
        with pytest.raises(Killed):
            train_stacked(halved, settings, ENERGIES, finishing=True, checkpoint_s=0.0)
    (checkpoint,) = (tmp_path / "halved").glob("*.safetensors")
    train_stacked(halved, settings, ENERGIES, finishing=True)
    assert not checkpoint.exists()
    for a, b in zip(whole, halved, strict=True):
        assert read_report(a).curve == read_report(b).curve
        first, second = weights(a.out), weights(b.out)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_the_checkpoint_of_another_training_is_not_gone_on_with(train, tmp_path):
    job, other = (jobs_in(tmp_path / name, train, members=1) for name in ("one", "other"))
    training = Training(job, SMALL, ENERGIES)
    training._update()
    training._save()
    content = training.checkpoint.read_bytes()
    for jobs, settings, found in ((job, replace(SMALL, forces_weight=1.0), content), (other, SMALL, b"cut short")):
        another = Training(jobs, settings, ENERGIES)
        another.checkpoint.write_bytes(found)
        another._resume()
        assert another.stack.updates == 0


def test_absolute_energies_cost_float32_nothing(tmp_path):
    """Labels of 1.87 million eV, as all-electron codes give for heavy atoms, are learned like any other."""
    errors = []
    for name, offset in (("plain", 0.0), ("offset", -1.87e6)):
        path = tmp_path / f"{name}.xyz"
        write(path, labelled(20, offset_eV=offset), format="extxyz")
        settings = replace(SMALL, E0s="average", updates=30)
        jobs = jobs_in(tmp_path / name, path, members=1)
        train_stacked(jobs, settings, isolated_energies(settings, read(path, ":")))
        frames = labelled(20, seed=9, offset_eV=offset)
        found = Committee.load([jobs[0].out]).evaluate(frames).energies[0]
        errors.append(np.sqrt(np.mean((found - [atoms.info["REF_energy"] for atoms in frames]) ** 2)))
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


def strained_copper(n: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        strain = rng.uniform(-0.05, 0.05, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.03, (4, 3))
        atoms.calc = EMT()
        atoms.info["REF_energy"], atoms.info["REF_stress"] = atoms.get_potential_energy(), atoms.get_stress()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    return frames


@pytest.mark.slow
def test_stress_is_learned_better_than_its_mean(tmp_path):
    write(tmp_path / "train.xyz", strained_copper(24, 0), format="extxyz")
    settings = replace(SMALL, E0s="average", channels=8, correlation=2, updates=160, r_max=3.5)
    jobs = jobs_in(tmp_path / "m", tmp_path / "train.xyz", members=1)
    train_stacked(jobs, settings, isolated_energies(settings, read(tmp_path / "train.xyz", ":")))
    test = strained_copper(12, 1)
    given = np.array([atoms.info["REF_stress"] for atoms in test])
    found = Committee.load([jobs[0].out]).evaluate(test, stress=True).stresses[0]
    assert np.sqrt(np.mean((found - given) ** 2)) < 0.7 * given.std(axis=0).mean()


def test_a_training_without_progress_stops(tmp_path):
    path, _ = files(tmp_path, n=60)
    write(tmp_path / "valid.xyz", labelled(25, seed=3), format="extxyz")
    still = replace(SMALL, updates=64, lr=1e-12, patience=3)
    (job,) = jobs_in(tmp_path / "patience", path, tmp_path / "valid.xyz", members=1)
    train_stacked([job], still, ENERGIES)
    assert (read_report(job).stopped, read_report(job).updates) == ("validation", 16)
    (job,) = jobs_in(tmp_path / "plateau", path, members=1)
    train_stacked([job], replace(still, updates=8), ENERGIES, finishing=True)
    assert (read_report(job).stopped, read_report(job).updates) == ("plateau", 16)
    assert read_report(job).under_trained


def test_a_finishing_training_goes_on_while_errors_fall(train, tmp_path):
    (job,) = jobs_in(tmp_path, train, members=1)
    train_stacked([job], replace(SMALL, updates=8, max_updates=32), ENERGIES, finishing=True)
    assert (read_report(job).stopped, read_report(job).updates) == ("limit", 32)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    frames = labelled(8)
    frames[3].arrays["REF_forces"] *= 1e30
    write(tmp_path / "absurd.xyz", frames, format="extxyz")
    jobs = jobs_in(tmp_path / "logs", tmp_path / "absurd.xyz")
    with pytest.raises(TrainingError, match=r"not finite after .* Lower \[training\] lr"):
        train_stacked(jobs, SMALL, ENERGIES)
    assert not list((tmp_path / "logs").glob("m-*"))


def test_a_member_file_with_weights_that_are_not_finite_is_refused(trained, tmp_path):
    from tentpole.committee import member_files

    jobs, _, _ = trained
    model, _ = read_member(jobs[0].out)
    next(model.parameters()).data[0] = float("nan")
    with pytest.raises(InputError, match="not written, its weights are not finite"):
        member_files.write_member(tmp_path / "bad", model)
    assert not list(tmp_path.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member_files, "_not_finite", lambda weights: "")
        member_files.write_member(tmp_path / "bad", model)
    with pytest.raises(StateError, match="weights are not finite"):
        read_member(tmp_path / "bad")


def test_which_members_train_as_one_depends_on_files_and_settings_alone(trained, train, tmp_path):
    six = jobs_in(tmp_path, train, members=6)
    assert [len(group) for group in groups(six, SMALL)] == [2, 2, 2]
    assert [len(group) for group in groups(six, replace(SMALL, together=4))] == [4, 2]
    assert [len(group) for group in groups(six, replace(SMALL, channels=20_000))] == [1] * 6
    assert [len(group) for group in groups(six, replace(SMALL, loop="mace"))] == [1] * 6
    assert [len(group) for group in groups([replace(six[0], heads=3)], SMALL)] == [1]
    warm = [replace(job, warm_start=trained[0][0].out) for job in six[:3]]
    assert [len(group) for group in groups(warm, SMALL)] == [2, 1]


def test_isolated_atoms_become_energies_and_are_not_trained_on(tmp_path):
    from ase import Atoms

    frames = labelled(12)
    for symbol, energy in (("H", -13.75), ("H", -13.0), ("O", -2045.42)):
        atom = Atoms(symbol, info={"REF_energy": energy, "config_type": "IsolatedAtom"}, cell=[20] * 3, pbc=True)
        atom.arrays["REF_forces"] = np.zeros((1, 3))
        frames.insert(2, atom)
    write(tmp_path / "train.xyz", frames, format="extxyz")
    settings = replace(SMALL, E0s="average")
    assert isolated_energies(settings, frames) == {1: -13.75, 8: -2045.42}
    found = frames_of(jobs_in(tmp_path, tmp_path / "train.xyz"), settings)
    assert len(found.frames) == 12
    assert sorted([*found.train[0], *found.valid[0]]) == list(range(12))
    assert not set(found.valid[0]) & set(found.valid[1])
    one_known = isolated_energies(settings, [f for f in frames if len(f) > 1 or f.symbols[0] == "H"])
    mean = np.mean([atoms.info["REF_energy"] for atoms in frames if len(atoms) > 1])
    assert one_known == pytest.approx({1: -13.75, 8: mean + 2 * 13.75})
    crystal = bulk("Cu")
    crystal.info["REF_energy"], crystal.arrays["REF_forces"] = -3.0, np.zeros((1, 3))
    assert isolated_energies(settings, [crystal]) == pytest.approx({29: -3.0})
    write(tmp_path / "atoms.xyz", [f for f in frames if len(f) == 1], format="extxyz")
    with pytest.raises(InputError, match="nothing but isolated atoms"):
        frames_of(jobs_in(tmp_path, tmp_path / "atoms.xyz"), settings)
