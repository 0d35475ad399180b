"""What the pages of all studies have in common: one self-contained HTML file, its look, pictures inside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from tentpole.errors import optional_module

LOOK = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 88rem; margin: 2rem auto; padding: 0 1rem; color: #1b2530 }
h1, h2 { line-height: 1.2 } h2 { margin-top: 3rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 12px }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #d7dde3; text-align: left; vertical-align: top }
td { white-space: nowrap } th { background: #f2f5f8 } img { max-width: 100% } .note { color: #51606e; font-size: 13px }
"""

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>{{ look }}</style></head><body>
<h1>{{ title }}</h1>
"""

END = "</body></html>\n"


def need(module: str) -> Any:
    """The optional module, or InputError with the command that installs it."""
    return optional_module(module, extra="report", needed_by="the report")


def page(title: str, body: str, look: str = "", **values: Any) -> str:
    """A page of a Jinja template for what stands below its title; all values are escaped."""
    template = need("jinja2").Template(HEAD + body + END, autoescape=True)
    return str(template.render(title=title, look=LOOK + look, **values))


def embedded(picture: bytes) -> str:
    """A PNG as it stands in the `src` of an image."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def markdown_lines(table: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first line is its header."""
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
