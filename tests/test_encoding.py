"""Text files are UTF-8 whatever the locale: σ and Å are in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tentpole


def undecided(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text without saying which encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("read_text", "write_text"):
            yield node
        elif name == "open" and "os." not in ast.unparse(node.func):
            modes = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
            if not any(isinstance(mode, str) and "b" in mode for mode in modes):
                yield node


def test_every_text_file_is_read_and_written_as_utf8() -> None:
    left = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(tentpole.__file__).parent.rglob("*.py"))
        for node in undecided(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not left, "these leave the encoding to the locale: " + ", ".join(left)
