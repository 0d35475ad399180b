"""A small study end to end: rounds, resuming, curves, ratios."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from support.processes import children, until
from tentpole.benchmarks.qbc import QBCSettings, compare, learning_curves, run, run_one, stop_suggestion
from tentpole.benchmarks.qbc.curves import Curve, histories
from tentpole.benchmarks.qbc.figures import draw
from tentpole.benchmarks.qbc.study import (
    _differences,
    chooser_of,
    prepare_split,
    rounds,
    run_folder,
    settings_from_json,
    settings_to_json,
)
from tentpole.benchmarks.qbc.summary import summarise
from tentpole.committee import Committee
from tentpole.errors import InputError, StateError, TentpoleError
from tentpole.selection import TwoKey
from tentpole.storage.atomic import read_json
from tentpole.storage.labelled import read_labelled
from tentpole.storage.lock import Lock
from tentpole.training import MACESettings

pytestmark = pytest.mark.slow

E0S = {"H": -13.0, "O": -2040.0}
SMALL = MACESettings(channels=4, max_L=0, max_ell=1, correlation=1, r_max=4.0, updates=8, E0s=E0S)


def water(n):
    """Harmonic water molecules, shaken."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = Atoms("OHH", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
        atoms.positions += rng.normal(0.0, 0.1, (3, 3))
        energy, forces = -2075.0, np.zeros((3, 3))
        for i, j, length in ((0, 1, 0.96), (0, 2, 0.96), (1, 2, 1.51)):
            vector = atoms.positions[j] - atoms.positions[i]
            d = float(np.linalg.norm(vector))
            energy += 5.0 * (d - length) ** 2
            forces[i] += 10.0 * (d - length) * vector / d
            forces[j] -= 10.0 * (d - length) * vector / d
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write(folder / "water.xyz", water(30), format="extxyz")
    settings = QBCSettings(
        data=folder / "water.xyz",
        initial=5,
        test=6,
        valid=3,
        batch=3,
        maximum=8,
        rules={"random": {}, "uncertainty": {}},
        seeds=(0,),
        members=2,
        cutoff=4.0,
        training=SMALL,
    )
    heard = []
    places = run(settings, folder / "out", parallel=2, on_round=lambda *told: heard.append(told[:2]))
    return settings, folder / "out", places, heard


def test_each_run_grows_and_tells_its_measures(study):
    settings, folder, places, heard = study
    assert [p.name for p in places] == ["random-0", "uncertainty-0"]
    for content in histories(folder).values():
        assert [r["n"] for r in content] == [5, 8]
        assert len(content[0]["picked"]) == 3
        assert content[-1]["picked"] == []
        for result in content:
            assert result["force_rmse"] > 0
            assert len(result["force_rmse_members"]) == 2
            assert -1 <= result["spearman_structures"] <= 1
            assert len(result["sigma"]) == len(result["error"]) == settings.test
    assert sorted(heard) == [("random", 0)] * 2 + [("uncertainty", 0)] * 2


def test_rules_start_alike_and_nothing_of_the_test_set_is_ever_trained_on(study):
    settings, folder, _, _ = study
    _, parts = prepare_split(settings, 0)
    first = [content[0] for content in histories(folder).values()]
    assert first[0]["force_rmse"] == first[1]["force_rmse"]
    for result in first:
        assert not set(result["picked"]) & {*parts.test, *parts.valid, *parts.initial}
        assert set(result["picked"]) <= set(parts.pool)
    _, other = prepare_split(settings, 1)
    assert other.test != parts.test  # the choice of test frames is in the intervals over seeds
    _, shared = prepare_split(replace(settings, test_seed=0), 1)
    assert (shared.test, shared.valid) == (parts.test, parts.valid)
    assert other.initial != parts.initial


def test_uncertainty_takes_the_largest_sigma(study):
    _, folder, _, _ = study
    result = histories(folder)["uncertainty", 0][0]
    assert result["sigma_selected"] > result["sigma_remaining"]


