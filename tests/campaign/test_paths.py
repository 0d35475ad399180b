"""One place spells the file names of a campaign folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support.paths import TOP
from tentpole.campaign.paths import CampaignPaths

SRC = TOP / "src" / "tentpole"
NAMES = ("batch.json", "labels.json", "done.json", "journal.jsonl", "verdict.json")
READERS = ("campaign", "report", "cli")


def strings(path: Path) -> Iterator[str]:
    """The texts in the code of a module, docstrings aside."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    words = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and _said(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
            yield node.value


def _said(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    return bool(node.body) and isinstance(node.body[0], ast.Expr)


def test_no_other_module_spells_the_numbers_of_rounds() -> None:
    spelling = [
        p.relative_to(SRC).as_posix() for p in SRC.rglob("*.py") if re.search(r"r\{[^{}]*:03d\}", p.read_text())
    ]
    assert sorted(spelling) == ["campaign/paths.py", "records.py"]  # folders and files; ids of snapshots


def test_no_other_module_of_the_campaign_and_its_readers_spells_file_names() -> None:
    for room in READERS:
        for path in (SRC / room).rglob("*.py"):
            if path.name != "paths.py":
                found = [name for name in NAMES for text in strings(path) if text == name]
                assert not found, f"{path}: {found}"


def test_paths_are_those_of_format_version_1() -> None:
    paths = CampaignPaths(Path("c"))
    assert paths.batch("validation") == Path("c/rounds/validation/batch.json")
    assert paths.outcome(3) == Path("c/rounds/r003/labels.json")
    assert paths.end(12) == Path("c/rounds/r012/done.json")
    assert paths.models(0) == Path("c/models/r000")
    assert paths.shard(2, "w01") == Path("c/snapshots/r002-w01.h5")
    assert paths.label("ab12-ef") == Path("c/labels/ab/ab12-ef.json")
