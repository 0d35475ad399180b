"""Progress on screen: bars with time left on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from tentpole.cli.printing import printable

QUIET_SECONDS = 15.0
"""Between two lines about one phase where output goes to a file."""


class Screen:
    """A ProgressListener that draws. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("", start=False, visible=False)
        self._phase = ""
        self._began = self._said = 0.0

    def progress(self, phase: str, done: float, total: float) -> None:
        """See ProgressListener."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began, self._said = phase, now, now
            self._bars.reset(self._task, description=printable(phase), total=total, visible=True)
        self._bars.update(self._task, completed=done, total=total)
        if not self._console.is_terminal and now - self._said > QUIET_SECONDS and 0 < done < total:
            left = (now - self._began) * (total - done) / done
            self._console.print(Text(printable(f"  {phase}: {done / total:.0%}, about {left:.0f} s left")))
            self._said = now

    def note(self, text: str) -> None:
        """See ProgressListener."""
        self._console.print(Text(printable(text)))

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
