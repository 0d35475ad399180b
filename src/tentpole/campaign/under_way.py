"""What a campaign is at, read from its folder while its driver works: the phase, and how much of it is done."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tentpole.campaign.batches import pending
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.state import RoundState
from tentpole.campaign.walkers import walkers_in
from tentpole.config.schema import CampaignConfig


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The step that comes next, or runs.

    Parameters
    ----------
    round : int
        Of the step.
    phase : str
        "MD", "MD for the final look", "labels", "training" or "judging".
    done, total : float
        Units of it that are done, and all: steps of MD, labels, members. total 0 where there is nothing to count.
    """

    round: int
    phase: str
    done: float
    total: float

    @property
    def share(self) -> float | None:
        """Of the phase that is done; None where that cannot be told."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def words(self) -> str:
        """As in "round 3, training 41 %"."""
        share = "" if self.share is None else f" {self.share:.0%}".replace("%", " %")
        return f"round {self.round}, {self.phase}{share}"

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`."""
        return {**asdict(self), "share": self.share}


def under_way(state: RoundState, config: CampaignConfig) -> UnderWay:
    """The step that comes next, or runs, in the folder of `state`; reads a few small files and locks nothing."""
    number = state.current
    open_ones = [name for name in state.names(number) if not state.is_closed(name)]
    decided = [name for name in open_ones if state.is_decided(name)]
    if decided:
        asked = sum(state.batch(name).asked for name in decided)
        left = sum(len(pending(state.paths, state.batch(name))) for name in decided)
        return UnderWay(number, "labels", asked - left, asked)
    if open_ones and number == 0:
        return UnderWay(number, "initial structures", 0, 0)
    if open_ones:
        walkers = [walker.id for walker in walkers_in(state, config, number)]
        if state.paths.goes_farther(number):
            return UnderWay(number, "MD for the final look", 0, 0)
        done = sum(_steps_done(state.paths, number, walker, config.explore.steps) for walker in walkers)
        return UnderWay(number, "MD", done, config.explore.steps * len(walkers))
    if not state.is_trained(number):
        members = 1 if config.committee.kind == "shallow" else config.committee.members
        return UnderWay(number, "training", _trained(state.paths.models(number), members), members)
    return UnderWay(number, "judging", 0, 0)


def _steps_done(paths: CampaignPaths, number: int, walker: str, steps: int) -> int:
    if paths.shard(number, walker).exists():
        return steps
    with suppress(OSError, ValueError):
        return min(steps, int(paths.steps_done(walker).read_text(encoding="utf-8")))
    return 0


def _trained(folder: Path, members: int) -> float:
    from tentpole.training.reports import read_progress

    done = 0.0
    for member in range(members):
        if (folder / f"member-{member}.json").exists():
            done += 1.0
        elif (come := read_progress(folder / f"member-{member}.log")) is not None:
            done += min(1.0, come[0] / max(1, come[1]))
    return done
