"""Whose a working folder is, on this host or another, and whether its process still runs."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import socket
import time
from pathlib import Path

import psutil

SILENT_S = 60.0
"""A worker elsewhere whose folder shows no beat for as long as this is taken for dead."""
HOSTS_OWN = 0xEFFFFFFC
"""The inode of the host's own process numbers, the same on every Linux."""
LONG_AGO_S = 3600.0
"""Nor is one waited for whose last beat is older than this: no clock is so far behind."""


def own_folder(place: Path, name: str, pid: int | None = None) -> Path:
    """A folder in `place` that is removed by `clear_stale` once process `pid` (None: this one) is no more.

    Its name tells the host, when the process began, and its pid: a pid alone is given to another sooner or later.
    """
    pid = pid or os.getpid()
    return place / f"tmp-{name}-{_host()}.{birth(pid)}-{pid}"


def is_in_use(folder: Path) -> bool:
    """Whether the process that made this folder (or file) is still at it: here by pid, elsewhere by its beat.

    False for what no worker has made.
    """
    made = _MADE.fullmatch(folder.name)
    if made is None:
        return False
    if made["host"] == _host():
        return runs(int(made["pid"]), made["born"])
    return _beats(folder)


_MADE = re.compile(r"tmp-.+-(?P<host>[^-]*?)(?:\.(?P<born>\d+))?-(?P<pid>\d+)")
_seen: dict[Path, tuple[float, float]] = {}


def _beats(folder: Path) -> bool:
    """Whether a worker elsewhere gives signs of life.

    Its clock may be ahead of this one or behind: what counts is whether its sign changes while this process looks on.
    """
    for sign in (folder / "alive", folder):
        with contextlib.suppress(OSError):
            told = sign.stat().st_mtime
            break
    else:
        return False
    if time.time() - told > LONG_AGO_S:
        return False
    before, since = _seen.get(folder, (None, 0.0))
    if told != before:
        _seen[folder] = (told, time.monotonic())
        return True
    return time.monotonic() - since < SILENT_S


def used(folder: Path) -> float:
    """Core-seconds of the attempt in this folder as its worker last told them; 0 where it told none."""
    try:
        told = float((folder / "alive").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0
    return told if 0.0 <= told < math.inf else 0.0


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
    """When a process began, in clock ticks since the machine did, or another number that stays."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return _born_elsewhere(pid)


def _born_elsewhere(pid: int) -> str:
    """The same from psutil, where there is no /proc; "0" where there is no such process."""
    try:
        return str(round(100 * psutil.Process(pid).create_time()))
    except psutil.Error:
        return "0"


def processes() -> str:
    """Names the process numbers that this process sees: containers may have their own. "": those of the host."""
    try:
        inode = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return "" if inode == HOSTS_OWN else str(inode)


def _host() -> str:
    own = processes()
    return socket.gethostname().replace("-", "_") + (f"+{own}" if own else "")


def clear_stale(root: Path) -> None:
    """Remove folders in work/ whose workers are no more; what no worker has made stays."""
    for folder in (root / "work").glob("tmp-*"):
        if _MADE.fullmatch(folder.name) and not is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
