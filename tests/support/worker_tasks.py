"""Functions for worker processes in tests: they are imported there, as test modules cannot be."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def touch_and_sleep(path: str, seconds: float) -> int:
    Path(path).with_suffix(".part").write_text(str(os.getpid()))
    Path(path).with_suffix(".part").rename(path)
    time.sleep(seconds)
    return os.getpid()


def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def leave() -> None:
    sys.exit("gone")


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd() -> None:
    raise Odd(1, 2)


def training_dies_once(order: dict[str, Any]) -> int:
    mark = Path(order["jobs"][0]["folder"]) / f"died-{order['id']}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def training_dies(order: dict[str, Any]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def imported(module: str) -> tuple[int, bool]:
    """The process that this one was started by, and whether the module has been imported here."""
    return os.getppid(), module in sys.modules
