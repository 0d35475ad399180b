"""Walkers on ASE's integrators, their health, and one round of exploration."""

from tentpole.exploration.explore import Exploration, ExploreSettings, Mishap, back, begin, explore
from tentpole.exploration.health import HealthLimits, Unhealthy, check
from tentpole.exploration.walker import Langevin, advance, init_walker, remember, send_back

__all__ = [
    "Exploration",
    "ExploreSettings",
    "HealthLimits",
    "Langevin",
    "Mishap",
    "Unhealthy",
    "advance",
    "back",
    "begin",
    "check",
    "explore",
    "init_walker",
    "remember",
    "send_back",
]
