"""A study's folder is of one kind: what is begun in another's would be mixed with it."""

from pathlib import Path

import pytest

from tentpole.benchmarks.runs import POOL, QBC, SAMPLING, refuse_all_but
from tentpole.errors import StateError
from tentpole.storage.atomic import write_json


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("settings.json", {"version": 1, "rules": {}}, QBC),
        ("settings.json", {"version": 1, "study": {}}, SAMPLING),
        ("benchmark.json", {"identity": "x"}, POOL),
        ("journal.jsonl", {}, "a campaign"),
    ],
)
def test_a_folder_of_another_kind_is_refused_by_every_study(tmp_path: Path, file: str, content: dict, kind: str):
    for one in (QBC, SAMPLING, POOL):
        refuse_all_but(one, tmp_path)
    write_json(tmp_path / file, content)
    for one in {QBC, SAMPLING, POOL} - {kind}:
        with pytest.raises(StateError, match=f"holds {kind}, and this is {one}: give another folder"):
            refuse_all_but(one, tmp_path)
    if kind != "a campaign":
        refuse_all_but(kind, tmp_path)
