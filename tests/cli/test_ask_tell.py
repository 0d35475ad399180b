"""`tentpole ask` and `tentpole tell`: a campaign driven by files alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from support.small_campaign import small_campaign
from tentpole import CampaignRecord
from tentpole.cli.app import app
from tentpole.errors import InputError


def tentpole(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, InputError):
        raise done.exception
    return done.exit_code, done.stdout


def labelled(file: Path) -> Atoms:
    atoms = read(file)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.fixture
def asked(tmp_path: Path) -> list[Path]:
    """The structures of round 0 of a campaign in tmp_path/run."""
    assert tentpole("ask", small_campaign(tmp_path), "--dir", tmp_path / "run", "--out", tmp_path / "asked")[0] == 0
    return sorted((tmp_path / "asked").glob("*.extxyz"))


@pytest.mark.slow
def test_a_campaign_runs_by_files_alone_to_its_verdict(tmp_path: Path) -> None:
    source = small_campaign(tmp_path, stop={"rounds": 1})
    words = ["ask", source, "--dir", tmp_path / "run", "--out", tmp_path / "asked"]
    for number in range(3):
        status, said = tentpole(*words)
        if status:
            break
        files = sorted((tmp_path / "asked").glob("*.extxyz"))
        assert f"round {number}: {len(files)} structures to label" in said
        for file in files:
            write(tmp_path / f"{file.stem}.emt.extxyz", labelled(file), format="extxyz")
        told = [tmp_path / f"{file.stem}.emt.extxyz" for file in files]
        assert f"{len(files)} labels told, 0 still to come" in tentpole("tell", tmp_path / "run", *told)[1]
    assert status == 4
    assert "BUDGET" in said
    assert not list((tmp_path / "asked").glob("*.extxyz"))
    record = CampaignRecord.read(tmp_path / "run")
    assert [one.labels for one in record.rounds] == [6, 4]
    assert record.frames[0].request.atoms.info == {}


def test_answers_are_known_by_request_by_name_and_by_folder(tmp_path: Path, asked: list[Path]) -> None:
    first, second, third, *rest = asked
    write(tmp_path / "any.extxyz", labelled(first), format="extxyz")  # keeps request=NAME
    by_name, by_folder = labelled(second), labelled(third)
    for atoms in (by_name, by_folder):
        atoms.info = {}
    write(tmp_path / f"{second.stem}.out.extxyz", by_name, format="extxyz")
    (tmp_path / third.stem).mkdir()
    write(tmp_path / third.stem / "final.traj", by_folder)
    files = [tmp_path / "any.extxyz", tmp_path / f"{second.stem}.out.extxyz", tmp_path / third.stem / "final.traj"]
    lost = [word for file in rest for word in ("--failed", f"{file}=unconverged")]
    said = tentpole("tell", tmp_path / "run", *files, *lost)[1]
    assert "3 labels and 3 failures told, 0 still to come" in said
    label = labelled(first)
    record = CampaignRecord.read(tmp_path / "run")
    assert sorted(frame.outcome for frame in record.frames) == ["accepted"] * 3 + ["failed"] * 3
    kept = next(frame for frame in record.frames if frame.request.name == first.stem)
    text = kept.label.read_text()
    energy = float(re.search(r'"energy": ([-\d.e]+)', text).group(1))
    assert energy == pytest.approx(label.get_potential_energy(), abs=1e-6)
    assert "any.extxyz" in text


def test_what_was_not_asked_for_is_refused_with_the_file(tmp_path: Path, asked: list[Path]) -> None:
    moved = labelled(asked[0])
    moved.positions[0] += 0.01
    moved.calc = EMT()
    moved.get_forces()
    write(tmp_path / "moved.extxyz", moved, format="extxyz")
    other = labelled(asked[0])
    other.info = {}
    write(tmp_path / "other.extxyz", other, format="extxyz")
    bare = read(asked[0])
    write(tmp_path / "bare.extxyz", bare, format="extxyz")
    mad = labelled(asked[0])
    mad.calc.results["forces"] = np.full((4, 3), 1e7)
    write(tmp_path / "mad.extxyz", mad, format="extxyz")
    for name, words in (
        ("moved", "not relaxed"),
        ("other", "is of no structure that waits"),
        ("bare", "energy"),
        ("mad", "force"),
    ):
        with pytest.raises(InputError) as caught:
            tentpole("tell", tmp_path / "run", tmp_path / f"{name}.extxyz")
        assert words in str(caught.value)
    for words in ([], ["--failed", "nothing"], ["--failed", "nobody=why"]):
        with pytest.raises(InputError):
            tentpole("tell", tmp_path / "run", *words)
    assert CampaignRecord.read(tmp_path / "run").label_files == 0
