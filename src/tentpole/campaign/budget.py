"""The budget: used, left, and how far it will carry at the rate of the last rounds, which is an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tentpole.campaign.ledger import unwritten
from tentpole.campaign.usage import core_seconds, hours_used
from tentpole.config.schema import CampaignConfig

RECENT = 3
"""Rounds of exploration that the rate is taken from, at most."""
UNITS = {"labels": "labels", "rounds": "rounds", "hours": "hours", "core_hours": "core-hours"}


def budget(root: Path, config: CampaignConfig, rounds: Sequence[dict[str, Any]], events: list[dict[str, Any]]) -> Any:
    """used, limit, left per unit (None: no limit); core_seconds per phase; `projected`, None before the first round of
    exploration is done; and the same in words. `rounds` as `summary.round_summary` gives them."""
    seconds = core_seconds(events)
    for phase, value in unwritten(root).items():
        seconds[phase] = seconds.get(phase, 0.0) + value
    used = {
        "labels": sum(r["labels"] for r in rounds),
        "rounds": sum(r["done"] for r in rounds[1:]),
        "hours": hours_used(events),
        "core_hours": sum(seconds.values()) / 3600,
    }
    limits = {unit: getattr(config.stop, unit) for unit in UNITS}
    left = {unit: None if limit is None else max(0, limit - used[unit]) for unit, limit in limits.items()}
    projected = _projected(left, _rate(rounds, events))
    return {
        "used": used,
        "limit": limits,
        "left": left,
        "core_seconds": {phase: round(value, 3) for phase, value in seconds.items()},
        "projected": projected,
        "words": [_standing(used, limits, left), *([] if projected is None else [projected["words"]])],
    }


def _rate(rounds: Sequence[dict[str, Any]], events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What one of the last rounds took, on average, from its end and the one before's in the journal."""
    ends = {int(e["round"]): i for i, e in enumerate(events) if e["event"] == "round done"}
    last = max(ends, default=0)
    first = max(0, last - RECENT)
    if last == first or first not in ends:
        return None
    before, after = events[: ends[first] + 1], events[: ends[last] + 1]
    span = last - first
    return {
        "over": span,
        "labels": sum(r["labels"] for r in rounds[first + 1 : last + 1]) / span,
        "rounds": 1.0,
        "hours": (hours_used(after) - hours_used(before)) / span,
        "core_hours": (sum(core_seconds(after).values()) - sum(core_seconds(before).values())) / 3600 / span,
    }


def _projected(left: dict[str, float | None], rate: dict[str, Any] | None) -> dict[str, Any] | None:
    """How many more rounds, labels, hours and core-hours until the first limit, at this rate."""
    if rate is None:
        return None
    lasts = {unit: left[unit] / rate[unit] for unit in UNITS if left[unit] is not None and rate[unit] > 0}  # type: ignore[operator]
    if not lasts:
        return None
    first = min(lasts, key=lambda unit: lasts[unit])
    more = {unit: lasts[first] * rate[unit] for unit in UNITS}
    said = ", ".join(f"{more[unit]:.3g} {name}" for unit, name in UNITS.items())
    words = (
        f"Estimate, at the rate of the last {rate['over']} round{'s' if rate['over'] > 1 else ''}: "
        f"{said} more until the limit of {UNITS[first]} ends it"
        if lasts[first] > 0
        else f"The limit of {UNITS[first]} is reached"
    )
    return {**more, "ends_on": first, "over_rounds": rate["over"], "estimate": True, "words": words}


def _standing(used: dict[str, float], limits: dict[str, Any], left: dict[str, float | None]) -> str:
    parts = []
    for unit, name in UNITS.items():
        of = "" if limits[unit] is None else f" of {limits[unit]:g}, {left[unit]:.3g} left"
        parts.append(f"{used[unit]:.3g} {name} used{of}")
    return "; ".join(parts)
