"""Which walkers a campaign's settings ask for, and under which conditions."""

from __future__ import annotations

from tentpole.config.schema import CampaignConfig
from tentpole.records import Condition


def conditions_of(config: CampaignConfig) -> list[Condition]:
    """All that is explored: every structure at every temperature and pressure."""
    explore = config.explore
    return [
        Condition(section.name, temperature, pressure)
        for section in config.structures
        for temperature in explore.temperatures_K
        for pressure in explore.pressures
    ]


def walkers_of(config: CampaignConfig) -> list[tuple[str, Condition, float]]:
    """Id, condition and bias ratio of every walker: one per condition and ratio."""
    walkers = [(condition, ratio) for condition in conditions_of(config) for ratio in config.explore.bias.ratios]
    return [(f"w{i:02d}", condition, ratio) for i, (condition, ratio) in enumerate(walkers)]
