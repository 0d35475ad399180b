"""Who is told of progress. Long work says how far it is; what is done with that is the listener's affair."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Told of progress: `done` of `total` units of `phase`, and of facts worth a line."""

    def progress(self, phase: str, done: float, total: float) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    def progress(self, phase: str, done: float, total: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
