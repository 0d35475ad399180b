"""Progress of long work, as it is told to whoever shows it: a screen, a log, a test."""

from __future__ import annotations

from typing import Protocol


class ProgressListener(Protocol):
    """Told of progress: `done` of `total` units of `phase`, and of facts worth a line."""

    def progress(self, phase: str, done: float, total: float) -> None:
        """`done` of `total` units of `phase` are done."""

    def note(self, text: str) -> None:
        """A fact worth a line."""


class NoProgress:
    """A listener that does nothing."""

    def progress(self, phase: str, done: float, total: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
