"""The folders in work/ where labels are computed: whose they are, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tentpole import store

if TYPE_CHECKING:
    from tentpole.labeling.labeler import Task

SILENT_S = 60.0  # a worker elsewhere whose folder shows no beat for this long is taken for dead
KEPT_BYTES = 1_000_000  # of each output file in quarantine: its end
SKIPPED_BYTES = 50_000_000  # larger files are densities and wavefunctions, not output


def work_folder(task: Task) -> Path:
    """Where this process computes this label: named by label, host and pid, so that leftovers can be told."""
    return own_folder(task.root / "work", task.name)


def own_folder(place: Path, name: str, pid: int | None = None) -> Path:
    """A folder in `place` that is removed by `clear_stale` once process `pid` (None: this one) is no more.

    Its name tells the host, when the process began, and its pid: a pid alone is given to another sooner or later.
    """
    pid = pid or os.getpid()
    return place / f"tmp-{name}-{_host()}.{_birth(pid)}-{pid}"


def fail(task: Task, reason: str, message: str) -> None:
    """Put what is in work/ of this task, from any worker, where failures go."""
    folders = sorted((task.root / "work").glob(f"*-{task.name}-*"))
    if not task.last:
        for number, folder in enumerate(folders):
            if folder.name.startswith("tmp-"):
                folder.rename(folder.with_name(f"failed-{task.name}-{number}-{time.time_ns()}"))
        return
    output: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if path.stat().st_size <= SKIPPED_BYTES:
                unique = f"{len(output)}-{path.name}" if path.name in output else path.name
                output[unique] = path.read_bytes()[-KEPT_BYTES:]
    store.quarantine(task.root, task.name, reason, message, task.atoms, output)
    clear(task)


def clear(task: Task) -> None:
    """Remove what earlier attempts at this task left in work/."""
    for folder in (task.root / "work").glob(f"*-{task.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)


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
