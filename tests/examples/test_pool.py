"""The pool example: its README's commands, on the table that its script makes up."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.paths import EXAMPLES
from tentpole.cli.pool import pool_app

HERE = EXAMPLES / "07_pool"
COMMANDS = re.findall(r"^    (.+)$", (HERE / "README.md").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_the_readmes_commands_end_with_a_table_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    script, *others = map(shlex.split, COMMANDS)
    monkeypatch.setattr(sys, "argv", script[1:])
    runpy.run_path(str(HERE / script[1]), run_name="__main__")
    said = []
    for words in others:
        assert words[:2] == ["tentpole", "pool"]
        more = ["--workers", "1"] if "run" in words else []
        done = CliRunner().invoke(pool_app, [*words[2:], *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        said.append(done.output)
    table = [line for line in said[0].splitlines() if re.match(r"(rule|random|uncertainty|logdet)\b", line)]
    assert len(table) == 4
    assert max(map(len, table)) <= 80
    assert (tmp_path / "results" / "report" / "index.html").stat().st_size > 10_000
