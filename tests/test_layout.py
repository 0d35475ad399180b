"""The map: what lies at the top, how many rooms there are, and that a public name means one thing."""

import ast
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from support.paths import TOP

ALLOWED = {
    "pyproject.toml", "README.md", "src", "calculators", "tests", "examples", "scripts",
    "LICENSE", "CHANGELOG.md", ".gitignore", ".ci",
}  # fmt: skip
PACKAGE = TOP / "src" / "tentpole"


def test_nothing_lies_at_the_top_that_does_not_belong_there() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert {name.partition("/")[0] for name in listed.stdout.splitlines()} <= ALLOWED


def test_rooms_are_few() -> None:
    assert sum(path.is_dir() and path.name != "__pycache__" for path in PACKAGE.iterdir()) <= 15
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_no_two_public_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_every_room_says_what_it_is() -> None:
    for folder in (p for p in PACKAGE.rglob("*") if p.is_dir() and any(p.glob("*.py"))):
        room = folder / "__init__.py"
        assert room.is_file(), folder
        assert ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))), room


def test_the_version_is_written_once() -> None:
    assert "version = " not in Path(TOP / "pyproject.toml").read_text(encoding="utf-8").split("[tool", 1)[0]
