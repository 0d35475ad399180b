"""The folders in work/ where labels are computed: whose they are, and what becomes of them."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tentpole.errors import StateError
from tentpole.execution.ownership import own_folder
from tentpole.storage.labels import quarantine

if TYPE_CHECKING:
    from tentpole.labeling.tasks import Task

BEGUN = ".begun"
"""An empty file in a work folder: it goes when the folder goes, and does not come back with it."""
KEPT_BYTES = 1_000_000  # of each output file in quarantine: its end
SKIPPED_BYTES = 50_000_000  # larger files are densities and wavefunctions, not output


def work_folder(task: Task) -> Path:
    """Where this process computes this label: named by label, host and pid, so that leftovers can be told."""
    return own_folder(task.root / "work", task.name)


def begin(task: Task) -> Path:
    """Make the work folder of this process for this label, and not the campaign folder above it where that is given."""
    folder = work_folder(task)
    if task.root_exists:
        folder.parent.mkdir(exist_ok=True)
    folder.mkdir(parents=not task.root_exists)
    (folder / BEGUN).touch()
    return folder


def refuse_removed(task: Task, folder: Path) -> None:
    """Raises StateError where the work folder is no longer the one that `begin` made.

    Calculators make the folder that they write to where it is not there, the campaign folder above it included: of a
    campaign that was moved or removed meanwhile, what they made is taken away again, and nothing is written.
    """
    if (folder / BEGUN).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for place in (folder.parent, task.root):
        with suppress(OSError):  # not empty: no calculator has made it
            place.rmdir()
    raise StateError(
        f"{task.root}: the folder was moved or removed while a label was computed. Nothing more is written. Go on "
        "where it is now."
    )


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
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != BEGUN):
            if path.stat().st_size <= SKIPPED_BYTES:
                unique = f"{len(output)}-{path.name}" if path.name in output else path.name
                output[unique] = path.read_bytes()[-KEPT_BYTES:]
    quarantine(task.root, task.name, reason, message, task.atoms, output)
    clear(task)


def clear(task: Task) -> None:
    """Remove what earlier attempts at this task left in work/."""
    for folder in (task.root / "work").glob(f"*-{task.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)
