"""What made a label is written into it, and a campaign says when it goes on with something else."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from ase.build import molecule

from support.paths import DATA
from tentpole.campaign import Campaign, opening
from tentpole.execution.provenance import provenance
from tentpole.labeling import Task, load
from tentpole.labeling.one_label import compute
from tentpole.storage import journal
from tentpole.storage.labels import label_files, read_label


class Notes:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, phase: str, done: float, total: float) -> None:
        pass

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_label_says_what_made_it(tmp_path: Path) -> None:
    compute(Task(tmp_path, load("mock"), molecule("H2O")))
    made_by = read_label(next(label_files(tmp_path))).details["made_by"]
    assert made_by == provenance()
    assert made_by["numpy"] == version("numpy")
    assert made_by["cpu"]
    assert json.dumps(made_by)


def test_a_campaign_says_when_it_goes_on_with_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "halfway"
    shutil.copytree(DATA / "v1" / "halfway", root)
    heard: list[list[str]] = []
    for torch in ("2.4.0", "2.4.0", "2.5.0"):
        now = provenance() | {"torch": torch}
        monkeypatch.setattr(opening, "provenance", lambda now=now: now)
        notes = Notes()
        with Campaign(root, progress=notes):
            pass
        heard.append([text for text in notes.said if "torch" in text])
    assert heard[:2] == [[], []]
    assert len(heard[2]) == 1
    assert "torch 2.5.0 (was 2.4.0)" in heard[2][0]
    (event,) = [e for e in journal.events(root / "journal.jsonl") if e["event"] == "other environment"]
    assert event["changed"] == "torch 2.5.0 (was 2.4.0)"
