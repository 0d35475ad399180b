"""Walkers on ASE's integrators, their health, and one round of exploration."""

from tentpole.exploration.explore import Exploration, ExploreSettings, Mishap, back, begin, explore
from tentpole.exploration.health import HealthLimits, Unhealthy, check
from tentpole.exploration.npt import NPT
from tentpole.exploration.ramps import Ramp, RampPoint
from tentpole.exploration.random_numbers import WalkerSeed
from tentpole.exploration.walker import Ensemble, Langevin, Remembering, advance, init_walker, remember, send_back

__all__ = [
    "NPT",
    "Ensemble",
    "Exploration",
    "ExploreSettings",
    "HealthLimits",
    "Langevin",
    "Mishap",
    "Ramp",
    "RampPoint",
    "Remembering",
    "Unhealthy",
    "WalkerSeed",
    "advance",
    "back",
    "begin",
    "check",
    "explore",
    "init_walker",
    "remember",
    "send_back",
]
