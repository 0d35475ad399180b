"""A file of the campaign that is valid JSON and not what it should be is named, with the key that it lacks."""

from __future__ import annotations

import errno
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from support.paths import DATA
from tentpole.campaign import CampaignRecord, Verdict
from tentpole.campaign.export import export_campaign
from tentpole.errors import StateError
from tentpole.storage import journal
from tentpole.storage.atomic import read_json, write_json


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("rounds/r001/batch.json", "requests"),
        ("rounds/r001/batch.json", "facts"),
        ("rounds/r001/labels.json", "accepted"),
        ("verdict.json", "reason"),
    ],
)
def test_a_key_that_is_missing_is_told_with_its_file(tmp_path: Path, name: str, key: str) -> None:
    root = tmp_path / "halfway"
    shutil.copytree(DATA / "v1" / "halfway", root)
    write_json(root / "verdict.json", Verdict("BUDGET", "enough", ()).to_json())
    path = root / name
    content = read_json(path)
    del content[key]
    write_json(path, content)
    with pytest.raises(StateError, match=f'{path.name}: cannot be read: it lacks the key "{key}"'):
        CampaignRecord.read(root)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("rounds/r001/labels.json", {"accepted": ["../x-y"]}, "'../x-y' is no name of a label"),
        ("rounds/r001/labels.json", {"accepted": [1]}, "1 is no name of a label"),
        ("rounds/r001/labels.json", {"version": 9}, "version 9"),
        ("rounds/r001/done.json", {"version": 9}, "version 9"),
        ("rounds/r001/done.json", {"validation": {}}, "lacks the errors on the validation set"),
        ("verdict.json", {"version": 9}, "version 9"),
        ("verdict.json", {"kind": "MAYBE"}, "MAYBE"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_file(
    tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    root = tmp_path / "finished"
    shutil.copytree(DATA / "v1" / "finished", root)
    write_json(root / name, read_json(root / name) | change)
    with pytest.raises(StateError, match=words) as caught:
        CampaignRecord.read(root)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"v":1,"time":"x","elapsed_s":0.0}', "line 1: damaged"),
        ('{"event":"note","time":"x","elapsed_s":"long"}', "line 1: damaged"),
        ('{"event":"note","time":"x","elapsed_s":NaN}', "line 1: damaged"),
        ("[" * 100_000, "line 1: damaged"),
        ('{"event":"label","time":"x","elapsed_s":0.0}', 'it lacks the key "name"'),
    ],
    ids=["no name", "text", "NaN", "deep", "a label without a name"],
)
def test_an_event_that_is_none_is_told_with_the_journals_name(tmp_path: Path, body: str, words: str) -> None:
    root = tmp_path / "halfway"
    shutil.copytree(DATA / "v1" / "halfway", root)
    path = root / "journal.jsonl"
    line = f"{zlib.crc32(body.encode()):08x} {body}\n"
    path.write_bytes(line.encode() + path.read_bytes())
    with pytest.raises(StateError, match=words) as caught:
        CampaignRecord.read(root)
    assert "journal.jsonl" in str(caught.value)
    assert journal.REMEDY.split(":")[0] in str(caught.value)


def test_a_full_disk_leaves_what_was_exported_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "dataset.extxyz").write_text("whole")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        export_campaign(DATA / "v1" / "finished", tmp_path)
    assert caught.value.filename == str(tmp_path / "dataset.extxyz")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]
