"""Where the time went, from the journal: monotonic seconds per driver, added up over restarts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PHASES = ("md", "scoring", "labelling", "training")


def hours_used(events: Iterable[dict[str, Any]]) -> float:
    """Hours that drivers have worked on the campaign, restarts added up."""
    return sum(_spans(events)) / 3600


def shares(events: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds per phase; "engine" is what none of them claims."""
    seconds = dict.fromkeys(PHASES, 0.0)
    for event in events:
        if event["event"] == "phase":
            seconds[event["phase"]] = seconds.get(event["phase"], 0.0) + float(event["seconds"])
    return {**seconds, "engine": max(0.0, sum(_spans(events)) - sum(seconds.values()))}


def _spans(events: Iterable[dict[str, Any]]) -> list[float]:
    """For each driver the time of its last event since it began."""
    spans: list[float] = []
    for event in events:
        if event["event"] == "opened" or not spans:
            spans.append(0.0)
        spans[-1] = max(spans[-1], float(event["elapsed_s"]))
    return spans
