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
    return place / f"tmp-{name}-{_host()}.{_birth(pid)}-{pid}"


def lives(folder: Path) -> bool:
    """Whether the process that made this folder in work/ is still at it: here by pid, elsewhere by its beat."""
    _, place, pid = folder.name.rsplit("-", 2)
    host, _, birth = place.rpartition(".")
    if host == _host():
        return _runs(int(pid)) and _birth(int(pid)) == birth
    for sign in (folder / "alive", folder):
        with contextlib.suppress(OSError):
            return time.time() - sign.stat().st_mtime < SILENT_S
    return False


def used(folder: Path) -> float:
    """Core-seconds of the attempt in this folder as its worker last told them; 0 where it told none."""
    try:
        return float((folder / "alive").read_text())
    except (OSError, ValueError):
        return 0.0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int) -> str:
    """When a process began, in clock ticks since the machine did; "0" where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "0"


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def clear_stale(root: Path) -> None:
    """Remove folders in work/ whose workers are no more."""
    for folder in (root / "work").glob("tmp-*"):
        if not lives(folder):
            shutil.rmtree(folder, ignore_errors=True)
