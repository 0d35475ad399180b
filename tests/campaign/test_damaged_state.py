"""A file of the campaign that is valid JSON and not what it should be is named, with the key that it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.paths import DATA
from tentpole.campaign import CampaignRecord, Verdict
from tentpole.errors import StateError
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
