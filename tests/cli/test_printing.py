"""Messages of programs and names of folders are printed as they are, whatever is in them."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import tentpole.cli
from tentpole.cli.printing import PlainConsole, marked, plural
from tentpole.cli.progress_bars import Screen

ODD = "cannot open [/scratch/job.17] [bold]x[/] :smile: \x1b[31mred\x1b[0m \x1b]0;title\x07 a [/b] c"
SHOWN = "cannot open [/scratch/job.17] [bold]x[/] :smile: red  a [/b] c"


def test_a_note_is_printed_as_it_is() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=200)) as screen:
        screen.note(ODD)
        screen.progress(ODD, 1, 2)
    assert out.getvalue().rstrip("\n") == SHOWN


def test_the_consoles_of_commands_print_strings_marks_and_tables_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("name", title=ODD)
    table.add_row(ODD)
    console = PlainConsole()
    console.width = 200
    console.print(ODD)
    console.print(marked("ok", "green", f" {ODD}"))
    console.print(table)
    said = capsys.readouterr().out
    assert said.count(SHOWN) == 4
    assert "\x1b" not in said


def test_one_is_no_plural() -> None:
    assert [plural(number, "round") for number in (0, 1, 2)] == ["0 rounds", "1 round", "2 rounds"]


def test_commands_have_no_other_console_and_write_no_markup() -> None:
    for path in Path(tentpole.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Console":
                raise AssertionError(f"{path.name}:{node.lineno}: a Console that takes brackets for markup")
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "rich.markup" in ast.unparse(node):
                raise AssertionError(f"{path.name}:{node.lineno}: markup")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[/]" in node.value:
                raise AssertionError(f"{path.name}:{node.lineno}: markup in a string")
