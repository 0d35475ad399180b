"""A small study end to end: the example's, with shorter MD and trainings of a few updates."""

import json
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import tomli_w
from typer.testing import CliRunner

from support.paths import EXAMPLES
from tentpole.benchmarks.sampling import read_results, read_study, run, summarise
from tentpole.benchmarks.sampling.choosing import Chooser
from tentpole.benchmarks.sampling.config import study_to_json
from tentpole.benchmarks.sampling.driving import candidates_in, walk
from tentpole.benchmarks.sampling.growth import Growth, shared_trajectories
from tentpole.benchmarks.sampling.paths import StudyPaths
from tentpole.benchmarks.sampling.sets import (
    KnownSet,
    SetErrors,
    labelled_set,
    measured,
    set_errors,
    set_errors_from,
)
from tentpole.benchmarks.sampling.study import differences
from tentpole.benchmarks.sampling.summary import StudyResults, ratios, trainings_of
from tentpole.benchmarks.sampling.tables import cut_short
from tentpole.cli.app import app
from tentpole.committee import Prediction
from tentpole.committee.member_files import read_description
from tentpole.errors import InputError, StateError, TentpoleError
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.structures import labelled_frames

EXAMPLE = EXAMPLES / "12_sampling"


def write_study(folder, **changes):
    shutil.copy(EXAMPLE / "copper.xyz", folder)
    content = tomllib.loads((EXAMPLE / "study.toml").read_text(encoding="utf-8"))
    content |= {"sizes": [4, 6], "draws": [0], "valid": 4}
    content["explore"] |= {"steps": 20, "snapshot_every": 2}
    content["tests"] = {"md": {"kind": "md", "frames": 8, "every": 2}, "strained": {"kind": "strained", "frames": 4}}
    content["tests"]["strained"]["every"] = 2
    content["policies"] = {name: content["policies"][name] for name in ("random", "band")}
    content["training"] |= {"channels": 4, "max_ell": 1, "correlation": 1, "updates": 4, "max_updates": 4}
    content |= changes
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study that has run, by the command."""
    place = tmp_path_factory.mktemp("study")
    path = write_study(place)
    ended = CliRunner().invoke(
        app, ["sampling", str(path), "--dir", str(place / "out"), "--parallel", "1"], catch_exceptions=False
    )
    return path, place / "out", ended


def written(folder, pattern):
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_the_command_tells_errors_and_ratios_and_leaves_a_page_that_needs_nothing(done):
    _, folder, ended = done
    assert ended.exit_code == 0, ended.output
    assert "force MAE over that of random" in ended.output
    assert "band" in ended.output
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3
    assert "8 of 8 models ended at the limit of their updates" in " ".join(ended.output.split())
    assert "8 of 8 models ended" in html
    assert "http" not in html.replace("http-equiv", "")
    facts = read_json(folder / "summary.json")
    assert set(facts["errors"]) == {"md", "strained"}
    assert set(facts["errors"]["md"]) == {"all", "fcc", "dense"}
    assert facts["errors"]["md"]["all"]["band"]["force_mae"][-1] > 0
    assert {row["what"] for row in facts["ratios"]} == {"N = 4", "N = 6", "all sizes"}
    json.dumps(facts, allow_nan=False)


@pytest.mark.slow
def test_policies_share_md_labels_and_seeds(done):
    path, folder, _ = done
    study, paths = read_study(path), StudyPaths(folder)
    assert len(list((folder / "md").glob("*"))) == 1  # both are driven by plain MD
    first = [labelled_frames(paths.run(name, 0).size(4).train) for name in study.config.policies]
    assert [a.info["REF_energy"] for a in first[0]] == [a.info["REF_energy"] for a in first[1]]
    second = [labelled_frames(paths.run(name, 0).size(6).train) for name in study.config.policies]
    assert all(
        [a.info["REF_energy"] for a in second[i][:4]] == [a.info["REF_energy"] for a in first[i]] for i in (0, 1)
    )
    tested = labelled_set(study, paths, "md")
    assert not {a.info["REF_energy"] for a in tested.frames} & {a.info["REF_energy"] for s in second for a in s}
    assert tested.structures == ["fcc"] * 4 + ["dense"] * 4


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on_with_the_same_end_and_test_sets_may_join(done, tmp_path):
    path, folder, _ = done
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    shutil.copy(EXAMPLE / "copper.xyz", path.parent / "own.xyz")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    content["tests"]["own"] = {"kind": "file", "file": "own.xyz"}
    more = path.with_name("more.toml")
    more.write_text(tomli_w.dumps(content), encoding="utf-8")
    last = StudyPaths(out).run("band", 0).size(6)
    errors, chosen = read_json(last.errors("md")), read_json(last.chosen)
    for gone in (last.errors("md"), last.done, last.chosen, last.models / "member-1.json"):
        gone.unlink()
    (out / "md" / "plain-0" / "w01.h5").unlink()
    labels, models = written(out, "labels/*/*.json"), written(out, "runs/*/size-000004/models/*")
    run(read_study(more), out, parallel=1)
    assert read_json(last.errors("md")) == errors
    timeless = ("choosing_seconds", "labelling_seconds")
    again = read_json(last.chosen)
    assert {k: v for k, v in again.items() if k not in timeless} == {k: chosen[k] for k in again if k not in timeless}
    assert {path: at for path, at in written(out, "labels/*/*.json").items() if path in labels} == labels
    assert written(out, "runs/*/size-000004/models/*") == models
    assert summarise(read_results(out))["errors"]["own"]["all"]["random"]["energy_mae"][0] > 0


def test_another_study_is_refused_its_folder(tmp_path):
    path, out = write_study(tmp_path), tmp_path / "out"
    study = read_study(path)
    write_json(StudyPaths(out).settings, study_to_json(study))
    assert differences(study, out) == []
    before = study_to_json(study)
    del before["study"]["training"]["solve"]  # as a version wrote it that knew no such key
    write_json(StudyPaths(out).settings, before)
    assert differences(study, out) == []
    before["study"]["training"]["solve"] = "after"
    write_json(StudyPaths(out).settings, before)
    assert differences(study, out) == ["training"]
    write_json(StudyPaths(out).settings, study_to_json(study))
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    other = path.with_name("other.toml")
    content |= {"valid": 5, "draws": [7], "sizes": [4, 6, 9], "baseline": "band"}
    content["policies"]["band"]["settings"]["low"] = 0.03
    content["policies"]["new"] = {"ratio": 0.1}
    content["tests"]["hot"] = {"kind": "md", "heat": 2.0}
    other.write_text(tomli_w.dumps(content), encoding="utf-8")
    assert differences(read_study(other), out) == ["policies.band", "valid"]
    other.write_text(tomli_w.dumps(content | {"sizes": [4, 5]}), encoding="utf-8")
    assert "sizes" in differences(read_study(other), out)
    with pytest.raises(StateError, match=r"policies\.band, valid differ"):
        run(read_study(write_study(tmp_path, valid=5, policies=content["policies"])), out)


@pytest.mark.slow
def test_a_committee_that_drives_makes_its_own_candidates(tmp_path):
    path = write_study(
        tmp_path,
        driver="committee",
        policies={"random": {"ratio": 0.2, "rule": "logdet", "even": True}},
        structures=[{"file": "copper.xyz", "name": "fcc"}],
        tests={"md": {"kind": "md", "frames": 2, "every": 2}},
    )
    study, out = read_study(path), tmp_path / "out"
    run(study, out, parallel=1)
    first, second = (StudyPaths(out).run("random", 0).size(n) for n in (4, 6))
    assert read_json(first.chosen)["candidates"] == 16  # rattled
    assert read_json(first.chosen)["conditions"] == {"fcc, 300 K": 4}
    assert len(list((second.root / "md").glob("*.h5"))) == 2
    assert read_json(second.chosen)["conditions"] == {"fcc, 1200 K": 2}
    assert not (out / "md").exists()


@pytest.mark.slow
def test_members_may_learn_a_cheap_reference_first_and_drive_from_there(tmp_path):
    (tmp_path / "cheap.toml").write_text(
        'calculator = "ase.calculators.morse:MorsePotential"\nproperties = ["energy", "forces", "stress"]\n'
        "[parameters]\nepsilon = 0.34\nr0 = 2.87\nrho0 = 3.9\nrcut1 = 1.6\nrcut2 = 1.9\n"
    )
    path = write_study(
        tmp_path,
        driver="committee",
        pretraining={"reference": "cheap.toml", "frames": 10, "every": 2, "updates": 6},
        policies={"random": {"ratio": 0.2, "entropy": "dataset", "rule": "uncertainty"}},
        structures=[{"file": "copper.xyz", "name": "fcc"}],
        tests={"md": {"kind": "md", "frames": 2, "every": 2}},
    )
    study, out = read_study(path), tmp_path / "out"
    run(study, out, parallel=1)
    paths = StudyPaths(out)
    first = paths.run("random", 0).size(4)
    assert len(list((first.root / "md").glob("*.h5"))) == 2  # no rattled structures
    assert len(labelled_frames(paths.cheap)) == 10
    start, member = (read_description(stem) for stem in (paths.pretrained(0) / "member-0", first.models / "member-0"))
    cheap, own = (next(iter(one["E0s"].values())) for one in (start, member))
    assert cheap != own  # the zero of energy is the teacher's
    assert read_json(first.done)["updates"] == [4, 4]
    made = written(out, "pretraining/*/*")
    first.errors("md").unlink()
    run(read_study(path), out, parallel=1)
    assert written(out, "pretraining/*/*") == made
    other = read_study(write_study(tmp_path, **tomllib.loads(path.read_text()) | {"pretraining": {"reference": "zbl"}}))
    assert {"cheap", "pretraining"} <= set(differences(other, out))


@pytest.mark.slow
def test_a_teacher_that_cannot_label_is_found_out_before_anything_is_spent(tmp_path):
    path = write_study(tmp_path, teacher="emt", structures=[{"file": "iron.xyz"}])
    text = (EXAMPLE / "copper.xyz").read_text(encoding="utf-8").replace("Cu", "Fe")
    (tmp_path / "iron.xyz").write_text(text, encoding="utf-8")
    with pytest.raises(TentpoleError, match='cannot label the structure "iron"'):
        run(read_study(path), tmp_path / "out", parallel=1)
    assert not (tmp_path / "out" / "md").exists()


def test_an_even_choice_takes_as_many_under_each_condition(tmp_path):
    study = read_study(write_study(tmp_path))
    policy = study.config.policies["random"].model_copy(update={"rule": "logdet", "even": True, "ratio": 0.3})
    jobs = shared_trajectories(study, StudyPaths(tmp_path / "out"), policy, 0)
    for job in jobs:
        walk(job)
    walk(jobs[0])  # there already
    pool = candidates_in([job.file for job in jobs], equilibration=4)
    assert {shot.step for shot in pool} <= set(range(6, 21))
    assert [shot.step for shot in pool] == sorted(shot.step for shot in pool)
    picks = Chooser(study, policy).choose(pool, [], 8, np.random.default_rng(0), None)
    counts = [str(pool[pick.index].condition) for pick in picks]
    assert sorted(counts.count(condition) for condition in set(counts)) == [2, 2, 2, 2]
    known = [pool[pick.index] for pick in picks[:4]]
    rest = [shot for shot in pool if shot not in known]
    more = Chooser(study, policy).choose(rest, known, 4, np.random.default_rng(0), None)
    told = [str(shot.condition) for shot in known] + [str(rest[pick.index].condition) for pick in more]
    assert sorted(told.count(condition) for condition in set(told)) == [2, 2, 2, 2]


def test_a_bias_sees_species_in_blocks_of_their_own_where_the_fingerprint_does(tmp_path):
    study = read_study(write_study(tmp_path, fingerprint={"per_species": True}))
    policy = study.config.policies["random"].model_copy(update={"rule": "logdet", "ratio": 0.3})
    job = shared_trajectories(study, StudyPaths(tmp_path / "out"), policy, 0)[0]
    walk(job)
    pool = candidates_in([job.file])
    assert len(Chooser(study, policy).choose(pool, [], 3, np.random.default_rng(0), None)) == 3


def test_a_run_that_has_no_candidates_left_says_so(tmp_path, monkeypatch):
    study = read_study(write_study(tmp_path))
    growth = Growth(study, tmp_path / "out", "random", 0)
    for job in shared_trajectories(study, StudyPaths(tmp_path / "out"), growth.policy, 0):
        walk(job)
    monkeypatch.setattr(growth, "_labelled", lambda _: False)
    with pytest.raises(TentpoleError, match=r"4 are asked for.*\(\d+ got no label\).*smaller sizes"):
        growth.run()


def labelled(n, seed=0):
    from ase.build import bulk

    rng, frames = np.random.default_rng(seed), []
    for i in range(n):
        atoms = bulk("Cu", cubic=bool(i % 2))
        atoms.info |= {"REF_energy": float(rng.normal()), "REF_stress": rng.normal(size=6)}
        atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
        frames.append(atoms)
    return KnownSet(frames, ["one" if i % 2 else "two" for i in range(n)])


def test_errors_are_those_of_plain_means_over_members_frames_and_components():
    known = labelled(6)
    rng = np.random.default_rng(1)
    sizes = np.array([len(atoms) for atoms in known.frames])
    energies = rng.normal(size=(2, 6))
    forces = [rng.normal(size=(2, n, 3)) for n in sizes]
    stresses = rng.normal(size=(2, 6, 6))
    errors = set_errors(Prediction(energies, forces, stresses, [""] * 6), known)
    truth = np.array([atoms.info["REF_energy"] for atoms in known.frames])
    off = (energies - truth) / sizes
    assert measured(errors, "energy_mae") == pytest.approx(np.abs(off).mean())
    assert measured(errors, "energy_rmse") == pytest.approx(np.sqrt((off**2).mean()))
    missed = [f - atoms.arrays["REF_forces"] for f, atoms in zip(forces, known.frames, strict=True)]
    flat = np.concatenate([m.ravel() for m in missed])
    assert measured(errors, "force_mae") == pytest.approx(np.abs(flat).mean())
    assert measured(errors, "force_rmse") == pytest.approx(np.sqrt((flat**2).mean()))
    ones = [np.linalg.norm(m, axis=2).ravel() for m in missed[1::2]]
    assert measured(errors, "force_p95", "one") == pytest.approx(np.percentile(np.concatenate(ones), 95))
    stress = np.array([atoms.info["REF_stress"] for atoms in known.frames])
    assert measured(errors, "stress_mae") == pytest.approx(np.abs(stresses - stress).mean())
    again = set_errors_from(json.loads(json.dumps(errors.to_json())))
    assert measured(again, "force_rmse", "two") == measured(errors, "force_rmse", "two")
    failed = Prediction(energies, forces, stresses, ["", "a member's prediction is not finite", "", "", "", ""])
    with pytest.raises(TentpoleError, match="frame 1 of the set"):
        set_errors(failed, known)


def made_results(factors):
    """Results of a baseline and a policy whose errors are `factors` (draws, sizes) of it."""
    study = read_study(EXAMPLE / "study.toml")
    config = study.config.model_copy(update={"draws": tuple(range(len(factors)))})
    rng, errors, times = np.random.default_rng(0), {}, {}
    for draw, row in enumerate(factors):
        for n, factor in zip(config.sizes, row, strict=True):
            columns = {name: rng.uniform(0.5, 1.5, 50) for name in ("energy", "energy2", "force", "force2")}
            none = np.full(50, np.nan)
            base = SetErrors(np.full(50, 4.0), ["fcc"] * 50, stress=none, stress2=none, force_p95={}, **columns)
            errors["random", draw, n] = base
            errors["band", draw, n] = replace(base, force=factor * base.force, energy=factor * base.energy)
            times["random", draw, n] = times["band", draw, n] = {"stopped": ["limit", "plateau"]}
    return StudyResults(config, dict.fromkeys(config.tests, errors), times, {})


def test_ratios_are_geometric_means_over_draws_with_bootstrap_intervals():
    same = {(r.what): r for r in ratios(made_results([[0.5, 0.25]] * 3), "md", "force_mae")}
    assert (same["N = 10"].ratio, same["N = 10"].low, same["N = 10"].high) == pytest.approx((0.5, 0.5, 0.5))
    assert same["all sizes"].ratio == pytest.approx(np.sqrt(0.125))
    apart = {(r.what): r for r in ratios(made_results([[0.5, 0.5], [2.0, 2.0]]), "md", "force_mae")}
    assert apart["N = 20"].ratio == pytest.approx(1.0)
    assert apart["N = 20"].low == pytest.approx(0.5)
    assert apart["N = 20"].high == pytest.approx(2.0)
    unknown = ratios(made_results([[0.5, 0.5]]), "md", "stress_mae")
    assert all(np.isnan(r.ratio) and np.isnan(r.low) for r in unknown)


def test_trainings_that_end_at_their_limit_are_told_where_a_plateau_was_asked_for():
    results = made_results([[0.5, 0.5]])
    assert trainings_of(results) == {"models": 8, "at_their_limit": 4}
    fixed = replace(results, config=results.config.model_copy(update={"plateau": False}))
    assert trainings_of(fixed)["at_their_limit"] == 0
    assert cut_short({"trainings": trainings_of(fixed)}) == ""


@pytest.mark.slow
def test_a_folder_without_results_says_what_to_do(tmp_path, done):
    _, folder, _ = done
    out = tmp_path / "out"
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("errors"))
    with pytest.raises(InputError, match="same `tentpole sampling` again"):
        read_results(out)
