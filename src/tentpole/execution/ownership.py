"""Whose a working folder is, on this host or another, and whether its process still runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path

SILENT_S = 60.0  # a worker elsewhere whose folder shows no beat for this long is taken for dead


def own_folder(place: Path, name: str, pid: int | None = None) -> Path:
    """A folder in `place` that is removed by `clear_stale` once process `pid` (None: this one) is no more.

    Its name tells the host, when the process began, and its pid: a pid alone is given to another sooner or later.
    """
    pid = pid or os.getpid()
    return place / f"tmp-{name}-{_host()}.{birth(pid)}-{pid}"


def lives(folder: Path) -> bool:
    """Whether the process that made this folder in work/ is still at it: here by pid, elsewhere by its beat."""
    _, place, pid = folder.name.rsplit("-", 2)
    host, _, born = place.rpartition(".")
    if host == _host():
        return runs(int(pid), born)
    for sign in (folder / "alive", folder):
        with contextlib.suppress(OSError):
            return time.time() - sign.stat().st_mtime < SILENT_S
    return False


def used(folder: Path) -> float:
    """Core-seconds of the attempt in this folder as its worker last told them; 0 where it told none."""
    try:
        return float((folder / "alive").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def runs(pid: int, born: str) -> bool:
    """Whether process `pid` of this host runs and began at `born`, as `birth` tells it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return False
    return birth(pid) == born


def birth(pid: int) -> str:
    """When a process began, in clock ticks since the machine did; "0" where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return "0"


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def clear_stale(root: Path) -> None:
    """Remove folders in work/ whose workers are no more."""
    for folder in (root / "work").glob("tmp-*"):
        if not lives(folder):
            shutil.rmtree(folder, ignore_errors=True)
