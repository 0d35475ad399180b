"""Rules of other programs and papers, which a study holds against Tentpole's own: each fills up to what is asked for.

That policies are compared at equal numbers of labels asks for that: where fewer frames pass a rule's threshold than are
wanted, the rest is what the rule would take next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from tentpole import selection
from tentpole.config.schema import checked_rule
from tentpole.config.sections import read_as
from tentpole.errors import InputError, unknown
from tentpole.selection import Candidates, Diversity, Labelled, LogDet, Pick, Random, SelectionRule
from tentpole.selection.logdet import fingerprints


@dataclass(frozen=True, slots=True)
class Band(SelectionRule):
    """Random choice among the candidates whose σ lies in a band, as DP-GEN takes them by the largest force deviation.

    Zhang et al., Comput. Phys. Commun. 253, 107206 (2020). Where fewer lie in the band than are wanted, the rest are
    drawn from the other candidates.

    Parameters
    ----------
    low, high : float
        Of the band, eV/Å: below, the committee knows the frame; from `high` on, the frame is taken for unphysical.

    Raises
    ------
    InputError
        Where they are not finite and rising from 0 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.benchmarks.sampling.rules import Band
    >>> from tentpole.selection import Candidates, Labelled
    >>> table = Candidates(list("abc"), np.array([0.01, 0.1, 0.9]), np.zeros((3, 1)), ["300 K"] * 3)
    >>> [pick.id for pick in Band().select(table, Labelled(np.zeros((0, 1))), 1, np.random.default_rng(0))]
    ['b']
    """

    low: float = 0.05
    high: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high < math.inf:
            raise InputError(f"low = {self.low}, high = {self.high}: 0 ≤ low < high is legal, both in eV/Å.")

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        inside = (candidates.sigma >= self.low) & (candidates.sigma < self.high)
        words = f"in the band from {self.low:g} to {self.high:g} eV/Å"
        return _drawn(candidates, inside, k, rng, words)


@dataclass(frozen=True, slots=True)
class MovingMean(SelectionRule):
    """Random choice among the candidates whose σ exceeds the moving mean of those before them, as in aims-PAX.

    The candidates are taken in the order of time. Where fewer exceed it than are wanted, the rest are drawn from the
    other candidates.

    Parameters
    ----------
    window : int
        Frames of the mean: those right before.
    excess : float
        The threshold is 1 + excess times the mean.

    Raises
    ------
    InputError
        For a window of no frame, or an excess of -1 or less.
    """

    window: int = 100
    excess: float = 0.0

    def __post_init__(self) -> None:
        if self.window < 1 or not -1 < self.excess < math.inf:
            raise InputError(f"window = {self.window}, excess = {self.excess}: 1 or more, and more than -1, are legal.")

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        sums = np.concatenate([[0.0], np.cumsum(candidates.sigma)])
        at = np.arange(len(candidates))
        first = np.maximum(0, at - self.window)
        before = np.where(at > 0, (sums[at] - sums[first]) / np.maximum(1, at - first), np.inf)
        over = candidates.sigma > (1 + self.excess) * before
        return _drawn(candidates, over, k, rng, f"above {1 + self.excess:g} times the mean of the {self.window} before")


@dataclass(frozen=True, slots=True)
class EntropyFilter(SelectionRule):
    """Random choice among the candidates that pass a filter by log-det gain (Wang, Rao and Zhu, arXiv:2605.20384).

    The candidates are taken in the order of time. One whose gain exceeds the threshold is accepted, and joins what the
    next gains are taken against, labelled or not. Where fewer are accepted than are wanted, the rest are those of the
    highest gain.

    Parameters
    ----------
    threshold : float
        Gain above which a frame is accepted.
    eps : float, optional
        ε of the gain's covariance, in place of that of [fingerprint].

    Raises
    ------
    InputError
        For a threshold that is not finite.
    """

    threshold: float = 0.01
    eps: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InputError(f"threshold = {self.threshold}: a finite gain is wanted.")

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        covariance, batch = fingerprints(candidates, labelled, self.eps)
        covariance = covariance.copy()
        accepted = np.zeros(len(candidates), dtype=bool)
        for i, rows in enumerate(batch):
            if covariance.gain(rows) > self.threshold:
                covariance.add(rows)
                accepted[i] = True
        words = f"gain above {self.threshold:g} when its turn came"
        picks = _drawn(candidates, accepted, min(k, int(accepted.sum())), rng, words)
        if len(picks) < min(k, len(candidates)):
            rest = np.flatnonzero(~accepted)
            gains = covariance.gains([batch[int(i)] for i in rest])
            order = rest[np.argsort(-gains, kind="stable")][: k - len(picks)]
            picks += [_pick(candidates, int(i), "of the highest gain among those not accepted") for i in order]
        return picks


PEERS: dict[str, type[Any]] = {"band": Band, "moving_mean": MovingMean, "entropy_filter": EntropyFilter}
"""Rules that a study knows beside those of a campaign."""

RULES = (*selection.KINDS, *PEERS)
"""Every rule of a study by name."""

WITHOUT_MODEL: tuple[type[Any], ...] = (Random, Diversity, LogDet, EntropyFilter)
"""Rules that need no trained model: they choose from the first frame on."""

WITHOUT_FINGERPRINTS: tuple[type[Any], ...] = (Random, Band, MovingMean, selection.Uncertainty)
"""Rules that look at no fingerprint."""

BY_LARGEST: tuple[type[Any], ...] = (Band, MovingMean)
"""Rules whose σ of a frame is that of its worst atom, where a study does not say otherwise."""


def make_policy_rule(name: str, settings: dict[str, Any]) -> SelectionRule:
    """The rule of that name, one of RULES. Raises InputError for an unknown one and for settings it cannot take."""
    if name not in RULES:
        raise unknown("rule", name, RULES)
    if name in selection.KINDS:
        return checked_rule(name, settings)
    made: SelectionRule = read_as(PEERS[name], settings, "settings")
    return made


def _drawn(candidates: Candidates, passed: np.ndarray, k: int, rng: np.random.Generator, words: str) -> list[Pick]:
    """Draw k candidates at random, first of those that passed, then of the others."""
    first, others = np.flatnonzero(passed), np.flatnonzero(~passed)
    chosen = _some(first, k, rng)
    rest = _some(others, k - len(chosen), rng)
    return [
        *(_pick(candidates, i, f"drawn from {len(first)} {words}") for i in chosen),
        *(_pick(candidates, i, f"drawn from the others, since only {len(first)} are {words}") for i in rest),
    ]


def _some(places: Sequence[int] | np.ndarray, k: int, rng: np.random.Generator) -> list[int]:
    return [int(i) for i in rng.choice(places, size=min(max(k, 0), len(places)), replace=False)]


def _pick(candidates: Candidates, i: int, reason: str) -> Pick:
    return Pick(i, candidates.ids[i], {"sigma": float(candidates.sigma[i])}, reason)


def by_condition(conditions: Iterable[str]) -> dict[str, list[int]]:
    """Places by condition, in the order in which conditions first come."""
    groups: dict[str, list[int]] = {}
    for place, condition in enumerate(conditions):
        groups.setdefault(condition, []).append(place)
    return groups
