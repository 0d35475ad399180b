"""Where a campaign's random numbers come from: one stream per purpose, each from (seed, purpose, key).

Scheme 2, that of new campaigns, makes purpose and key the spawn key of a numpy SeedSequence, so that no two streams are
the same. Scheme 1 handed lists of numbers to numpy, which fills short lists up with zeros: [seed, 1] for the first
labels and [seed, 1, 0] for the first walker of round 1 were one stream. Campaigns that were started with it go on so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tentpole.errors import InputError, unknown

NEWEST: Literal[2] = 2
SCHEMES = (1, 2)

_SCHEME_1: Mapping[str, tuple[int, ...]] = {
    "initial structures": (1,),  # key ()
    "initial strains": (5,),  # key ()
    "validation": (2,),  # key (trajectory,)
    "selection": (3,),  # key (round,)
    "pretraining": (4,),  # key (trajectory,)
    "variants": (6,),  # key (structure,), or (structure, variant) for the first labels
    "walker": (),  # key (round, walker)
    "walker sent back": (),  # key (round, walker, 1 + how often before)
}
"""Every purpose, and what scheme 1 put between seed and key."""


def generator(seed: int, purpose: str, *key: int, scheme: int = NEWEST) -> np.random.Generator:
    """The generator of one purpose.

    Parameters
    ----------
    seed : int
        The campaign's, 0 or more.
    purpose : str
        What the numbers are for: "initial structures", "validation", "selection", "walker" or "walker sent back".
    *key : int
        Which of that purpose's streams: a round, a walker's place, a count; 0 or more each.
    scheme : {1, 2}
        How the three become a seed; see the module's first lines.

    Returns
    -------
    numpy.random.Generator
        The same for the same arguments, and for no others.

    Raises
    ------
    InputError
        For an unknown purpose or scheme, or a negative number.

    Examples
    --------
    >>> from tentpole.exploration.random_numbers import generator
    >>> first = generator(7, "initial structures").normal(size=3)
    >>> walker = generator(7, "walker", 1, 0).normal(size=3)
    >>> bool((first == walker).any())
    False
    """
    _check(seed, purpose, key, scheme)
    if scheme == 1:
        return np.random.default_rng([seed, *_SCHEME_1[purpose], *key])
    return np.random.default_rng(_sequence(seed, purpose, key))


@dataclass(frozen=True, slots=True)
class WalkerSeed:
    """What the random numbers of one walker in one round are seeded by.

    Parameters
    ----------
    seed : int
        The campaign's.
    round_number : int
        The round.
    index : int
        The walker's place among all.
    scheme : {1, 2}
        See `generator`.
    """

    seed: int
    round_number: int
    index: int
    scheme: int = NEWEST

    def begin(self) -> np.random.Generator:
        """For the momenta and the thermostat of a walker that begins."""
        return generator(self.seed, "walker", self.round_number, self.index, scheme=self.scheme)

    def sent_back(self, mishaps: int) -> np.random.Generator:
        """For the momenta of a walker that is sent back after so many earlier mishaps of the round."""
        key = (self.round_number, self.index, 1 + mishaps)
        return generator(self.seed, "walker sent back", *key, scheme=self.scheme)


def _sequence(seed: int, purpose: str, key: tuple[int, ...]) -> np.random.SeedSequence:
    named = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.SeedSequence(seed, spawn_key=(named, *key))


def _check(seed: int, purpose: str, key: tuple[int, ...], scheme: int) -> None:
    if purpose not in _SCHEME_1:
        raise unknown("purpose of random numbers", purpose, _SCHEME_1)
    if scheme not in SCHEMES:
        raise InputError(f"unknown scheme of random numbers {scheme}. Legal: 1 (older campaigns), 2.")
    if min(seed, *key, 0) < 0:
        raise InputError(f"seed and key of random numbers must be 0 or more, got {seed} and {key}.")
