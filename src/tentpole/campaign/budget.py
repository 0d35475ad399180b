"""The budget: used, left, and how far it will carry at the rate of the last rounds, which is an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tentpole.campaign.usage import Usage
from tentpole.units import duration

RECENT = 3
"""Rounds of exploration that the rate is taken from, at most."""
UNITS = {"labels": "labels", "rounds": "rounds", "hours": "hours", "core_hours": "core-hours"}


@dataclass(frozen=True, slots=True)
class BudgetProjection:
    """How many more labels, rounds, hours and core-hours until the first limit, at the rate of the last rounds."""

    labels: float
    rounds: float
    hours: float
    core_hours: float
    ends_on: str
    over_rounds: int
    words: str

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`."""
        return {**asdict(self), "estimate": True}


@dataclass(frozen=True, slots=True)
class Budget:
    """What is used and left of each limit (None: no limit), core-seconds per phase, and the same in words.

    projected : None before the first round of exploration is done, or without a limit.
    """

    used: Mapping[str, float]
    limit: Mapping[str, float | None]
    left: Mapping[str, float | None]
    core_seconds: Mapping[str, float]
    projected: BudgetProjection | None

    @property
    def words(self) -> tuple[str, ...]:
        """A line for what is used and left, and one for the estimate where there is one."""
        return (self._standing(), *(() if self.projected is None else (self.projected.words,)))

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`."""
        return {
            "used": dict(self.used),
            "limit": dict(self.limit),
            "left": dict(self.left),
            "core_seconds": {phase: round(value, 3) for phase, value in self.core_seconds.items()},
            "projected": None if self.projected is None else self.projected.to_json(),
            "words": list(self.words),
        }

    def _standing(self) -> str:
        parts = []
        for unit, name in UNITS.items():
            limit, left = self.limit[unit], self.left[unit]
            of = "" if limit is None or left is None else f" of {_plain(unit, limit)}, {_plain(unit, left)} left"
            parts.append(f"{_amount(unit, name, self.used[unit])} used{of}")
        return "; ".join(parts)


def budget(
    limits: Mapping[str, float | None], labels: Sequence[int], done: int, usage: Usage, running: Mapping[str, float]
) -> Budget:
    """The budget of a campaign.

    labels : accepted labels of each round from round 0; done : how many of those rounds are done; running :
    core-seconds per phase that the journal does not know of yet.
    """
    seconds = dict(usage.core_seconds)
    for phase, value in running.items():
        seconds[phase] = seconds.get(phase, 0.0) + value
    used = {
        "labels": sum(labels),
        "rounds": max(0, done - 1),
        "hours": usage.hours,
        "core_hours": sum(seconds.values()) / 3600,
    }
    limit = {unit: limits.get(unit) for unit in UNITS}
    left = {unit: None if value is None else max(0, value - used[unit]) for unit, value in limit.items()}
    return Budget(used, limit, left, seconds, _projected(left, labels, usage))


def _plain(unit: str, value: float) -> str:
    """A number of labels or rounds, or a time."""
    return duration(3600 * value) if unit in ("hours", "core_hours") else f"{value:.0f}"


def _amount(unit: str, name: str, value: float) -> str:
    times = {"hours": "", "core_hours": " of cores"}
    return f"{_plain(unit, value)}{times[unit]}" if unit in times else f"{value:.0f} {name}"


def _projected(left: Mapping[str, float | None], labels: Sequence[int], usage: Usage) -> BudgetProjection | None:
    ends = usage.round_ends
    last = max(ends, default=0)
    first = max(0, last - RECENT)
    if last == first or first not in ends:
        return None
    span = last - first
    rate = {
        "labels": sum(labels[first + 1 : last + 1]) / span,
        "rounds": 1.0,
        "hours": (ends[last][0] - ends[first][0]) / span,
        "core_hours": (ends[last][1] - ends[first][1]) / 3600 / span,
    }
    lasts = {unit: value / rate[unit] for unit, value in left.items() if value is not None and rate[unit] > 0}
    if not lasts:
        return None
    soonest = min(lasts, key=lambda unit: lasts[unit])
    more = {unit: lasts[soonest] * rate[unit] for unit in UNITS}
    return BudgetProjection(
        **more, ends_on=soonest, over_rounds=span, words=_words(more, soonest, lasts[soonest], span)
    )


def _words(more: Mapping[str, float], soonest: str, rounds: float, span: int) -> str:
    if rounds <= 0:
        return f"The limit of {UNITS[soonest]} is reached"
    amounts = ", ".join(_amount(unit, name, more[unit]) for unit, name in UNITS.items())
    return (
        f"Estimate, at the rate of the last {span} round{'s' if span > 1 else ''}: "
        f"{amounts} more until the limit of {UNITS[soonest]} ends it"
    )
