"""TOML of any origin: what nests too deep is refused before the parser, which goes down level by level, sees it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

DEEPEST = 50
"""Levels of lists and tables; no file of settings has ten."""
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''" + r'|"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*|[\[\]{}]", re.DOTALL
)


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    tomllib.TOMLDecodeError
        For what is no TOML, or nests deeper than `DEEPEST` levels.

    Examples
    --------
    >>> parse_toml("x = [[1]]")
    {'x': [[1]]}
    >>> parse_toml("x = " + "[" * 5000)
    Traceback (most recent call last):
    ...
    tomllib.TOMLDecodeError: its lists and tables lie more than 50 levels deep in one another
    """
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        _check(depth)
    content = tomllib.loads(text)
    _check(_levels(content))  # dotted keys need no brackets
    return content


def _levels(content: Any) -> int:
    inside, levels = [content], 0
    while inside and levels <= DEEPEST:
        tables = [list(part.values()) if isinstance(part, dict) else part for part in inside]
        inside = [item for table in tables for item in table if isinstance(item, dict | list)]
        levels += 1
    return levels


def _check(levels: int) -> None:
    if levels > DEEPEST:
        raise tomllib.TOMLDecodeError(f"its lists and tables lie more than {DEEPEST} levels deep in one another")
