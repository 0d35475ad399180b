"""The loop one step at a time, on files: label, train, score, select, and what each refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from tentpole.cli.app import app
from tentpole.cli.files import label_file, score_file, select_file, settings_of, train_files
from tentpole.errors import InputError

pytestmark = pytest.mark.slow

TINY = {"channels": 4, "max_L": 0, "r_max": 4.0, "updates": 10, "batch_size": 4}


def rattled(path: Path, count: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    frames = [bulk("Cu", cubic=True) for _ in range(count)]
    for atoms in frames:
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    write(path, frames)
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    counts = label_file(
        rattled(folder / "raw.xyz", 6, 0), "emt", folder / "labelled.xyz", folder=folder / "kept", workers=1
    )
    assert (counts.done, counts.failed) == (6, 0)
    return folder / "labelled.xyz"


@pytest.fixture(scope="module")
def models(labelled: Path) -> Path:
    out = labelled.parent / "models"
    reports = train_files(labelled, out, members=2, settings=TINY)
    assert [report.skipped for report in reports] == [False, False]
    return out


def test_labels_are_the_references_and_are_computed_once(labelled: Path, tmp_path: Path) -> None:
    frames = read(labelled, ":")
    for atoms in frames:
        raw = atoms.copy()
        raw.calc = EMT()
        assert atoms.info["REF_energy"] == pytest.approx(raw.get_potential_energy(), abs=1e-7)
        assert np.allclose(atoms.arrays["REF_forces"], raw.get_forces(), atol=1e-7)
    kept = labelled.parent / "kept"
    before = {path: path.stat().st_mtime_ns for path in kept.glob("labels/*/*.json")}
    label_file(labelled.parent / "raw.xyz", "emt", tmp_path / "again.xyz", folder=kept, workers=1)
    assert {path: path.stat().st_mtime_ns for path in kept.glob("labels/*/*.json")} == before
    assert (tmp_path / "again.xyz").read_bytes() == labelled.read_bytes()


def test_a_structure_that_the_reference_cannot_label_is_counted_with_its_reason(tmp_path: Path) -> None:
    far = bulk("Cu", cubic=True)
    wrong = far.copy()
    wrong.positions[1] = wrong.positions[0] + 0.05
    write(tmp_path / "raw.xyz", [far, wrong])
    counts = label_file(tmp_path / "raw.xyz", "emt", tmp_path / "out.xyz", folder=tmp_path / "kept", workers=1)
    assert (counts.done, counts.failed) == (1, 1)
    assert len(read(tmp_path / "out.xyz", ":")) == 1
    assert list((tmp_path / "kept" / "quarantine").iterdir())


def test_moments_are_labelled_from_where_they_are_asked_for_and_where_the_reference_has_spin(tmp_path: Path) -> None:
    magnet = bulk("Ni")  # ASE's nickel carries 0.6 µB
    write(tmp_path / "raw.extxyz", magnet)
    (tmp_path / "spinful.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Spinful(EMT):\n    pass\n"  # handed moments as any code is
    )
    (tmp_path / "own.toml").write_text('calculator = "spinful:Spinful"\nproperties = ["energy", "forces"]\n')

    def labelled_from(moments: str | None) -> Any:
        out, folder = tmp_path / "out.extxyz", tmp_path / "kept"
        label_file(tmp_path / "raw.extxyz", f"{tmp_path}/own.toml", out, folder=folder, workers=1, moments=moments)
        return read(out).arrays.get("initial_magmoms")

    assert labelled_from(None) is None
    assert labelled_from("from structure") == pytest.approx([0.6])
    assert len(list((tmp_path / "kept" / "labels").glob("*/*.json"))) == 2
    with pytest.raises(InputError, match="knows no magnetic moments"):
        label_file(tmp_path / "raw.extxyz", "emt", tmp_path / "x", folder=tmp_path / "y", moments="Ni=0.6")


def test_a_shell_is_told_where_no_frame_could_be_scored(models: Path, tmp_path: Path) -> None:
    write(tmp_path / "raw.xyz", molecule("H2O"))
    words = ["score", str(tmp_path / "raw.xyz"), "--models", str(models), "--out", str(tmp_path / "scored.xyz")]
    ended = CliRunner().invoke(app, words)
    assert (ended.exit_code, "0 frames scored, 1 failed" in ended.output) == (3, True)


def test_scored_frames_are_selected_in_order_with_reasons(labelled: Path, models: Path, tmp_path: Path) -> None:
    raw = rattled(tmp_path / "raw.xyz", 12, 1)
    assert score_file(raw, [models], labelled, tmp_path / "scored.xyz").done == 12
    counts = select_file(tmp_path / "scored.xyz", labelled, tmp_path / "out.xyz", rule="uncertainty", count=3)
    assert counts.done == 3
    scored, chosen = read(tmp_path / "scored.xyz", ":"), read(tmp_path / "out.xyz", ":")
    highest = sorted(range(12), key=lambda k: -scored[k].info["force_std"])[:3]
    assert [atoms.info["frame"] for atoms in chosen] == highest
    for atoms in chosen:
        assert np.allclose(atoms.positions, scored[atoms.info["frame"]].positions)
        assert "σ" in atoms.info["reason"]
    select_file(tmp_path / "scored.xyz", labelled, tmp_path / "two.xyz", count=3, settings={"shortlist": 2})
    best = sorted(range(12), key=lambda k: -scored[k].info["force_std"])[:6]
    assert {atoms.info["frame"] for atoms in read(tmp_path / "two.xyz", ":")} <= set(best)


def test_files_are_scored_and_selected_by_the_fingerprint_and_the_sigma_that_are_named(
    labelled: Path, models: Path, tmp_path: Path
) -> None:
    raw, scored, out = rattled(tmp_path / "raw.xyz", 8, 1), tmp_path / "scored.xyz", tmp_path / "out.xyz"
    gains = []
    for settings in ({}, {"mode": "per-config"}, {"kind": "mace"}):
        assert score_file(raw, [models], labelled, scored, settings).done == 8
        gains.append([atoms.info["gain"] for atoms in read(scored, ":")])
    assert len({tuple(row) for row in gains}) == 3
    for sigma, key in (("auto", "force_std"), ("max", "max_force_std"), ("p95", "p95_force_std")):
        select_file(scored, labelled, out, rule="uncertainty", count=2, sigma=sigma)
        highest = sorted(range(8), key=lambda k, key=key: -read(scored, k).info[key])[:2]
        assert [atoms.info["frame"] for atoms in read(out, ":")] == highest
    learned = {"fingerprint": {"kind": "mace"}, "rule": "logdet", "count": 2}
    assert select_file(scored, labelled, out, models=[models], **learned).done == 2
    with pytest.raises(InputError, match="name it with --models"):
        select_file(scored, labelled, out, **learned)
    with pytest.raises(InputError, match="--fingerprint: cannot be used"):
        score_file(raw, [models], labelled, out, {"cutoff": 50})
    with pytest.raises(InputError, match="--sigma"):
        select_file(scored, labelled, out, sigma="most")


def test_a_rule_that_needs_sigma_asks_for_scores_and_one_that_does_not_works_without(tmp_path: Path) -> None:
    raw = rattled(tmp_path / "raw.xyz", 5, 2)
    with pytest.raises(InputError, match=r"frame 0 has no finite force_std.*tentpole score"):
        select_file(raw, None, tmp_path / "out.xyz")
    assert select_file(raw, None, tmp_path / "out.xyz", rule="logdet", count=2).done == 2


def test_a_file_to_write_is_plain_is_not_read_from_and_never_an_earlier_commands(tmp_path: Path) -> None:
    raw = rattled(tmp_path / "raw.xyz", 5, 2)
    for name, words in (("out.xyz.gz", "plain text"), ("raw.xyz", "is read from"), (".", "is a folder")):
        with pytest.raises(InputError, match=words):
            select_file(raw, None, tmp_path / name, rule="logdet")
    out = tmp_path / "out.xyz"
    assert select_file(raw, None, out, rule="logdet", count=2).done == 2
    assert select_file(raw, None, out, rule="logdet", settings={"floor": 1e9}).done == 0
    assert not out.exists()


def test_physics_that_the_reference_needs_is_asked_for_by_its_option(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    with pytest.raises(InputError, match="say --charge, 0 for a neutral structure"):
        label_file(tmp_path / "water.xyz", "xtb", tmp_path / "out.xyz", folder=tmp_path / "kept", workers=1)
    assert not (tmp_path / "kept").exists()


def test_a_rules_settings_are_typed(tmp_path: Path) -> None:
    raw = rattled(tmp_path / "raw.xyz", 2, 2)
    with pytest.raises(InputError, match=r'--set.gain: a number is wanted; given: "foo"'):
        select_file(raw, None, tmp_path / "out.xyz", settings={"gain": "foo"})


def test_one_member_has_nobody_to_disagree_with(labelled: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody to disagree with"):
        score_file(labelled, [models / "member-0"], None, tmp_path / "out.xyz")


def test_training_goes_on_and_refuses_another_order_in_its_folder(labelled: Path, models: Path) -> None:
    assert all(report.skipped for report in train_files(labelled, models, members=2, settings=TINY))
    with pytest.raises(InputError, match="these differ: settings"):
        train_files(labelled, models, members=2, settings=TINY | {"updates": 11})
    with pytest.raises(InputError, match="holds 2 members, 3 are"):
        train_files(labelled, models.parent / "more", members=3, settings=TINY, warm_start=models)
    with pytest.raises(InputError, match=r"--set: .*\n.*upates.*did you mean .updates"):
        train_files(labelled, models.parent / "more", settings={"upates": 3})


def test_settings_are_read_as_toml_and_bare_words_as_text() -> None:
    assert settings_of(["updates=5", "lr = 0.1", "method=lazy", "x=true"]) == {
        "updates": 5,
        "lr": 0.1,
        "method": "lazy",
        "x": True,
    }
    with pytest.raises(InputError, match="key=value"):
        settings_of(["updates"])


def test_more_frames_than_there_are_is_all_of_them(labelled: Path, tmp_path: Path) -> None:
    frames = read(labelled, index=":3")
    for k, atoms in enumerate(frames):
        atoms.info["force_std"] = 0.1 * (k + 1)
    write(tmp_path / "scored.xyz", frames)
    assert select_file(tmp_path / "scored.xyz", None, tmp_path / "o.xyz", count=10**9).done <= 3


def test_a_text_to_train_on_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    with pytest.raises(InputError, match=r"ASE cannot read .*notes"):
        train_files(tmp_path / "notes", tmp_path / "m")


def test_a_frame_without_volume_costs_the_others_nothing(labelled: Path, models: Path, tmp_path: Path) -> None:
    frames = read(labelled, index=":2")
    flat = frames[0].copy()
    flat.cell[2] = flat.cell[1]
    write(tmp_path / "mixed.xyz", [*frames, flat])
    counts = score_file(tmp_path / "mixed.xyz", [models], None, tmp_path / "o.xyz")
    assert (counts.done, counts.failed) == (2, 1)
    assert "is flat" in next(iter(counts.reasons))
