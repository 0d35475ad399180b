"""What a campaign has used so far, kept by its driver: hours, and core-seconds per phase.

All is in the journal, so that a restart goes on counting. What was under way when a driver or a worker was killed is
found in its meter's file, or in the folder of its label, and joins the journal when the next driver opens.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tentpole.campaign.usage import DRIVER, core_seconds, hours_used, of_event
from tentpole.execution.metering import SPENT, readings
from tentpole.execution.ownership import lives, used
from tentpole.records import Label
from tentpole.storage.journal import Journal, read
from tentpole.storage.labels import label_files, read_label


class Ledger:
    """Opened once per driver, after its "opened" event. Nothing is counted twice: each note has an id."""

    def __init__(self, root: Path, journal: Journal) -> None:
        self._root, self._journal = root, journal
        events = read(root / "journal.jsonl")
        self.driver = f"{DRIVER}{sum(event['event'] == 'opened' for event in events)}"
        self._ids = _ids(events)
        self._labels = {event["name"] for event in events if event["event"] == "label"}
        self._used = core_seconds(events)
        for path in label_files(root):  # written by its worker, the driver killed before it could say so
            if path.stem not in self._labels:
                self.label(read_label(path))
        self._take({folder.name: {"labelling": used(folder)} for folder in _cut_off(root)})
        self.collect()
        self._before, self._began = hours_used(read(root / "journal.jsonl")), time.monotonic()

    @property
    def hours(self) -> float:
        """Hours that drivers have worked, this one included."""
        return self._before + (time.monotonic() - self._began) / 3600

    @property
    def core_hours(self) -> float:
        """Core-hours of all workers, running ones included."""
        self.collect()
        running = readings(self._root, ended=False).values()
        return (sum(self._used.values()) + sum(value for r in running for value in _of_workers(r).values())) / 3600

    def label(self, label: Label) -> None:
        """Count a label, once, by what its worker wrote into it."""
        if label.name not in self._labels:
            seconds = float(label.details.get("seconds", 0.0))
            core_s = float(label.details.get("core_s", seconds))
            self._labels.add(label.name)
            self._note("label", echo=True, name=label.name, seconds=seconds, core_s=core_s)

    def computed(self, name: str, seconds: float, core_s: float) -> None:
        """Count a label by what its worker told: all attempts at it."""
        if name not in self._labels:
            self._labels.add(name)
            self._note("label", echo=True, name=name, seconds=seconds, core_s=core_s)

    def failed(self, name: str, reason: str, core_s: float) -> None:
        """Count what went into a structure that got no label."""
        self._note("label failed", name=name, reason=reason, core_s=core_s)

    def collect(self) -> None:
        """Take the notes of jobs that have ended into the journal."""
        self._take(readings(self._root, ended=True))
        for path in (self._root / SPENT).glob("*"):
            if path.name in self._ids:
                with suppress(OSError):  # taken already: it may lie there
                    path.unlink()

    def _take(self, found: dict[str, dict[str, float]]) -> None:
        new = {id: reading for id, reading in found.items() if id not in self._ids}
        total: dict[str, float] = {}
        for reading in new.values():
            for phase, seconds in reading.items():
                total[phase] = round(total.get(phase, 0.0) + seconds, 6)
        if total:
            self._ids |= set(new)
            self._note("spent", core_s=total, ids=sorted(new))

    def _note(self, event: str, *, echo: bool = False, **facts: Any) -> None:
        self._journal.append(event, echo=echo, **facts)
        for phase, seconds in of_event({"event": event, **facts}).items():
            self._used[phase] = self._used.get(phase, 0.0) + seconds


def unwritten(root: Path) -> dict[str, float]:
    """Core-seconds per phase of jobs that run, or that have ended and are not in the journal yet."""
    noted = _ids(read(root / "journal.jsonl"))
    total: dict[str, float] = {}
    for id, reading in (readings(root, ended=False) | readings(root, ended=True)).items():
        for phase, seconds in _of_workers(reading).items() if id not in noted else ():
            total[phase] = total.get(phase, 0.0) + seconds
    return total


def _of_workers(reading: dict[str, float]) -> dict[str, float]:
    return {phase: seconds for phase, seconds in reading.items() if not phase.startswith(DRIVER)}


def _ids(events: Iterable[dict[str, Any]]) -> set[str]:
    return {id for event in events if event["event"] == "spent" for id in event["ids"]}


def _cut_off(root: Path) -> list[Path]:
    """Attempts at a label whose worker is no more, and which no driver has heard of."""
    work = root / "work"
    return [*work.glob("failed-*"), *(folder for folder in work.glob("tmp-*") if not lives(folder))]
