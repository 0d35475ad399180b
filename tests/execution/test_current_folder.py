"""What lies in the folder where a command is given is never imported, whatever its name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tentpole
from tentpole.execution.worker import python_module

NAMES = ("ase", "mace", "selectors", "numbers", "ctypes", "signal", "numpy", "tentpole", "sitecustomize")
SCRIPT = """
import os
from tentpole.execution.local import local
with local(1) as executor:
    assert executor.submit(os.getenv, "PYTHONSAFEPATH").result(timeout=60) is None  # not for programs that it runs
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that leave a mark when they are imported."""
    place = tmp_path / "downloaded"
    place.mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'a').write({name!r})\n")
    return place


def run(command: list[str], folder: Path) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    mark = folder.parent / "mark"
    assert not mark.exists(), f"executed: {mark.read_text()}"


def test_a_worker_imports_nothing_from_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run([sys.executable, str(tmp_path / "script.py")], folder)


def test_modules_run_by_name_import_nothing_from_there(folder: Path) -> None:
    run([*python_module("tentpole.execution.parent_death"), "true"], folder)


def test_the_command_run_as_a_module_imports_nothing_more_from_there(folder: Path) -> None:
    (folder / "tentpole.py").unlink()  # Python itself looks there for the module it is told to run
    (folder / "sitecustomize.py").unlink()
    run([sys.executable, "-m", "tentpole", "--version"], folder)


def test_every_process_of_ours_is_started_so() -> None:
    for path in Path(tentpole.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List) and any(ast.unparse(item) == "sys.executable" for item in node.elts):
                assert path.name == "worker.py", f"{path}:{node.lineno}: start it by python_module()"
