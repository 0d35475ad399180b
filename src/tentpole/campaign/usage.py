"""Where the time went, from the journal: monotonic seconds per driver and core-seconds of the workers, added up
over restarts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PHASES = ("md", "scoring", "labelling", "training")
DRIVER = "driver."
"""The driver's own meter, with its number: how long a killed driver has lived. No core-seconds of workers."""


def hours_used(events: Iterable[dict[str, Any]]) -> float:
    """Hours that drivers have worked on the campaign, restarts added up."""
    return sum(_spans(events)) / 3600


def core_seconds(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Seconds × cores that workers have used per phase, restarts and what was done in vain included."""
    used = dict.fromkeys(PHASES, 0.0)
    for event in events:
        for phase, seconds in of_event(event).items():
            used[phase] = used.get(phase, 0.0) + seconds
    return used


def of_event(event: dict[str, Any]) -> dict[str, float]:
    """The core-seconds that one event tells of."""
    if event["event"] == "spent":
        return {phase: float(value) for phase, value in event["core_s"].items() if not phase.startswith(DRIVER)}
    if event["event"] in ("label", "label failed"):
        return {"labelling": float(event.get("core_s", event.get("seconds", 0.0)))}
    return {}


def shares(events: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds per phase that the driver waited for it; "engine" is what none of them claims."""
    seconds = dict.fromkeys(PHASES, 0.0)
    for event in events:
        if event["event"] == "phase":
            seconds[event["phase"]] = seconds.get(event["phase"], 0.0) + float(event["seconds"])
    return {**seconds, "engine": max(0.0, sum(_spans(events)) - sum(seconds.values()))}


def _spans(events: Iterable[dict[str, Any]]) -> list[float]:
    """For each driver the time of its last event since it began, or of its last sign of life."""
    spans: list[float] = []
    for event in events:
        if event["event"] == "opened" or not spans:
            spans.append(0.0)
        spans[-1] = max(spans[-1], float(event["elapsed_s"]))
        for name, seconds in event.get("core_s", {}).items() if event["event"] == "spent" else ():
            if name.startswith(DRIVER):
                number = int(name.removeprefix(DRIVER)) - 1
                spans[number] = max(spans[number], float(seconds))
    return spans
