"""Processes that others started, and waiting for something to come true."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    @property
    def lives(self) -> bool:
        """Whether it is there and has not ended."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False


def children(parent: int) -> list[Process]:
    """The processes that `parent` started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                command = path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(Process(int(path.parent.name), command))
        except OSError:  # it has ended meanwhile
            continue
    return found


def until(condition: Callable[[], T], seconds: float) -> T:
    """What `condition` gives once that counts as true, or its last answer when the time is over."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return answer
