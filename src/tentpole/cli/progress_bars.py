"""Progress on screen: a bar with time left on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from tentpole.cli.printing import printable
from tentpole.units import duration

QUIET_SECONDS = 15.0
"""Between two lines about one phase where output goes to a file."""


class Pace:
    """How far one phase has come, and from that how long it will take.

    The rate is that since the first unit was done: what came before it, such as the start of workers, comes once.
    """

    def __init__(self, phase: str, now: float) -> None:
        self.phase, self.began = phase, now
        self.done = self.total = 0.0
        self._from: tuple[float, float] | None = None
        self._told = now

    def tell(self, done: float, total: float, now: float) -> None:
        """`done` of `total` units are done by `now`."""
        if done > 0 and self._from is None:
            self._from = (now, done)
        if done != self.done:
            self._told = now
        self.done, self.total = done, total

    @property
    def share(self) -> float | None:
        """Of the phase that is done; None where it has not begun, or has ended and the next is about to begin."""
        return self.done / self.total if 0 < self.done < self.total else None

    def left(self, now: float) -> float | None:
        """Seconds that the phase will still take; None where that is not known yet."""
        if self._from is None or self.share is None or self.done <= self._from[1]:
            return None
        at, first = self._from
        rate = (self.done - first) / max(1e-9, self._told - at)
        return max(0.0, (self.total - self.done) / rate - (now - self._told))


class _Times(ProgressColumn):
    """Time since the phase began, and the time that it will still take."""

    max_refresh = 0.5

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def render(self, task: Task) -> Text:  # noqa: ARG002
        """See rich.progress.ProgressColumn."""
        pace, now = self._screen.pace, time.monotonic()
        share, left = pace.share, pace.left(now)
        words = [] if share is None else [f"{share:3.0%}"]
        words += [duration(now - pace.began)]
        words += [] if left is None else [f"{duration(left)} left"]
        return Text(", ".join(words))


class Screen:
    """A ProgressListener that draws. Use as a context manager.

    Something moves on a terminal all the time: a phase that cannot tell how far it is has a bar that runs to and fro.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.pace = Pace("", time.monotonic())
        self._bars = Progress(
            SpinnerColumn(finished_text="⠿"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _Times(self),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("", total=None, visible=False)
        self._said = 0.0

    def progress(self, phase: str, done: float, total: float) -> None:
        """See ProgressListener."""
        now = time.monotonic()
        if phase != self.pace.phase:
            self.pace, self._said = Pace(phase, now), now
            self._bars.reset(self._task, description=printable(phase), total=None, visible=True)
            if self._console.is_terminal:
                self._bars.refresh()  # at once: what comes next may be an import that lets no other thread draw
        self.pace.tell(done, total, now)
        whole = None if self.pace.share is None else total
        if whole is None and self._bars.tasks[0].total is not None:
            self._bars.reset(self._task, total=None)  # done: what comes next is about to begin
        self._bars.update(self._task, completed=done, total=whole)
        if not self._console.is_terminal and now - self._said > QUIET_SECONDS and self.pace.share is not None:
            left = self.pace.left(now)
            words = "" if left is None else f", about {duration(left)} left"
            self._console.print(Text(printable(f"  {phase}: {self.pace.share:.0%}{words}")))
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
