"""Text on the terminal as it is: nothing in a path or in a program's message is taken for markup or control code."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

_SEQUENCES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
)  # ECMA-48: CSI, OSC, others
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline


def printable(text: str) -> str:
    """`text` without escape sequences and control characters: it cannot move the cursor or rename the window."""
    return _CONTROL.sub("", _SEQUENCES.sub("", text))


def marked(word: str, style: str, text: str) -> Text:
    """`word` in a style, then `text` as it is."""
    return Text.assemble((word, style), printable(text))


def in_any_locale() -> None:
    """Print what the terminal's or the pipe's encoding lacks, σ or Å, as a question mark, where Python would stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class PlainConsole(Console):
    """A console for which a string is a string: square brackets and colons are printed, escape sequences left out."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich.console.Console; also the cells of tables come by here."""
        return super().render_str(printable(text), **options)


def plural(number: int, what: str) -> str:
    """As in "1 label" and "2 labels"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
