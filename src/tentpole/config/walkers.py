"""Which walkers a campaign's settings ask for, under which conditions, and which of them have their turn in a round."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tentpole.config.schema import CampaignConfig, ConditionSection
from tentpole.records import Condition


@dataclass(frozen=True, slots=True)
class PlannedWalker:
    """A walker that the settings ask for.

    Parameters
    ----------
    id : str
        Such as "w00".
    place : int
        Its place among all, which its random numbers come from.
    condition : Condition
        Structure, temperature and pressure, and the name of its ramp where it has one.
    ratio : float
        RMS bias force over RMS physical force.
    section : ConditionSection, optional
        What the campaign file says of its ramp, where it has one.
    stacked : bool
        Whether it is moved by the calculator of [explore.stacked].
    """

    id: str
    place: int
    condition: Condition
    ratio: float
    section: ConditionSection | None = None
    stacked: bool = False

    @property
    def unbiased(self) -> bool:
        """Whether nothing but the committee moves it."""
        return self.ratio == 0 and not self.stacked

    @property
    def rounds(self) -> int:
        """Rounds of the walker that its ramp takes; 0 without one: the walker never begins anew."""
        return 0 if self.section is None else self.section.rounds


def conditions_of(config: CampaignConfig) -> list[Condition]:
    """All that is explored, each once."""
    return list(dict.fromkeys(walker.condition for walker in walkers_of(config)))


def walkers_of(config: CampaignConfig) -> list[PlannedWalker]:
    """All walkers, of every round: one per condition and bias ratio, then the stacked ones, one per condition."""
    entries = [(condition, ratio, section, False) for condition, ratio, section in _entries(config)]
    if config.explore.stacked is not None:
        ramps = {condition: section for condition, _, section, _ in entries}
        entries += [(condition, 0.0, section, True) for condition, section in ramps.items()]
    return [PlannedWalker(f"w{place:02d}", place, *entry) for place, entry in enumerate(entries)]


def _entries(config: CampaignConfig) -> list[tuple[Condition, float, ConditionSection | None]]:
    explore = config.explore
    if explore.conditions:
        return [
            (one.condition(npt=explore.ensemble.kind == "npt"), ratio, one if one.points else None)
            for one in explore.conditions
            for ratio in ((one.ratio,) if one.ratio is not None else explore.bias.ratios)
        ]
    return [
        (Condition(section.name, temperature, pressure), ratio, None)
        for section in config.structures
        for temperature in explore.temperatures_K
        for pressure in explore.pressures
        for ratio in explore.bias.ratios
    ]


def judged_walkers(config: CampaignConfig) -> list[PlannedWalker]:
    """The walkers whose frames may judge the committee: of unbiased MD; all where none is unbiased.

    Each shows all of its condition in one round: a ramp over several rounds is explored, but not judged.
    """
    walkers = [walker for walker in walkers_of(config) if walker.rounds < 2 and not walker.stacked]
    return [walker for walker in walkers if walker.unbiased] or walkers


def judged_conditions(config: CampaignConfig) -> list[Condition]:
    """The conditions that a verdict speaks of: those with a walker that may judge."""
    return list(dict.fromkeys(walker.condition for walker in judged_walkers(config)))


def turns_of(config: CampaignConfig) -> list[list[PlannedWalker]]:
    """The walkers of one round after another, until it begins again with the first; one turn where all fit.

    The walkers of one condition stay together. Each joins the turn that has room and the fewest walkers of the same
    structure, temperature, pressure or ramp: so every turn has some of each, as far as that can be.
    """
    walkers, budget = walkers_of(config), config.explore.walkers
    if budget is None or len(walkers) <= budget:
        return [walkers]
    return [list(turn) for turn in _turns(tuple(walkers), budget)]


@functools.cache
def _turns(walkers: tuple[PlannedWalker, ...], budget: int) -> list[list[PlannedWalker]]:
    groups: dict[Condition, list[PlannedWalker]] = {}
    for walker in walkers:
        groups.setdefault(walker.condition, []).append(walker)
    turns: list[list[PlannedWalker]] = [[] for _ in range(-(-len(walkers) // budget))]
    for condition, group in groups.items():
        room = [turn for turn in turns if len(turn) + len(group) <= budget]
        if not room:
            room = [[]]
            turns.append(room[0])
        min(room, key=lambda turn: (_alike(turn, condition), len(turn))).extend(group)
    return [sorted(turn, key=lambda walker: walker.place) for turn in turns]


def _alike(turn: list[PlannedWalker], condition: Condition) -> int:
    """How much of `condition` is in a turn already."""
    return sum(
        (walker.condition.structure == condition.structure)
        + (walker.condition.temperature_K == condition.temperature_K)
        + (walker.condition.pressure_GPa == condition.pressure_GPa)
        + (walker.condition.ramp == condition.ramp)
        for walker in turn
    )


def walkers_in_turn(config: CampaignConfig, number: int) -> list[PlannedWalker]:
    """The walkers whose turn a round (1, 2, ...) is, by its number alone."""
    turns = turns_of(config)
    return turns[(number - 1) % len(turns)]


def temperatures_K(config: CampaignConfig) -> list[float]:
    """All temperatures that walkers are held at, on ramps those of the points, rising, each once; K."""
    sections = config.explore.conditions
    of_points = {point.temperature_K for one in sections for point in one.points}
    return sorted(of_points | {condition.temperature_K for condition in conditions_of(config)})
