"""Training with MACE's command: learns, repeats itself bit for bit, goes on from weights, resumes, fails well."""

from dataclasses import replace

import numpy as np
import pytest
from ase.io import read, write

from support.training_data import E0S, files, labelled
from tentpole.committee import Committee, read_member
from tentpole.committee.graph import collate, edges_within, graph_of
from tentpole.errors import InputError
from tentpole.execution.local import local
from tentpole.training import MACESettings, TrainingError, TrainingJob, committee, train_committee
from tentpole.training.client import the_server
from tentpole.training.frames import isolated_energies
from tentpole.training.mace import arguments, bootstrap, schedule
from tentpole.training.reports import read_curve

pytestmark = pytest.mark.slow

SMALL = MACESettings(
    channels=4, max_L=0, max_ell=1, correlation=1, r_max=4.0, updates=40, E0s=E0S, loop="mace", lr=0.04
)


def weights(stem):
    return {name: value.numpy() for name, value in read_member(stem)[0].state_dict().items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two members trained from scratch side by side, and what was heard while they were."""
    folder = tmp_path_factory.mktemp("trained")
    train, valid = files(folder)
    heard = []
    jobs = [
        TrainingJob(member=k, seed=k, train=train, valid=valid, folder=folder / "logs", out=folder / f"m-{k}")
        for k in range(2)
    ]
    reports = train_committee(jobs, SMALL, workers=2, on_progress=lambda *told: heard.append(told))
    return folder, jobs, reports, heard


def test_members_learn_and_differ(trained):
    folder, jobs, reports, _ = trained
    for job, report in zip(jobs, reports, strict=True):
        assert report.out == job.out
        assert not report.skipped
        assert report.force_rmse < 0.8 * report.curve[0][2]
        assert report.updates >= SMALL.updates
    committee = Committee.load(folder)
    assert committee.size == 2
    frames = labelled(20, seed=7)
    prediction = committee.evaluate(frames)
    errors = [prediction.forces[k].mean(axis=0) - a.arrays["REF_forces"] for k, a in enumerate(frames)]
    typical = np.sqrt(np.mean([np.mean(a.arrays["REF_forces"] ** 2) for a in frames]))
    assert np.sqrt(np.mean(np.square(errors))) < 0.6 * typical
    assert all(found.force_std > 0 for found in prediction.disagreements())


def test_progress_is_told_in_epochs(trained):
    _, _, _, heard = trained
    assert {member for member, _, _ in heard} == {0, 1}
    last = schedule(SMALL, 12)[1]
    assert all(0 < epoch <= epochs == last for _, epoch, epochs in heard)


def test_log_and_curve_stay_and_scratch_goes(trained):
    folder, jobs, reports, _ = trained
    assert sorted(p.name for p in (folder / "logs").iterdir()) == ["member-0.log", "member-1.log"]
    assert len(read_curve(jobs[0].log)) == len(reports[0].curve) > 1
    assert jobs[0].log.read_text().startswith("python -m mace.cli.run_train --ema")
    training = read_member(jobs[0].out)[1]["training"]
    assert training["seed"] == 0
    assert training["warm_start"] is None


def test_the_same_job_by_an_executor_gives_the_same_weights_bit_for_bit(trained, tmp_path):
    _, jobs, _, _ = trained
    again = replace(jobs[1], out=tmp_path / "again", folder=tmp_path)
    with local(1) as executor:
        (report,) = train_committee([again], SMALL, executor=executor)
    assert not report.skipped
    assert not list(tmp_path.glob("tmp-*"))
    first, second = weights(jobs[1].out), weights(again.out)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_finished_job_is_not_run_again(trained):
    _, jobs, reports, _ = trained
    before = jobs[0].log.stat().st_mtime_ns
    again = train_committee(jobs, SMALL, workers=2)
    assert [report.skipped for report in again] == [True, True]
    assert [replace(report, skipped=False) for report in again] == reports
    assert jobs[0].log.stat().st_mtime_ns == before


def test_a_warm_start_begins_with_the_last_weights_and_keeps_e0s_and_scale(trained, tmp_path):
    _, jobs, _, _ = trained
    train, valid = files(tmp_path, n=8, seed=3)
    job = TrainingJob(
        member=0, seed=9, train=train, valid=valid, folder=tmp_path, out=tmp_path / "m", warm_start=jobs[0].out
    )
    still = replace(SMALL, epochs=1, lr_warm=1e-30, lr_end=1e-30, E0s="average")  # E0s of the first round stay
    report = train_committee([job], still)[0]
    assert report.warm_start
    before, after = weights(jobs[0].out), weights(job.out)
    for name in before:
        np.testing.assert_allclose(after[name].ravel(), before[name].ravel(), rtol=1e-6, err_msg=name)
    frames = labelled(3, seed=5)
    old, new = (Committee.load([stem]).evaluate(frames) for stem in (jobs[0].out, job.out))
    np.testing.assert_allclose(new.energies, old.energies, atol=1e-5)
    assert read_member(job.out)[1]["E0s"] == read_member(jobs[0].out)[1]["E0s"]


def test_a_warm_start_is_better_than_its_start(trained, tmp_path):
    _, jobs, reports, _ = trained
    job = replace(jobs[0], out=tmp_path / "m", folder=tmp_path, warm_start=jobs[0].out)
    assert train_committee([job], SMALL)[0].force_rmse < reports[0].force_rmse


def test_members_must_share_their_e0s(trained, tmp_path):
    _, jobs, _, _ = trained
    alone = replace(jobs[1], out=tmp_path / "alone", folder=tmp_path)
    train_committee([alone], replace(SMALL, E0s="average", epochs=1))
    mixed = [
        replace(jobs[0], out=tmp_path / "a", warm_start=jobs[0].out),
        replace(jobs[1], out=tmp_path / "b", warm_start=alone.out),
    ]
    with pytest.raises(InputError, match="different E0s"):
        train_committee(mixed, SMALL)
    with pytest.raises(InputError, match="some members start warm"):
        train_committee([mixed[0], replace(mixed[1], warm_start=None)], SMALL)
    assert not (tmp_path / "a.json").exists()


def test_a_failing_training_shows_its_log(trained, tmp_path):
    _, jobs, _, _ = trained
    job = replace(jobs[0], out=tmp_path / "m", folder=tmp_path / "logs")
    with pytest.raises(TrainingError, match="abacus") as caught:
        train_committee([job], replace(SMALL, device="abacus"))
    assert str(job.log) in str(caught.value)
    assert not (tmp_path / "m.json").exists()
    assert not list((tmp_path / "logs").glob("scratch*"))
    train_committee([job], replace(SMALL, epochs=1))  # the next training runs


def test_the_fit_of_isolated_energies():
    frames = labelled(5)
    average = isolated_energies(replace(SMALL, E0s="average"), frames)
    mean = np.mean([atoms.info["REF_energy"] for atoms in frames])
    assert 2 * average[1] + average[8] == pytest.approx(mean)
    assert isolated_energies(SMALL, frames) == {1: -13.0, 8: -2040.0}
    assert isolated_energies(replace(SMALL, E0s={"1": -1.0, "8": -2.0}), frames) == {1: -1.0, 8: -2.0}
    with pytest.raises(InputError, match="lack O"):
        isolated_energies(replace(SMALL, E0s={"H": 1.0}), frames)
    with pytest.raises(InputError, match='unknown element "Hh"'):
        isolated_energies(replace(SMALL, E0s={"Hh": 1.0}), frames)


@pytest.mark.parametrize(("updates", "frames"), [(600, 20), (600, 120), (30, 3), (1, 500)])
def test_the_schedule_ends_on_an_evaluated_epoch(updates, frames):
    batch, epochs, interval = schedule(replace(SMALL, updates=updates), frames)
    assert batch <= frames
    assert (epochs - 1) % interval == 0
    if updates == 600:
        assert epochs * (frames // batch) == pytest.approx(updates, rel=0.1)


def test_stress_is_learnt_where_it_is_given(tmp_path):
    train, valid = files(tmp_path)
    job = TrainingJob(member=0, seed=0, train=train, valid=valid, folder=tmp_path, out=tmp_path / "m")
    assert "--loss=weighted" in arguments(job, SMALL, tmp_path, {1: 0.0, 8: 0.0})
    frames = read(train, ":")
    for atoms in frames:
        atoms.set_cell([6, 6, 6])
        atoms.pbc = True
        atoms.info["REF_stress"] = np.zeros(6)
    write(train, frames, format="extxyz")
    assert "--loss=stress" in arguments(job, SMALL, tmp_path, {1: 0.0, 8: 0.0})


def test_wrong_files_and_settings_are_refused_before_anything_runs(tmp_path):
    train, valid = files(tmp_path)
    job = TrainingJob(member=0, seed=0, train=train, valid=valid, folder=tmp_path / "logs", out=tmp_path / "m")
    with pytest.raises(InputError, match="no training file"):
        train_committee([replace(job, train=tmp_path / "absent.xyz")], SMALL)
    frames = read(train, ":")
    del frames[2].arrays["REF_forces"]
    write(tmp_path / "bare.xyz", frames, format="extxyz")
    with pytest.raises(InputError, match="frame 2 lacks"):
        train_committee([replace(job, train=tmp_path / "bare.xyz")], SMALL)
    with pytest.raises(InputError, match='unknown dtype "float16"'):
        MACESettings(dtype="float16")
    with pytest.raises(InputError, match="lr = 0"):
        MACESettings(lr=0)
    assert not (tmp_path / "logs").exists()


def test_a_shallow_committee_is_one_model_with_heads_that_differ(tmp_path):
    train, valid = files(tmp_path)
    job = TrainingJob(0, 0, train, valid, tmp_path / "logs", tmp_path / "shallow", heads=3)
    (report,) = train_committee([job], SMALL)
    committee = Committee.load(tmp_path)
    assert (committee.size, len(committee.voters)) == (3, 1)
    prediction = committee.evaluate(labelled(4, seed=9))
    assert all(found.force_std > 0 and found.energy_std > 0 for found in prediction.disagreements())
    alone = committee.vote(collate([graph_of(a, edges_within(a, committee.cutoff)) for a in labelled(4, seed=9)]), [1])
    np.testing.assert_allclose(alone[0][0], prediction.energies[1], atol=1e-5)
    assert report.force_rmse < report.curve[0][2]
    with pytest.raises(InputError, match="trained from scratch"):
        train_committee([replace(job, out=tmp_path / "next", warm_start=job.out)], SMALL)


def test_bootstrap_resamples_differ_between_heads_and_repeat():
    frames = labelled(10)
    first, again, other = bootstrap(frames, 3, 0), bootstrap(frames, 3, 0), bootstrap(frames, 3, 1)
    assert first == again != other
    assert len(first) == 10
    assert {id(a) for a in first} < {id(a) for a in frames}


def test_a_training_process_that_dies_is_reported_and_replaced(trained, tmp_path, monkeypatch):
    _, jobs, _, _ = trained
    monkeypatch.setattr(committee, "ATTEMPTS", 1)
    job = replace(jobs[0], out=tmp_path / "m", folder=tmp_path / "logs")

    def kill(*_):
        the_server().close(at_once=True)

    with pytest.raises(TrainingError, match="the training process ended"):
        train_committee([job], replace(SMALL, updates=2000, loop="stacked"), on_progress=kill)
    assert not (tmp_path / "m.json").exists()
    assert train_committee([job], replace(SMALL, epochs=1, loop="stacked"))[0].updates == 2


def test_members_that_fail_at_the_same_moment_end_the_training(trained, tmp_path, monkeypatch):
    """Both answers come in one reading: the second must not be waited for after the first has been raised."""

    class Server:
        alive = True
        read = 0

        def send(self, order):
            pass

        def answers(self, timeout_s):
            self.read += 1
            assert self.read == 1, "waits for an answer that has come"
            return [{"id": 0, "status": 1}, {"id": 1, "status": 1}]

    monkeypatch.setattr(committee, "the_server", Server)
    _, jobs, _, _ = trained
    jobs = [replace(job, out=tmp_path / job.out.name, folder=tmp_path / "logs") for job in jobs[:2]]
    for job in jobs:
        job.folder.mkdir(exist_ok=True)
    with pytest.raises(TrainingError, match="ended with status 1"):
        train_committee(jobs, SMALL)