def test_a_study_goes_on_where_it_stopped_with_the_same_end(study):
    settings, folder, _, _ = study
    place = run_folder(folder, "uncertainty", 0)
    last = rounds(place)[-1]
    before, kept = read_json(last), rounds(place)[0].stat().st_mtime_ns
    last.unlink()
    (last.parent / "models" / "member-1.json").unlink()
    run_one(settings, folder, "uncertainty", 0)
    assert read_json(last) | {"training_seconds": before["training_seconds"]} == before
    assert rounds(place)[0].stat().st_mtime_ns == kept
    with pytest.raises(StateError, match="batch differ"):
        run(replace(settings, batch=2), folder)
    told = settings_to_json(settings)
    older = {**told, "training": {key: value for key, value in told["training"].items() if key != "ridge"}}
    assert _differences(told, older) == []  # as a version wrote it that knew no such key


def test_a_rule_that_joins_and_sees_the_errors_takes_the_largest(study, tmp_path):
    settings, folder, _, _ = study
    shutil.copytree(folder, tmp_path / "out")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("runs/random-0/*/round.json")}
    more = replace(
        settings, rules={**settings.rules, "largest": {"rule": "uncertainty", "sees": "error"}, "gradient": {}}
    )
    run(more, tmp_path / "out")
    assert all("left by labels" in why for why in histories(tmp_path / "out")["gradient", 0][0]["reasons"])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    frames, parts = prepare_split(settings, 0)
    forces = Committee.load(folder / "runs" / "initial-0" / "models").evaluate([frames[k] for k in parts.pool]).forces
    truth = [frames[k].arrays["REF_forces"] for k in parts.pool]
    error = [np.mean((f.mean(axis=0) - r) ** 2) for f, r in zip(forces, truth, strict=True)]
    largest = [parts.pool[i] for i in np.argsort(error)[::-1][:3]]
    assert histories(tmp_path / "out")["largest", 0][0]["picked"] == largest
    with pytest.raises(StateError, match=r"rules\.largest differ"):
        run(replace(more, rules={**settings.rules, "largest": {"rule": "uncertainty"}}), tmp_path / "out")
    with pytest.raises(InputError, match=r"rules\.largest\.sees"):
        QBCSettings(data="none", rules={"largest": {"rule": "uncertainty", "sees": "truth"}})


def test_a_variant_of_a_rule_has_a_name_of_its_own():
    settings = QBCSettings(data="none", rules={"short": {"rule": "two_key", "shortlist": 3}})
    assert chooser_of(settings, "short") == TwoKey(shortlist=3)
    with pytest.raises(InputError, match="common start"):
        QBCSettings(data="none", rules={"initial": {"rule": "random"}})
    with pytest.raises(InputError, match='did you mean "two_key"'):
        QBCSettings(data="none", rules={"two_kye": {}})


def test_a_second_driver_is_refused_and_a_run_that_fails_is_told_with_its_log(study, tmp_path):
    settings, _, _, _ = study
    with Lock(tmp_path / "held"), pytest.raises(StateError, match="another driver"):
        run(settings, tmp_path / "held")
    broken = replace(settings, training=replace(SMALL, E0s={"H": -13.0}), rules={"random": {}})
    with pytest.raises(TentpoleError, match=r"1 runs failed: initial, seed 0: .*O.*initial-0/run\.log"):
        run(broken, tmp_path / "broken", parallel=1)
    assert "E0s" in (run_folder(tmp_path / "broken", "initial", 0) / "run.log").read_text()
    assert not run_folder(tmp_path / "broken", "random", 0).exists()


