"""The campaign file that `tentpole init` writes can be run as it is, and its verdict is within reach."""

from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.io import write

from tentpole.cli.app import exit_status
from tentpole.config.baseline import whole_first
from tentpole.config.checks import unreachable
from tentpole.config.loading import load
from tentpole.config.proposal import sizes, usual_reference


def init(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["tentpole", "init", *map(str, words)])
    return exit_status()


def test_a_metal_needs_no_more_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "copper 4.xyz", bulk("Cu", cubic=True), format="extxyz")
    monkeypatch.chdir(tmp_path)
    assert init(monkeypatch, "copper 4.xyz") == 0
    config = load(tmp_path / "campaign.toml")
    assert (config.name, config.reference, config.validation.kind) == ("copper-4", "emt", "reference-md")
    assert config.training.r_max == 5.0
    assert config.explore.health.max_gap_A is None
    assert config.selection.rule == "two_key"
    assert config.training.solve == "after"
    assert unreachable(config) == []
    assert init(monkeypatch, "copper 4.xyz") == 2  # nothing is overwritten


def test_a_molecules_charge_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "water.xyz", [molecule("H2O"), molecule("H2O")])
    out = tmp_path / "deep" / "water.toml"
    out.parent.mkdir()
    assert init(monkeypatch, tmp_path / "water.xyz", "--out", out) == 2
    assert "--charge 0 for a neutral structure" in capsys.readouterr().err
    assert not out.exists()
    assert init(monkeypatch, tmp_path / "water.xyz", "--charge", "0", "--multiplicity", "1", "--out", out) == 0
    config = load(out)
    assert (config.charge, config.multiplicity, config.explore.ensemble.timestep_fs) == (0, 1, 0.5)
    assert (config.selection.rule, config.selection.settings) == ("gradient", {"aim": "mean"})
    assert config.explore.health.max_gap_A == pytest.approx(2.0, abs=0.1)
    assert "the last of 2" in out.read_text()


def test_an_expensive_reference_gets_its_validation_set_as_a_comment_with_its_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "si.xyz", bulk("Si", cubic=True), format="extxyz")
    out = tmp_path / "si.toml"
    assert init(monkeypatch, tmp_path / "si.xyz", "--reference", "vasp", "--charge", "0", "--out", out) == 0
    assert load(out).validation.kind == "none"
    assert "# [validation]" in out.read_text()
    began = out.read_text().replace("# [pretraining]", "[pretraining]").replace("# [baseline]", "[baseline]")
    out.write_text(began.replace("# reference", "reference"))
    config = load(out)  # what is offered in comments is legal
    assert config.baseline is not None
    assert whole_first(config)
    assert init(monkeypatch, tmp_path / "si.xyz", "--reference", "chgnet", "--out", tmp_path / "own.toml") == 0
    assert "[baseline]" not in (tmp_path / "own.toml").read_text()  # it would be the reference itself


@pytest.mark.parametrize(("reference", "repeats"), [("emt", 3), ("chgnet", 1)])
def test_what_takes_minutes_or_is_a_models_label_is_solved_for_only_where_it_is_asked_for(
    reference: str, repeats: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "copper.xyz", bulk("Cu", cubic=True) * (repeats, 1, 3), format="extxyz")
    out = tmp_path / "copper.toml"
    assert init(monkeypatch, tmp_path / "copper.xyz", "--reference", reference, "--out", out) == 0
    assert load(out).training.solve == "no"
    out.write_text(out.read_text().replace("# solve", "solve"))
    assert load(out).training.solve == "after"


def test_sizes_come_from_the_structures() -> None:
    assert usual_reference([bulk("Si")]) == "chgnet"
    assert usual_reference([molecule("CH4")]) == "xtb"
    assert sizes([bulk("W")]).r_max_A == 5.5
    assert sizes([bulk("Cu"), molecule("H2O")]).max_gap_A is None


def test_structures_of_several_charges_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("H2O", "OH"):
        write(tmp_path / f"{name}.xyz", molecule(name), format="xyz")
    out, files = tmp_path / "both.toml", [tmp_path / "H2O.xyz", tmp_path / "OH.xyz"]
    words = ("--charge", "0", "--charge", "-1", "--multiplicity", "1", "--out", out)
    assert init(monkeypatch, *files, *words) == 0
    config = load(out)
    assert ([one.charge for one in config.structures], config.multiplicity) == ([0, -1], 1)
    assert config.training.embed == ("charge",)
    assert init(monkeypatch, *files, "--charge", "0", "--charge", "1", "--charge", "2", "--out", tmp_path / "n") == 2
