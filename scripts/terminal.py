"""A terminal for scripts: a command in tmux, what its screen shows over time, and keys pressed at given moments."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LOOK_S = 0.1
"""Between two looks at the screen."""


@dataclass
class Watched:
    """What a command showed.

    Parameters
    ----------
    seconds : float
        From its start to the prompt.
    status : int
        Its exit status.
    first_s : float
        From its start to the first character on the screen.
    still_s, still_at_s : float
        The longest time for which nothing on the screen changed, and when that began.
    screens : list of (float, str)
        Each screen that differed from the one before, with its time.
    """

    seconds: float = 0.0
    status: int = -1
    first_s: float = float("inf")
    still_s: float = 0.0
    still_at_s: float = 0.0
    screens: list[tuple[float, str]] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The screen at the end."""
        return self.screens[-1][1] if self.screens else ""


class Terminal:
    """A tmux session of its own server. Use as a context manager."""

    def __init__(self, folder: Path, *, columns: int = 80, lines: int = 24, env: dict[str, str] | None = None) -> None:
        self._socket = tempfile.mkdtemp(prefix="terminal-")
        self._folder = folder
        self._size = (columns, lines)
        self._env = os.environ | (env or {}) | {"TERM": "xterm-256color"}

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", f"{self._socket}/s", *words], env=self._env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def screen(self, history: int = 0) -> str:
        """What is on the screen now, and `history` lines above it."""
        return self._tmux("capture-pane", "-p", "-t", "t", "-S", f"-{history}").rstrip()

    def press(self, key: str) -> None:
        """Press a key, as tmux names it: C-c, Enter."""
        self._tmux("send-keys", "-t", "t", key)

    def run(
        self,
        command: str,
        *,
        limit_s: float = 900.0,
        when: Callable[[str, float], str | None] = lambda _screen, _now: None,
    ) -> Watched:
        """Run `command` to its end; `when(screen, seconds)` may name a key to press at each look."""
        columns, lines = self._size
        ended = Path(self._socket) / "status"
        ended.unlink(missing_ok=True)
        whole = f"{command}; echo $? > {shlex.quote(str(ended))}; exec sleep 1000"
        words = ["new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(lines), "-c", str(self._folder)]
        self._tmux("-f", "/dev/null", *words, "bash", "-c", whole)
        found, began = Watched(), time.monotonic()
        before, since = "", began
        while time.monotonic() - began < limit_s:
            shown, now = self.screen(), time.monotonic()
            if shown != before:
                found.screens.append((now - began, shown))
                found.first_s = min(found.first_s, now - began)
                before, since = shown, now
            elif now - since > found.still_s:
                found.still_s, found.still_at_s = now - since, since - began
            if ended.exists() and ended.read_text(encoding="utf-8").strip():
                found.status = int(ended.read_text(encoding="utf-8"))
                break
            if key := when(shown, now - began):
                self.press(key)
            time.sleep(LOOK_S)
        found.seconds = time.monotonic() - began
        shown = self.screen(2000)
        found.screens.append((found.seconds, shown))
        self._tmux("kill-session", "-t", "t")
        return found

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(
            ["tmux", "-S", f"{self._socket}/s", "kill-server"], env=self._env, capture_output=True, check=False
        )