def test_workers_end_with_a_driver_that_is_killed(study, tmp_path):
    settings, _, _, _ = study
    code = f"""
from pathlib import Path
from tentpole.benchmarks.qbc import run
from tentpole.benchmarks.qbc.study import settings_from_json
import json
run(settings_from_json(json.loads({json.dumps(json.dumps(settings_to_json(slow(settings))))})), Path("out"), parallel=1)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    workers = until(lambda: [p for p in children(driver.pid) if "resource_tracker" not in p.command], 60)
    assert workers
    trainers = until(lambda: children(workers[0].pid), 60)
    driver.kill()
    driver.wait()
    assert trainers
    assert until(lambda: not any(p.lives for p in [*workers, *trainers]), 30)


def slow(settings):
    return replace(settings, training=replace(SMALL, updates=100_000))


def test_curves_and_ratios(study):
    _, folder, _, _ = study
    curves = learning_curves(folder)
    assert curves["random"].n.tolist() == [5, 8]
    ratios = compare(curves)
    assert {r.what for r in ratios} == {"area", "N = 8"}
    assert all(r.ratio > 0 and np.isnan(r.low) for r in ratios)


def test_the_summary_has_the_figures_of_the_last_rounds(study):
    _, folder, _, _ = study
    facts = summarise(folder)
    last = histories(folder)["uncertainty", 0][-1]
    found = facts["rules"]["uncertainty"]
    assert (found["n"], found["seeds"]) == (8, 1)
    assert found["force_rmse"] == last["force_rmse"]
    assert found["training_seconds"] == last["training_seconds"]
    assert {r["measure"] for r in facts["ratios"]} == {"force_rmse", "force_p95"}
    json.dumps(facts, allow_nan=False)  # one seed has no interval
    base = facts["rules"]["random"]["force_p95"]
    end = next(r for r in facts["ratios"] if r["measure"] == "force_p95" and r["what"] == "N = 8")
    assert end["ratio"] == pytest.approx(found["force_p95"] / base)
    assert facts["stop"] == {"random": {"0": None}, "uncertainty": {"0": None}}
    json.dumps(facts)


def test_the_figures_are_drawn(study, tmp_path):
    pytest.importorskip("matplotlib")
    _, folder, _, _ = study
    picture = draw(folder, tmp_path / "study.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_ratios_are_paired_by_seed():
    n, seeds = np.array([10, 20, 30]), (0, 1, 2)
    base = np.array([[4.0, 2.0, 1.0], [8.0, 4.0, 2.0], [2.0, 1.0, 0.5]])
    curves = {"random": Curve("random", n, seeds, base), "half": Curve("half", n, seeds, 0.5 * base)}
    area, end = compare(curves)
    assert area.ratio == pytest.approx(0.5)
    assert (end.ratio, end.low, end.high) == pytest.approx((0.5, 0.5, 0.5))
    assert curves["random"].areas[0] == pytest.approx((3.0 * 10 + 1.5 * 10) / 20)
    assert curves["random"].band[1].tolist() == [8.0, 4.0, 2.0]
    with pytest.raises(InputError, match="no run of the baseline"):
        compare({"half": curves["half"]})


def test_the_plateau_of_sigma_suggests_where_to_stop():
    def result(n, selected, remaining):
        return {"n": n, "sigma_selected": selected, "sigma_remaining": remaining}

    content = [result(20, 9, 3), result(30, 3.5, 3), result(40, 6, 3), result(50, 3.5, 3), result(60, 3.4, 3)]
    assert stop_suggestion(content) == 60
    assert stop_suggestion(content[:4]) is None
    assert stop_suggestion([result(20, None, 3)] * 3) is None


def test_settings_survive_their_file_and_bad_ones_are_refused(study):
    settings, _, _, _ = study
    assert settings_from_json(settings_to_json(settings)).training == settings.training
    with pytest.raises(InputError, match='unknown selection rule "randon"'):
        replace(settings, rules={"randon": {}})
    with pytest.raises(InputError, match="at least two"):
        replace(settings, members=1)
    with pytest.raises(InputError, match="maximum = 5"):
        replace(settings, maximum=5)
    with pytest.raises(InputError, match="from scratch each round"):
        replace(settings, committee="shallow")
    with pytest.raises(InputError, match="more than the 21 frames"):
        prepare_split(replace(settings, maximum=25))
    assert len(read_labelled(settings.data).frames) == 30
