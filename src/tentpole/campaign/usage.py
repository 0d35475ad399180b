"""What a campaign has used, from its journal: hours of drivers, core-seconds of workers, waits per phase.

All figures add up over restarts. One pass over the events gives them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

PHASES = ("md", "scoring", "labelling", "training")
DRIVER = "driver."
"""The driver's own meter, with its number: how long a killed driver has lived. No core-seconds of workers."""

_DRIVER_NOTE = re.compile(r"-driver\.(\d+)_")


class Usage:
    """The sum of journal events. `add` takes one more.

    core_seconds : seconds × cores of the workers per phase, what was done in vain included.
    waits : seconds per phase that the driver waited for; waits_per_round : the same for each round from round 0.
    round_ends : (hours, core-seconds) used when a round was done. counted : ids of the meters' notes in the journal.
    finishing : seconds of the waits for training that a finishing training took, by round.
    labels, failures : names whose cost is in the journal. driver : number of the newest driver, 0 for none.
    """

    def __init__(self, events: Iterable[Mapping[str, Any]] = ()) -> None:
        self.core_seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.waits: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.waits_per_round: list[dict[str, float]] = [{}]
        self.round_ends: dict[int, tuple[float, float]] = {}
        self.finishing: dict[int, float] = {}
        self.counted: set[str] = set()
        self.labels: set[str] = set()
        self.failures: set[str] = set()
        self.driver = 0
        self._spans: dict[int, float] = {}
        self._highest = 0
        self._round = 0
        self._trained_s = 0.0  # the newest wait for a training
        for event in events:
            self.add(event)

    def to_json(self) -> dict[str, Any]:
        """All of it, for a file; tables as pairs, whose order stays."""
        return {
            "core_seconds": list(self.core_seconds.items()),
            "waits": list(self.waits.items()),
            "waits_per_round": [list(one.items()) for one in self.waits_per_round],
            "round_ends": [[number, *used] for number, used in self.round_ends.items()],
            "finishing": list(self.finishing.items()),
            "trained_s": self._trained_s,
            "counted": sorted(self.counted),
            "labels": sorted(self.labels),
            "failures": sorted(self.failures),
            "driver": self.driver,
            "spans": list(self._spans.items()),
            "highest": self._highest,
            "round": self._round,
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Usage:
        """As `to_json` wrote it."""
        usage = Usage()
        usage.core_seconds, usage.waits = dict(content["core_seconds"]), dict(content["waits"])
        usage.waits_per_round = [dict(one) for one in content["waits_per_round"]]
        usage.round_ends = {number: (hours, core_s) for number, hours, core_s in content["round_ends"]}
        usage.counted, usage.labels = set(content["counted"]), set(content["labels"])
        usage.failures = set(content["failures"])
        usage.driver, usage._highest, usage._round = content["driver"], content["highest"], content["round"]
        usage._spans = dict(content["spans"])
        usage.finishing, usage._trained_s = dict(content["finishing"]), content["trained_s"]
        return usage

    @property
    def hours(self) -> float:
        """Hours that drivers have worked: of each the time of its last event, or of its last note of its own."""
        return sum(self._spans.values()) / 3600

    @property
    def highest_driver(self) -> int:
        """The highest number of a driver that the journal knows of; journals of several copies may know others."""
        return self._highest

    @property
    def shares(self) -> dict[str, float]:
        """Seconds per phase that the driver waited for it; "engine" is what none of them claims."""
        return {**self.waits, "engine": max(0.0, 3600 * self.hours - sum(self.waits.values()))}

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        kind = event["event"]
        if kind == "opened":
            self.driver = int(event.get("driver", self.driver + 1))
        self.driver = max(self.driver, 1)
        self._live(self.driver, float(event["elapsed_s"]))
        for phase, seconds in core_seconds_of(event).items():
            self.core_seconds[phase] = self.core_seconds.get(phase, 0.0) + seconds
        if kind == "spent":
            self._spent(event)
        elif kind == "phase":
            self._wait(event)
        elif kind == "finishing training":
            number = int(event["round"])
            self.finishing[number] = self.finishing.get(number, 0.0) + self._trained_s
        elif kind == "label":
            self.labels.add(event["name"])
        elif kind == "label failed":
            self.failures.add(event["name"])
        elif kind == "retracted":
            self.labels.discard(event["name"])
            self.failures.discard(event["name"])
        elif kind == "round done":
            self._round = int(event["round"]) + 1
            self.round_ends[int(event["round"])] = (self.hours, sum(self.core_seconds.values()))

    def _live(self, driver: int, seconds: float) -> None:
        self._spans[driver] = max(self._spans.get(driver, 0.0), seconds)
        self._highest = max(self._highest, driver)

    def _spent(self, event: Mapping[str, Any]) -> None:
        self.counted |= set(event["ids"])
        for name, seconds in event["core_s"].items():
            if name.startswith(DRIVER):
                self._live(int(name.removeprefix(DRIVER)), float(seconds))

    def _wait(self, event: Mapping[str, Any]) -> None:
        phase, seconds = event["phase"], float(event["seconds"])
        self.waits[phase] = self.waits.get(phase, 0.0) + seconds
        if phase == "training":
            self._trained_s = seconds
        given = event.get("round")
        place = self._round if given is None else int(given)  # labelling names no round
        self.waits_per_round += [{} for _ in range(place + 1 - len(self.waits_per_round))]
        per_round = self.waits_per_round[place]
        per_round[phase] = per_round.get(phase, 0.0) + seconds


def core_seconds_of(event: Mapping[str, Any]) -> dict[str, float]:
    """The core-seconds of workers that one event tells of."""
    if event["event"] == "spent":
        return {phase: float(value) for phase, value in event["core_s"].items() if not phase.startswith(DRIVER)}
    if event["event"] in ("label", "label failed"):
        return {"labelling": float(event.get("core_s", event.get("seconds", 0.0)))}
    return {}


def driver_of_note(name: str) -> int:
    """The number of the driver whose meter's file is called `name`; 0 for other files."""
    match = _DRIVER_NOTE.search(name)
    return int(match[1]) if match else 0
