"""What a campaign has used so far, kept by its driver: hours, and core-seconds per phase.

All is in the journal, so that a restart goes on counting. What was under way when a driver or a worker was killed is
found in its meter's file, or in the folder of its label, and joins the journal when the next driver opens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.usage import DRIVER, Usage, driver_of_note
from tentpole.execution.metering import readings
from tentpole.execution.ownership import is_in_use, used
from tentpole.records import Label
from tentpole.storage.journal import Journal
from tentpole.storage.labels import label_names, read_label


class Ledger:
    """Opened once per driver: writes its "opened" event, with `facts`, and takes in what the last one left.

    `usage` is what the journal told before. Nothing is counted twice: each note has an id, each label its name.
    """

    def __init__(self, paths: CampaignPaths, journal: Journal, usage: Usage, **facts: Any) -> None:
        self._paths, self._journal, self._usage = paths, journal, usage
        notes = [driver_of_note(path.name) for path in paths.spent.glob("*")]
        number = max([usage.highest_driver, *notes]) + 1
        self.driver = f"{DRIVER}{number}"
        self._before, self._began = 0.0, time.monotonic()
        self._note("opened", version=1, driver=number, **facts)
        self._take_in_labels()
        self._take({folder.name: {"labelling": used(folder)} for folder in _cut_off(paths)})
        self.collect()
        self._before, self._began = usage.hours, time.monotonic()

    @property
    def hours(self) -> float:
        """Hours that drivers have worked, this one included."""
        return self._before + (time.monotonic() - self._began) / 3600

    @property
    def core_hours(self) -> float:
        """Core-hours of all workers, running ones included."""
        self.collect()
        running = readings(self._paths.root, ended=False).values()
        now = sum(value for reading in running for value in _of_workers(reading).values())
        return (sum(self._usage.core_seconds.values()) + now) / 3600

    def label(self, label: Label) -> None:
        """Count a label, once, by what its worker wrote into it."""
        if label.name not in self._usage.labels:
            seconds = float(label.details.get("seconds", 0.0))
            core_s = float(label.details.get("core_s", seconds))
            self._note("label", echo=True, name=label.name, seconds=seconds, core_s=core_s)

    def computed(self, name: str, seconds: float, core_s: float) -> None:
        """Count a label by what its worker told: all attempts at it."""
        if name not in self._usage.labels:
            self._note("label", echo=True, name=name, seconds=seconds, core_s=core_s)

    def failed(self, name: str, reason: str, core_s: float) -> None:
        """Count what went into a structure that got no label."""
        self._note("label failed", name=name, reason=reason, core_s=core_s)

    def retracted(self, name: str) -> None:
        """Note that an answer was taken back; what the next one costs is counted too."""
        self._note("retracted", name=name)

    def phase(self, phase: str, seconds: float, number: int | None) -> None:
        """Note that the driver waited so long for a phase; see usage.py."""
        self._note("phase", phase=phase, round=number, seconds=float(f"{seconds:.3f}"))

    def round_done(self, number: int) -> None:
        """Note the end of a round, with what was used until then."""
        self._note("round done", round=number)
        self._usage.round_ends[number] = (self.hours, 3600 * self.core_hours)

    @property
    def usage(self) -> Usage:
        """What was used up to now."""
        return self._usage

    def collect(self) -> None:
        """Take the notes of jobs that have ended into the journal."""
        self._take(readings(self._paths.root, ended=True))
        for path in self._paths.spent.glob("*"):
            if path.name in self._usage.counted:
                with suppress(OSError):  # taken already: it may lie there
                    path.unlink()

    def _take_in_labels(self) -> None:
        """Count labels that were written by their workers, the driver killed before it could say so.

        A label of other physics than was asked for, which a retry gave, was counted when it was refused: as a failure
        of the same structure under the campaign's own reference.
        """
        refused = {name.partition("-")[0]: name for name in self._usage.failures}
        for name in sorted(label_names(self._paths.root) - self._usage.labels):
            if refused.get(name.partition("-")[0], name) == name:
                self.label(read_label(self._paths.label(name)))

    def _take(self, seconds_of: Mapping[str, Mapping[str, float]]) -> None:
        new = {name: reading for name, reading in seconds_of.items() if name not in self._usage.counted}
        total: dict[str, float] = {}
        for reading in new.values():
            for phase, seconds in reading.items():
                total[phase] = round(total.get(phase, 0.0) + seconds, 6)
        if total:
            self._note("spent", core_s=total, ids=sorted(new))

    def _note(self, event: str, *, echo: bool = False, **facts: Any) -> None:
        self._journal.append(event, echo=echo, **facts)
        self._usage.add({"event": event, "elapsed_s": 0.0, **facts})


def unwritten(paths: CampaignPaths, counted: set[str]) -> dict[str, float]:
    """Core-seconds per phase of jobs that run, or that have ended and are not in the journal (`counted`) yet."""
    total: dict[str, float] = {}
    for name, reading in (readings(paths.root, ended=False) | readings(paths.root, ended=True)).items():
        for phase, seconds in _of_workers(reading).items() if name not in counted else ():
            total[phase] = total.get(phase, 0.0) + seconds
    return total


def _of_workers(reading: Mapping[str, float]) -> dict[str, float]:
    return {phase: seconds for phase, seconds in reading.items() if not phase.startswith(DRIVER)}


def _cut_off(paths: CampaignPaths) -> list[Path]:
    """Attempts at a label whose worker is no more, and which no driver has heard of."""
    return [*paths.work.glob("failed-*"), *(folder for folder in paths.work.glob("tmp-*") if not is_in_use(folder))]
