"""How long the next round and the campaign will take, from what the last rounds took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tentpole.campaign.state import RoundState
from tentpole.campaign.usage import Usage
from tentpole.config.checks import can_finish
from tentpole.config.schema import CampaignConfig
from tentpole.training.schedule import most_updates
from tentpole.units import duration


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds of wall time.

    Parameters
    ----------
    round : int
        The round that is next, or under way.
    round_s : float
        That the whole of it takes.
    rounds : int, optional
        Rounds until the first limit; None without a limit on rounds or labels.
    rest_s : float, optional
        From the beginning of that round to the last limit, with a last training to the plateau, at its longest, where
        the campaign file has one; a verdict may come earlier.
    """

    round: int
    round_s: float
    rounds: int | None = None
    rest_s: float | None = None

    @property
    def words(self) -> str:
        """Both in words."""
        said = f"round {self.round}: about {duration(self.round_s)}"
        if self.rest_s is None:
            return said
        left = "the last one" if self.rounds == 1 else f"{self.rounds} rounds until a limit"
        return f"{said}; {left}, about {duration(self.rest_s)} in all unless a verdict comes earlier"

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`."""
        return asdict(self)


def forecast(
    state: RoundState, config: CampaignConfig, usage: Usage, *, finishing: bool = False, look: int = 0
) -> Forecast | None:
    """For the round that is under way, by the last one that was explored and no final look; None before one is done.

    finishing : it begins with a training to the plateau. look : it is a final look at so many audit frames, for which
    walkers go as much farther as it has more of them than other rounds, or more.
    """
    number = state.current
    told = range(min(number, len(usage.waits_per_round)) - 1, 0, -1)
    last = next((k for k in told if not state.record(k).facts.final_look), 0)
    if last < 1:
        return None
    took = {**usage.waits_per_round[last]}
    took["training"] = max(0.0, took.get("training", 0.0) - usage.finishing.get(last, 0.0))
    asked, overhead = max(1, len(state.record(last).frames)), _overhead(usage, last)
    labels, batch = state.count(number - 1), config.selection.batch
    settings, warm = config.training.build(), config.training.warm_start
    before = settings.updates_of(max(1, labels), warm=warm)
    left = _rounds_left(config, number - 1, labels)
    more = [settings.updates_of(labels + (n + 1) * batch, warm=warm) / before for n in range(left or 1)]
    cost = [_seconds(took, overhead, batch / asked, training) for training in more]

    def plateau(known: int) -> float:
        most = most_updates(settings.updates_of(known, warm=False), settings.max_updates)
        return took["training"] * most / before

    if look:
        farther = max(1.0, look / config.selection.audits)
        moved = {phase: (farther if phase in ("md", "scoring") else 1.0) * took[phase] for phase in took}
        cost[0] = _seconds(moved, overhead, look / asked, more[0])
    cost[0] += plateau(labels) if finishing else 0.0
    if left is None:
        return Forecast(number, cost[0])
    end = plateau(labels + len(cost) * batch) if can_finish(config) else 0.0
    return Forecast(number, cost[0], len(cost), sum(cost) + end)


def _seconds(took: Mapping[str, float], overhead: float, labels: float, training: float) -> float:
    """A round like the last one, with so many times its labels and its training."""
    factor = {"labelling": labels, "training": training}
    return overhead + sum(factor.get(phase, 1.0) * seconds for phase, seconds in took.items())


def _overhead(usage: Usage, last: int) -> float:
    """What the last round took beside its phases: fingerprints, files.

    The first round that is explored does not tell: it pays for what starts and is compiled once. Nor does a finishing
    training count, which the next round begins with or a driver that goes on.
    """
    ends = usage.round_ends
    if last < 2 or last not in ends or last - 1 not in ends:
        return 0.0
    whole = 3600 * (ends[last][0] - ends[last - 1][0]) - usage.finishing.get(last - 1, 0.0)
    inside = sum(usage.waits_per_round[last].values()) - usage.finishing.get(last, 0.0)
    return max(0.0, whole - inside)


def _rounds_left(config: CampaignConfig, done: int, labels: int) -> int | None:
    limits: Sequence[float] = [
        *([config.stop.rounds - done] if config.stop.rounds is not None else []),
        *([(config.stop.labels - labels) / config.selection.batch] if config.stop.labels is not None else []),
    ]
    return max(1, math.ceil(min(limits))) if limits else None
