"""What the command says of itself, and of words that it does not know; in this process, since nothing is computed."""

import tomllib
from pathlib import Path

import pytest

from support.paths import TOP
from tentpole import __version__
from tentpole.cli.app import app, exit_status


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["tentpole", *words])
    status = exit_status()
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_has_the_commands_in_groups(
    word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = said(capsys, monkeypatch, word)
    assert status == 0
    places = [out.index(f"─ {group} ─") for group in ("Campaign", "Single steps", "Studies")]
    assert places == sorted(places)
    assert "--install-completion" in out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(capsys, monkeypatch, "--version")[:2] == (0, f"tentpole {__version__}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status"], ["FOLDER", "tentpole status --help"]),
        (["run"], ["CAMPAIGN", "tentpole run --help"]),
        (["explain", "here"], ["SNAPSHOT"]),
        (["export", "here"], ["--out"]),
        (["statuss"], ["'statuss'", "status"]),
        (["select", "a.xyz", "--out", "b.xyz", "--count", "many"], ["--count", "tentpole select --help"]),
    ],
)
def test_a_forgotten_or_wrong_word_is_named(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = said(capsys, monkeypatch, *words)
    assert status == 2
    assert all(word in err for word in expected), err


def test_no_word_prints_the_help_and_nothing_after_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = said(capsys, monkeypatch)
    assert status == 2
    assert "Usage" in out + err
    assert "error" not in err


@pytest.mark.parametrize("file", sorted((TOP / "calculators").glob("*.toml")), ids=lambda file: file.stem)
def test_a_reference_is_shown_as_its_file_is(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    status, out, _ = said(capsys, monkeypatch, "references", file.stem)
    assert status == 0
    assert out == file.read_text()
    assert tomllib.loads(out)


def test_every_command_and_option_is_explained() -> None:
    import typer

    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"
