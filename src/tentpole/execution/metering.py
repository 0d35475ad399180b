"""What a job uses, in core-seconds, written down while it runs: what a killed process has used stays known.

Each job has a small file of its own in spent/. The driver takes it into the journal once the job has ended, or
once its process is no more; see ledger.py.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tentpole.execution.ownership import is_in_use, own_folder

T = TypeVar("T")
SPENT = "spent"
BEAT_S = 5.0
"""Between two notes of a running job: at most so much of a killed one is forgotten."""


class Meter:
    """One running job. `exactly`, once set, replaces what the clock says."""

    def __init__(self, phase: str, cores: int) -> None:
        self.exactly: float | None = None
        self._shares = {phase: 1.0}
        self._cores, self._began = cores, time.monotonic()

    def divide(self, **seconds: float) -> None:
        """Divide the job's time among phases in proportion to these seconds."""
        total = sum(seconds.values())
        if total > 0:
            self._shares = {phase: value / total for phase, value in seconds.items()}

    def reading(self) -> dict[str, float]:
        """Core-seconds so far, per phase."""
        used = self.exactly
        if used is None:
            used = self._cores * (time.monotonic() - self._began)
        return {phase: round(share * used, 6) for phase, share in self._shares.items()}


@contextmanager
def metered(root: Path, phase: str, cores: int = 1) -> Iterator[Meter]:
    """Count seconds × `cores` of the block as spent on `phase` of the campaign in `root`.

    A disk that takes nothing costs the note, not the job: the job's own files will tell of it.
    """
    meter, ended = Meter(phase, cores), threading.Event()
    path = own_folder(root / SPENT, f"{phase}_{time.time_ns()}")

    def note() -> None:
        with suppress(OSError):
            beside = path.with_name(f".{path.name}.part")
            beside.write_text(json.dumps(meter.reading()), encoding="utf-8")
            beside.replace(path)

    def beat() -> None:
        while not ended.wait(BEAT_S):
            note()

    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
    note()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        ended.set()
        thread.join()
        note()
        with suppress(OSError):
            path.rename(path.with_name(path.name.replace("tmp-", "done-", 1)))


def measured(root: Path, phase: str, function: Callable[..., T], *arguments: object) -> T:
    """The call, counted on one core."""
    with metered(root, phase):
        return function(*arguments)


def readings(root: Path, *, ended: bool) -> dict[str, dict[str, float]]:
    """Core-seconds per phase by file: of jobs that have ended or whose process is no more, or of those that run.

    A file that no job has written, or that a power cut tore, counts nothing.
    """
    seconds_of = {}
    for path in sorted((root / SPENT).glob("[dt]*-*")):
        over = path.name.startswith("done-") or not is_in_use(path)
        if over == ended:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                content = json.loads(path.read_text(encoding="utf-8"))
                reading = {phase: float(value) for phase, value in content.items()}
                if all(0.0 <= value < math.inf for value in reading.values()):
                    seconds_of[path.name] = reading
    return seconds_of
