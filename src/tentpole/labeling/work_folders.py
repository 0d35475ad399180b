"""The folders in work/ where labels are computed: whose they are, and what becomes of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tentpole.storage.labels import quarantine

if TYPE_CHECKING:
    from tentpole.labeling.tasks import Task

from tentpole.execution.ownership import own_folder

KEPT_BYTES = 1_000_000  # of each output file in quarantine: its end
SKIPPED_BYTES = 50_000_000  # larger files are densities and wavefunctions, not output


def work_folder(task: Task) -> Path:
    """Where this process computes this label: named by label, host and pid, so that leftovers can be told."""
    return own_folder(task.root / "work", task.name)


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
    quarantine(task.root, task.name, reason, message, task.atoms, output)
    clear(task)


def clear(task: Task) -> None:
    """Remove what earlier attempts at this task left in work/."""
    for folder in (task.root / "work").glob(f"*-{task.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)
